"""Where the pictures and clips of a job are: a folder, a pattern, a list, a data set."""

import io
import os
import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from sam_jax.io import storage
from sam_jax.io.images import as_rgb, read_image
from sam_jax.io.videos import VIDEO_SUFFIXES, Video, open_video

PICTURE_SUFFIXES = {
    ".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip
_CLIP_FEATURES = ("video", "frames", "images")
_LIST_SUFFIXES = {".txt", ".lst"}


@runtime_checkable
class Inputs(Protocol):
    """Pictures and clips by name.

    Attributes:
      sizes: in bytes, of all there are, by name, in order; 0 where nobody knows.
    """

    sizes: dict[str, int]

    def is_clip(self, name: str) -> bool: ...

    def size(self, name: str) -> int | None:
        """In bytes, of a clip that is a folder all of its frames; None if there is none."""

    def picture(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        """Raises OSError or ValueError: it is missing or broken."""
        ...

    def clip(self, name: str) -> Any:
        """A context manager of a `Video`. Raises OSError or ValueError, too."""


def open_inputs(where: str) -> Inputs:
    """A folder, a pattern, a list of paths (.txt), one file, or a folder with a data set.

    A data set is one of tensorflow-datasets as it lies on disk, with dataset_info.json.

    Raises:
      ValueError: there is nothing of that name, or nothing in it.
      OSError: it cannot be read.
      ModuleNotFoundError: it needs an extra, which the message names.
    """
    if storage.is_folder(where):
        if storage.size_of(storage.join(where, "dataset_info.json")) is not None:
            return DataSet(where)
        sizes = storage.files_in(where)
        root = where
    elif PurePosixPath(where).suffix in _LIST_SUFFIXES:
        root = storage.parent(where)
        lines = storage.read(where).decode("utf-8-sig", "surrogateescape").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        storage.require_packages(names)
        sizes = {name: _quick_size(storage.join(root, name)) for name in names}
    elif (size := storage.size_of(where)) is not None:  # though its name may look like a pattern
        root = storage.parent(where)
        sizes = {PurePosixPath(where).name: size}
    else:
        root = storage.full_address(_fixed_part(where))
        start = len(root.rstrip("/")) + 1 if root else 0
        sizes = {found[start:]: size for found, size in storage.matching(where).items()}
    if not sizes:
        raise ValueError(f"there are no files in {where}: a folder, a pattern or a list was meant")
    return Files(root, sizes)


def _quick_size(where: str) -> int:
    """In bytes, of a folder all of its frames; 0 for what is not there.

    0 for what is in a bucket, too: a question for each of a million files takes hours.
    """
    if storage.is_remote(where):
        return 0
    if (size := storage.size_of(where)) is not None:
        return size
    return sum(storage.files_in(where).values())


def _fixed_part(pattern: str) -> str:
    """The folder before the first part with a wildcard."""
    parts = pattern.split("/")
    special = (i for i, part in enumerate(parts) if re.search(r"[*?[]", part))
    return "/".join(parts[: next(special, len(parts) - 1)]) or ("/" if pattern[0] == "/" else "")


class Files:
    """Files below `root`, which may be in a bucket."""

    def __init__(self, root: str, sizes: dict[str, int]) -> None:
        self._root = root
        self.sizes = sizes

    def is_clip(self, name: str) -> bool:
        """A video, or a name without a picture's suffix, which is a folder of frames."""
        return PurePosixPath(name).suffix.lower() not in PICTURE_SUFFIXES

    def size(self, name: str) -> int | None:
        if name in self.sizes:
            return self.sizes[name]
        frames = storage.files_in(storage.join(self._root, name)) if self.is_clip(name) else {}
        return sum(frames.values()) if frames else None

    def picture(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        where = storage.join(self._root, name)
        if storage.is_remote(where):
            return _decoded(storage.read(where), where)
        return read_image(where)

    @contextmanager
    def clip(self, name: str) -> Generator[Video]:
        where = storage.join(self._root, name)
        with tempfile.TemporaryDirectory(prefix="sam_jax_") as folder:
            source: Any = where
            if storage.is_remote(where) and PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES:
                source = storage.read(where)
            elif storage.is_remote(where):
                storage.fetch_folder(where, Path(folder))
                source = folder
            with open_video(source) as video:
                yield video


class DataSet:
    """A data set of tensorflow-datasets in array_record files; SPLIT/NUMBER is an input's name.

    An example with a feature `image` is a picture, one with `video`, `frames` or `images` a clip.

    Raises:
      ValueError: it cannot be opened, or has none of these features.
      ModuleNotFoundError: tensorflow-datasets is not there.
    """

    def __init__(self, where: str) -> None:
        try:
            import tensorflow_datasets as tfds
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{where} is a data set of tensorflow-datasets: pip install 'sam_jax[train]'"
            ) from error
        try:
            builder: Any = tfds.builder_from_directory(where)
            features = set(builder.info.features or ())
            self._splits: Any = {name: builder.as_data_source(name) for name in builder.info.splits}
        except Exception as error:  # of several libraries
            raise ValueError(f"the data set {where} cannot be opened: {error}") from error
        self._where = where
        known = [key for key in ("image", *_CLIP_FEATURES) if key in features]
        if not known:
            raise ValueError(
                f"the data set {where} has the features {sorted(features)}: a picture is called"
                f" image, a clip {', '.join(_CLIP_FEATURES)}"
            )
        self._feature = known[0]
        self.sizes = {
            f"{split}/{number}": 0
            for split, source in self._splits.items()
            for number in range(len(source))
        }

    def is_clip(self, name: str) -> bool:
        return self._feature != "image"

    def size(self, name: str) -> int | None:
        return self.sizes.get(name)

    def picture(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        return _pixels(self._example(name), f"{self._where}, {name}")

    @contextmanager
    def clip(self, name: str) -> Generator[Video]:
        frames = [
            _pixels(frame, f"{self._where}, {name}, frame {t}")
            for t, frame in enumerate(self._example(name))
        ]
        with open_video(frames) as video:
            yield video

    def _example(self, name: str) -> Any:
        if name not in self.sizes:
            raise ValueError(f"there is no example {name} in {self._where}: it is SPLIT/NUMBER")
        split, _, number = name.rpartition("/")
        try:
            return self._splits[split][int(number)][self._feature]
        except Exception as error:  # a damaged file: of several libraries
            raise ValueError(f"{self._where}, {name} cannot be read: {error}") from error


def _pixels(value: Any, name: str) -> UInt8[np.ndarray, "h w 3"]:
    if isinstance(value, bytes):
        return _decoded(value, name)
    array = np.asarray(value)
    if array.ndim == 3 and array.shape[-1] == 1:  # how a grey image is declared there
        array = np.repeat(array, 3, axis=-1)
    return as_rgb(array)


def _decoded(data: bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    file = io.BytesIO(data)
    file.name = os.fspath(name)  # for messages
    return read_image(file)
