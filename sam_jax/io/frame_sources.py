"""What frames come from: folders, arrays and lists, cameras and generators.

Files have their own module, `sam_jax.io.video_file`.
"""

import dataclasses
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from sam_jax.io.images import as_rgb, read_image

_END = object()  # of an iterator
_PICTURES = {".jpg", ".jpeg", ".png"}


@runtime_checkable
class Frame(Protocol):
    """A frame that is not yet converted to what is needed of it."""

    def pixels(self) -> np.ndarray: ...

    def model_input(self, side: int) -> np.ndarray: ...


@runtime_checkable
class FrameSource(Protocol):
    """Where frames come from; numbers are checked before they get here."""

    name: str
    fps: float | None

    def count(self) -> int | None: ...

    def read(self, number: int) -> Frame: ...

    def frames(self, start: int, stop: int | None, step: int) -> Iterator[Frame]: ...

    def close(self) -> None: ...


@dataclasses.dataclass(frozen=True)
class RgbFrame:
    """A frame that is RGB from the beginning."""

    array: np.ndarray

    def pixels(self) -> np.ndarray:
        return self.array

    def model_input(self, side: int) -> np.ndarray:
        return np.array(Image.fromarray(self.array).resize((side, side), Image.Resampling.BICUBIC))


class FrameSequence:
    """Frames that can be read in any order: a folder, an array, a list."""

    fps = None

    def __init__(self, name: str, items: Any, load: Callable[[Any], np.ndarray]) -> None:
        self.name, self._items, self._load = name, items, load
        if len(items) == 0:
            raise ValueError(f"{name} has no frames")

    def count(self) -> int:
        return len(self._items)

    def read(self, number: int) -> RgbFrame:
        return RgbFrame(_numbered(number, self._items[number], self._load))

    def frames(self, start: int, stop: int | None, step: int) -> Iterator[RgbFrame]:
        end = (len(self._items) if step > 0 else -1) if stop is None else stop
        return (self.read(number) for number in range(start, end, step))

    def close(self) -> None:
        self._items = self._items[:0]


class FramesOnce:
    """Frames that come in their order, once: a generator, a camera."""

    def __init__(
        self, name: str, items: Iterator[Any], fps: float | None, close: Callable[[], None]
    ) -> None:
        self.name, self.fps, self._items, self._close = name, fps, items, close
        self._lock = threading.Lock()  # a thread that reads ahead, and another that closes
        self._next = 0
        self._first: RgbFrame | None = None
        self._closed = False

    def count(self) -> None:
        return None

    def read(self, number: int) -> RgbFrame:
        if number or self._next:
            raise ValueError(
                f"{self.name} gives its frames in order, once: frame {number} cannot be asked for"
                " by its number; iterate, or keep the frames in a list"
            )
        if self._first is None:
            self._first = self._take()
        if self._first is None:
            raise ValueError(f"{self.name} has no frames")
        return self._first

    def frames(self, start: int, stop: int | None, step: int) -> Iterator[RgbFrame]:
        if start < self._next:
            raise ValueError(
                f"{self.name} gives its frames once: frame {start} is gone, the next is"
                f" {self._next}; keep the frames in a list, or go on with start={self._next}"
            )
        return self._forward(start, stop, step)

    def _forward(self, start: int, stop: int | None, step: int) -> Iterator[RgbFrame]:
        wanted = start
        while stop is None or wanted < stop:
            frame, self._first = self._first, None
            number, frame = self._next, frame or self._take()
            if frame is None:
                return
            self._next += 1
            if number == wanted:
                wanted += step
                yield frame

    def _take(self) -> RgbFrame | None:
        with self._lock:
            item = _END if self._closed else next(self._items, _END)
        return None if item is _END else RgbFrame(_numbered(self._next, item, as_rgb))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._close()


def _numbered(number: int, item: Any, load: Callable[[Any], np.ndarray]) -> np.ndarray:
    try:
        return load(item)
    except ValueError as error:
        raise ValueError(f"frame {number}: {error}") from error


def picture_folder(path: Path) -> FrameSequence:
    """The pictures of a folder in the order of their numbers, as numbers: 2 before 10."""
    files = [
        file
        for file in path.iterdir()
        if file.suffix.lower() in _PICTURES and not file.name.startswith(".")
    ]
    if not files:
        raise ValueError(f"{path} holds no JPEG or PNG pictures")
    numbered: dict[int, Path] = {}
    before = None
    for file in sorted(files):
        parts = re.fullmatch(r"(.*?)([0-9]+)", file.stem)
        if parts is None:
            raise ValueError(
                f"{file} has no number at the end of its name, so the order of frames is unknown;"
                " name frames 00000.jpg, 00001.jpg, ..."
            )
        if before is None:
            before = file, parts[1]
        if parts[1] != before[1]:
            raise ValueError(
                f"{before[0]} and {file.name} are named differently, so the order of frames is"
                " unknown; keep one video's frames in a folder"
            )
        other = numbered.setdefault(int(parts[2]), file)
        if other is not file:
            raise ValueError(f"{other} and {file.name} are both frame {int(parts[2])}; remove one")
    return FrameSequence(str(path), [numbered[number] for number in sorted(numbered)], read_image)


def camera(device: str) -> FramesOnce:
    import av

    try:
        container = av.open(device, format="v4l2")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise FileNotFoundError(
            f"there is no camera at {device}, or it cannot be opened ({error}); pass the number of"
            " another one, or the frames as an iterator"
        ) from error
    stream = container.streams.video[0]
    rate = stream.average_rate
    items = (frame.to_ndarray(format="rgb24") for frame in container.decode(stream))

    return FramesOnce(f"camera {device}", items, float(rate) if rate else None, container.close)
