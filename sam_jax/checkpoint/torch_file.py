"""PyTorch's .pt/.pth files, read and written with numpy alone.

Such a file is an uncompressed zip: `data.pkl` describes nested containers, and each tensor in it
points into a flat storage, `data/0`, `data/1`, ... Storages are mapped into memory, not read. What
the pickle may say is in `torch_pickle`.
"""

import math
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.torch_pickle import DTYPES, unpickle
from sam_jax.files import replacing

_MAX_INFLATED = 1 << 32  # bytes; only storages that someone compressed are ever inflated
_MAX_DESCRIPTION = 1 << 26  # bytes of data.pkl and the like; that of a large model has 1e5
_LOCAL_HEADER = 30  # bytes before the name in a zip member's own header


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
            return unpickle(path, archive.read)
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
    storages = {dtype: name for name, dtype in DTYPES.items()}
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
