"""PyTorch's .pt/.pth files, read and written with numpy alone.

Such a file is an uncompressed zip: `data.pkl` describes nested containers, and each tensor in it
points into a flat storage, `data/0`, `data/1`, ... Storages are mapped into memory, not read. The
pickle is untrusted: it may name only what `_GLOBALS` lists, none of which is imported from
anywhere, and every view is checked against the size of its storage.
"""

import io
import math
import pickle
import pickletools
import reprlib
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

from sam_jax.checkpoint.error import CheckpointError
from sam_jax.files import replacing

_DTYPES = {
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "DoubleStorage": np.dtype(np.float64),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_MAX_INFLATED = 1 << 32  # bytes; only storages that someone compressed are ever inflated
_MAX_DESCRIPTION = 1 << 26  # bytes of data.pkl and the like; that of a large model has 1e5
_LOCAL_HEADER = 30  # bytes before the name in a zip member's own header


class _Storage(NamedTuple):
    data: np.ndarray  # flat


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """A view of `storage`; the later arguments (requires_grad, hooks) mean nothing to us."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, _Storage) or not all(type(n) is int and n >= 0 for n in numbers):
        view = reprlib.repr((offset, size, stride))  # tuples may nest without end
        raise CheckpointError(f"ill-formed tensor: offset, shape and strides {view}")
    data = storage.data
    count = math.prod(size)
    if len(size) != len(stride):
        raise CheckpointError(f"ill-formed tensor: shape {size} with strides {stride}")
    if count == 0:
        return np.empty(size, data.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= data.size or count > data.size:
        raise CheckpointError(
            f"tensor of shape {tuple(size)}, strides {tuple(stride)}, offset {offset} does not fit "
            f"its storage of {data.size} elements"
        )
    strides = tuple(step * data.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(data[offset:], size, strides, writeable=False)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered_dict() -> OrderedDict:
    """Empty: PyTorch fills it later, and only then are the keys looked at."""
    return OrderedDict()


# The only names a pickle may use. Storage types stand for their element type.
_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "UntypedStorage"): np.dtype(np.uint8),
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class _Archive:
    """The members of a zip file, uncompressed ones mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.zip = zipfile.ZipFile(path)
        pickles = [n for n in self.zip.namelist() if n.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise CheckpointError(f"{path} is a zip file without data.pkl: not a PyTorch file")
        self.root = pickles[0].removesuffix("data.pkl")
        self.map = np.memmap(path, np.uint8, mode="r")

    def find(self, name: str) -> zipfile.ZipInfo:
        try:
            return self.zip.getinfo(self.root + name)
        except KeyError:
            raise CheckpointError(f"{self.path} is damaged: it has no member {name!r}") from None

    def read(self, name: str) -> np.ndarray:
        """Bytes of a member, checked against the checksum in the zip directory."""
        info = self.find(name)
        if info.file_size > _MAX_DESCRIPTION and not name.startswith("data/"):
            raise CheckpointError(
                f"{self.path}: {name!r} of {info.file_size} bytes describes more than any model has"
            )
        if info.compress_type != zipfile.ZIP_STORED:
            if info.file_size > _MAX_INFLATED:
                raise CheckpointError(
                    f"{self.path}: compressed member {name!r} of {info.file_size} bytes is too "
                    "large; save the file again with torch.save, which does not compress"
                )
            return np.frombuffer(self.zip.read(info), np.uint8)
        # The local header repeats the name and has its own extra field, used for alignment.
        at = info.header_offset
        name_size, extra_size = self.map[at + 26 : at + _LOCAL_HEADER].view("<u2")
        start = at + _LOCAL_HEADER + int(name_size) + int(extra_size)
        data = self.map[start : start + info.file_size]
        if data.size != info.file_size or zlib.crc32(data) != info.CRC:
            raise CheckpointError(
                f"{self.path} is damaged: the bytes of {name!r} do not match their checksum; "
                "download or copy the file again"
            )
        return np.asarray(data)


def _checking_keys(opcode: bytes, keys: slice) -> Callable[[Any], None]:
    """What fills a dict, after a look at the keys on the stack.

    Hashing a tuple hashes what is in it: one nested 60 deep, from 200 bytes, would take for ever.
    """
    fill = pickle._Unpickler.dispatch[opcode[0]]  # type: ignore[unresolved-attribute]

    def checked(unpickler: Any) -> None:
        for key in unpickler.stack[keys]:
            if not isinstance(key, str | int):
                raise CheckpointError(
                    f"{unpickler.archive.path} has a key of type {type(key).__name__}; those of a "
                    "checkpoint are str or int"
                )
        fill(unpickler)

    return checked


class _Unpickler(pickle._Unpickler):  # type: ignore[unresolved-attribute]
    """Understands tensors and plain containers, refuses every other name.

    The pure Python unpickler: the one in C allocates as much memory as a damaged file asks for, and
    cannot be told to refuse an opcode.
    """

    stack: list[Any]  # of the base class

    def __init__(self, archive: _Archive) -> None:
        super().__init__(io.BytesIO(archive.read("data.pkl").tobytes()), encoding="utf-8")
        self.archive = archive
        self.storages: dict[str, np.ndarray] = {}  # bytes by key: tensors may share one

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _GLOBALS[module, name]
        except KeyError:
            raise CheckpointError(
                f"{self.archive.path} asks for {module}.{name}, which a checkpoint of tensors does "
                "not need; nothing was run. If you trust the file, save only its tensors with "
                "PyTorch: torch.save({'model': model.state_dict()}, PATH)"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, count = pid
        known = kind == "storage" and isinstance(dtype, np.dtype)
        if not known or type(key) is not str or type(count) is not int:
            raise CheckpointError(f"{self.archive.path}: unknown storage {reprlib.repr(pid)}")
        if key not in self.storages:
            self.storages[key] = self.archive.read(f"data/{key}")
        data = self.storages[key]
        if data.size != count * dtype.itemsize:
            raise CheckpointError(
                f"{self.archive.path} is damaged: storage {key} holds {data.size} bytes, not "
                f"{count} elements of {dtype}"
            )
        return _Storage(data.view(dtype))

    def load_build(self) -> None:
        """Attributes: PyTorch gives a state dict its `_metadata`, which means nothing to us."""
        self.stack.pop()
        owner = self.stack[-1]
        if type(owner) is not OrderedDict:
            name = getattr(owner, "__name__", type(owner).__name__)
            raise CheckpointError(
                f"{self.archive.path} sets attributes of {name}, which a checkpoint of tensors "
                "does not need; nothing was set"
            )

    def load_unneeded(self) -> None:
        raise CheckpointError(
            f"{self.archive.path} holds a set or bytearray, which a checkpoint does not need"
        )

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,  # type: ignore[unresolved-attribute]
        pickle.BUILD[0]: load_build,
        pickle.EMPTY_SET[0]: load_unneeded,
        pickle.FROZENSET[0]: load_unneeded,
        pickle.ADDITEMS[0]: load_unneeded,
        pickle.BYTEARRAY8[0]: load_unneeded,
        pickle.SETITEM[0]: _checking_keys(pickle.SETITEM, slice(-2, -1)),
        pickle.SETITEMS[0]: _checking_keys(pickle.SETITEMS, slice(None, None, 2)),
        pickle.DICT[0]: _checking_keys(pickle.DICT, slice(None, None, 2)),
    }


def read(path: str | Path) -> Any:
    """The object a PyTorch file holds, with read-only, memory-mapped numpy arrays for tensors.

    Raises:
      CheckpointError: not such a file, damaged, or asking for anything but tensors and containers.
      FileNotFoundError: no such file.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(4)
    if head[:1] == b"\x80":
        raise CheckpointError(
            f"{path} is in PyTorch's format from before version 1.6, or some other pickle, and "
            "cannot be read safely. Save it again with a newer PyTorch: "
            "torch.save(torch.load(OLD, weights_only=True), NEW)"
        )
    if head != b"PK\x03\x04":
        raise CheckpointError(f"{path} is not a PyTorch checkpoint: it starts with {head!r}")
    try:
        archive = _Archive(path)
        with archive.zip:
            if f"{archive.root}byteorder" in archive.zip.namelist():
                order = archive.read("byteorder").tobytes().decode(errors="replace")
                if order != "little":
                    raise CheckpointError(f"{path} has byte order {order!r}, not 'little'")
            return _Unpickler(archive).load()
    except CheckpointError:
        raise
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path} is damaged or cut short: {error}") from error
    # A damaged pickle can fail anywhere in the standard unpickler, with any exception.
    except Exception as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def state_dict(value: Any, path: str | Path) -> dict[str, np.ndarray]:
    """The named tensors in what `read` returned: bare as in SAM 1, or under "model" as in SAM 2.

    Raises:
      CheckpointError: neither; the message lists what is there.
    """
    found = value.get("model", value) if isinstance(value, Mapping) else value
    if not isinstance(found, Mapping) or not found:
        keys = f" with keys {list(value)[:8]}" if isinstance(value, Mapping) else ""
        raise CheckpointError(f"{path} holds a {type(value).__name__}{keys}, not named tensors")
    for name, array in found.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            raise CheckpointError(
                f"{path} holds a {type(array).__name__} under {name!r}, not a tensor; save "
                f'{{"model": model.state_dict()}} instead. Its keys: {list(found)[:8]}'
            )
    return dict(found)


def write(path: str | Path, state: Mapping[str, np.ndarray], *, key: str | None = "model") -> None:
    """Write named arrays as a file that `torch.load(path, weights_only=True)` reads.

    Args:
      path: written under a temporary name, then renamed.
      state: official names -> arrays.
      key: the dict entry that holds them; None writes the bare dict, as SAM 1 does.

    Raises:
      CheckpointError: the file not writable, or PyTorch has no storage for the dtype of an array.
    """
    storages = {dtype: name for name, dtype in _DTYPES.items()}
    for name, array in state.items():
        if array.dtype not in storages:
            raise CheckpointError(f"cannot write {name}: PyTorch has no storage of {array.dtype}")
    tensors = [
        _plain(name) + _tensor(index, array, storages[array.dtype])
        for index, (name, array) in enumerate(state.items())
    ]
    pickled = pickle.EMPTY_DICT + pickle.MARK + b"".join(tensors) + pickle.SETITEMS
    if key is not None:
        pickled = pickle.EMPTY_DICT + _plain(key) + pickled + pickle.SETITEM
    with replacing(Path(path)) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _add(archive, "data.pkl", pickle.PROTO + b"\x02" + pickled + pickle.STOP)
        _add(archive, "byteorder", b"little")
        for index, array in enumerate(state.values()):
            _add(archive, f"data/{index}", np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        _add(archive, "version", b"3\n")


def _plain(value: Any) -> bytes:
    """Opcodes that push a value made of str, int, bool and tuples."""
    return pickletools.optimize(pickle.dumps(value, protocol=2))[2:-1]  # less PROTO and STOP


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def _tensor(index: int, array: np.ndarray, storage: str) -> bytes:
    """Opcodes of `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`."""
    strides = tuple(math.prod(array.shape[i + 1 :]) for i in range(array.ndim))
    where = [
        *(pickle.MARK, _plain("storage"), _global(f"torch.{storage}"), _plain(str(index))),
        *(_plain("cpu"), _plain(array.size), pickle.TUPLE, pickle.BINPERSID),
    ]
    hooks = [_global("collections.OrderedDict"), pickle.EMPTY_TUPLE, pickle.REDUCE]
    arguments = [_plain(0), _plain(array.shape), _plain(strides), pickle.NEWFALSE, *hooks]
    call = [_global("torch._utils._rebuild_tensor_v2"), pickle.MARK, *where, *arguments]
    return b"".join([*call, pickle.TUPLE, pickle.REDUCE])


def _add(archive: zipfile.ZipFile, name: str, data: bytes | np.ndarray) -> None:
    """Store a member with its data on a multiple of 64 bytes, so that readers can map it."""
    info = zipfile.ZipInfo(f"archive/{name}")
    info.file_size = len(data)
    start = archive.start_dir + _LOCAL_HEADER + len(info.filename) + 4  # 4: head of the padding
    padding = -start % 64
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    with archive.open(info, "w") as member:
        member.write(data)
