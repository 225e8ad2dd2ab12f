"""The pickle in a PyTorch file, which is untrusted.

It may name only what `_GLOBALS` lists, none of which is imported from anywhere, and every view is
checked against the size of its storage.
"""

import io
import math
import pickle
import reprlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

from sam_jax.checkpoint.error import CheckpointError

DTYPES = {
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
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
}


def unpickle(path: Path, member: Callable[[str], np.ndarray]) -> Any:
    """What the pickle `data.pkl` describes, with arrays for tensors.

    Args:
      path: of the file, for messages.
      member: the bytes of what is in it, by name.

    Raises:
      CheckpointError: it asks for anything but tensors and containers.
      Exception: any other, if it is damaged.
    """
    return _Unpickler(path, member).load()


def _checking_keys(opcode: bytes, keys: slice) -> Callable[[Any], None]:
    """What fills a dict, after a look at the keys on the stack.

    Hashing a tuple hashes what is in it: one nested 60 deep, from 200 bytes, would take for ever.
    """
    fill = pickle._Unpickler.dispatch[opcode[0]]  # type: ignore[unresolved-attribute]

    def checked(unpickler: Any) -> None:
        for key in unpickler.stack[keys]:
            if not isinstance(key, str | int):
                raise CheckpointError(
                    f"{unpickler.path} has a key of type {type(key).__name__}; those of a "
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

    def __init__(self, path: Path, member: Callable[[str], np.ndarray]) -> None:
        super().__init__(io.BytesIO(member("data.pkl").tobytes()), encoding="utf-8")
        self.path = path
        self.member = member
        self.storages: dict[str, np.ndarray] = {}  # bytes by key: tensors may share one

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _GLOBALS[module, name]
        except KeyError:
            raise CheckpointError(
                f"{self.path} asks for {module}.{name}, which a checkpoint of tensors does "
                "not need; nothing was run. If you trust the file, save only its tensors with "
                "PyTorch: torch.save({'model': model.state_dict()}, PATH)"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, count = pid
        known = kind == "storage" and isinstance(dtype, np.dtype)
        if not known or type(key) is not str or type(count) is not int:
            raise CheckpointError(f"{self.path}: unknown storage {reprlib.repr(pid)}")
        if key not in self.storages:
            self.storages[key] = self.member(f"data/{key}")
        data = self.storages[key]
        if data.size != count * dtype.itemsize:
            raise CheckpointError(
                f"{self.path} is damaged: storage {key} holds {data.size} bytes, not "
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
                f"{self.path} sets attributes of {name}, which a checkpoint of tensors "
                "does not need; nothing was set"
            )

    def load_unneeded(self) -> None:
        raise CheckpointError(
            f"{self.path} holds a set or bytearray, which a checkpoint does not need"
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
