"""Frames in, from files, folders, cameras, arrays and generators, one at a time.

Whatever the length of a video, the memory it takes is that of a few frames.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sam_jax.io.frame_sources import (
    Frame,
    FrameSequence,
    FramesOnce,
    FrameSource,
    RgbFrame,
    camera,
    picture_folder,
)
from sam_jax.io.images import as_rgb
from sam_jax.io.video_file import VideoFile

VIDEO_SUFFIXES = {
    ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv",
}  # fmt: skip


class Video:
    """Frames by number, in the order in which they are shown; made by `open_video`.

    Of a video file, every frame counts, whatever time it is shown for, and it is turned as its
    metadata says (phones), so that it looks as in a player. Pixels are those stored: an aspect
    ratio other than 1:1 is not applied.

    Frames come at full size, and as the square that SAM 2's tracker looks at. The latter is made as
    by the official loader: of pictures, bit for bit (Pillow, bicubic on uint8); of files, to 0.15
    levels on average, by scaling before the conversion to RGB, which is why it is made here and not
    from the full-size frame.

    Attributes:
      name: for messages.
      height: of a frame as shown, pixels; all frames have one size, or are refused.
      width: likewise.
      fps: frames per second, the average where it varies; None where nothing says so.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self.name = source.name
        self.fps = source.fps
        try:
            first = source.read(0).pixels()
        except BaseException:
            source.close()
            raise
        self.height, self.width = first.shape[:2]

    @property
    def num_frames(self) -> int | None:
        """How many frames there are; None for cameras and generators.

        A file is read once, without decoding where its container allows that; later calls are free.
        """
        return self._source.count()

    def frames(
        self, start: int | None = None, stop: int | None = None, step: int = 1
    ) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Full-size frames number start, start + step, ... before `stop`.

        Several iterations of a file may run at once, also in threads.

        Args:
          start: the first frame; by default frame 0, or the last one when going backwards.
          stop: where to end, exclusive; by default after the last frame there is.
          step: not 0. Negative goes backwards, from a file by decoding blocks of frames.

        Raises:
          ValueError: the numbers are out of range; a camera or generator is asked to go back.
            While iterating: a frame has another size, is damaged, or the file breaks off.
        """
        return (pixels for pixels, _ in self._frames(start, stop, step))

    def model_inputs(
        self, side: int, *, start: int | None = None, stop: int | None = None, step: int = 1
    ) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "side side 3"]]]:
        """Pairs of a full-size frame and what the model sees of it.

        Args:
          side: of the model input, pixels.
          start: this and the others as for `frames`, errors too.
        """
        return (
            (pixels, frame.model_input(side)) for pixels, frame in self._frames(start, stop, step)
        )

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.frames()

    def __getitem__(self, number: int) -> UInt8[np.ndarray, "h w 3"]:
        """Frame `number` at full size, counted from 0.

        Raises:
          ValueError: out of range; a generator or camera; as for `frames`.
        """
        return self._read(number)[0]

    def model_input(self, number: int, side: int) -> UInt8[np.ndarray, "side side 3"]:
        """What the model sees of frame `number`; after `video[number]` it is not decoded again."""
        return self._read(number)[1].model_input(side)

    @staticmethod
    def to_model_input(pixels: Any, side: int) -> UInt8[np.ndarray, "side side 3"]:
        """What the model sees of a frame that is known as RGB only, in uint8.

        For frames of a file use `model_inputs` or `model_input`, which are nearer to the official
        loader.

        Args:
          pixels: PIL image or uint8 [h w 3].
          side: of the model input, pixels.
        """
        return RgbFrame(as_rgb(pixels)).model_input(side)

    def close(self) -> None:
        """Closes the file or camera. Iterations of a file that have begun are not disturbed."""
        self._source.close()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _read(self, number: int) -> tuple[np.ndarray, Frame]:
        self._check("frame", number, before_end=1)
        frame = self._source.read(number)
        return self._same_size(frame.pixels(), number), frame

    def _frames(
        self, start: int | None, stop: int | None, step: int
    ) -> Iterator[tuple[np.ndarray, Frame]]:
        if step == 0:
            raise ValueError("step must not be 0")
        if start is None:
            start = 0 if step > 0 else self._last()
        elif start != 0:
            self._check("start", start, before_end=1)
        if step < 0:
            self._last()
        if stop is not None:
            self._check("stop", stop, before_end=0)
        numbers = itertools.count(start, step)
        return (
            (self._same_size(frame.pixels(), number), frame)
            for number, frame in zip(numbers, self._source.frames(start, stop, step), strict=False)
        )

    def _last(self) -> int:
        count = self.num_frames
        if count is None:
            raise ValueError(f"{self.name} can only be read forwards; keep the frames in a list")
        return count - 1

    def _check(self, what: str, number: int, *, before_end: int) -> None:
        count = self.num_frames
        if number < 0:
            raise ValueError(f"{what} {number} is out of range: frames are counted from 0")
        if count is not None and number > count - before_end:
            raise ValueError(
                f"{what} {number} is out of range: {self.name} has {count} frames,"
                f" so {what} is at most {count - before_end}"
            )

    def _same_size(self, pixels: np.ndarray, number: int) -> np.ndarray:
        height, width = pixels.shape[:2]
        if (height, width) != (self.height, self.width):
            raise ValueError(
                f"frame {number} of {self.name} has {width} x {height} pixels, but frame 0 has"
                f" {self.width} x {self.height}; make all frames one size, or split the video"
            )
        return pixels


def open_video(source: Any, *, name: str | None = None, max_pixels: int | None = None) -> Video:
    """Opens anything that has frames. Only the first frame is read.

    Args:
      source: one of

        - the path of a video file, of any kind that FFmpeg reads; or its bytes;
        - a folder of JPEG or PNG frames whose names end in their numbers, with the same text before
          them if any (00000.jpg, frame_7.png); other files are ignored;
        - a camera: its number, or its device file (Linux);
        - uint8 frames in an array [t h w 3], or a list of uint8 [h w 3] or PIL images: used as they
          are, not copied;
        - an iterator of such frames: `num_frames` is None, they can be read once, forwards;
        - a Video, which is returned.
      name: what messages call a video file, where its path says nothing to who reads them.
      max_pixels: frames of a video file that are larger are not decoded, but said to be damaged.

    Raises:
      OSError: there is no such file, folder or camera, or it cannot be opened.
      ValueError: it is not a video, has no frames, or its first frame is damaged.
    """
    if isinstance(source, Video):
        return source
    if isinstance(source, bytes):
        return Video(VideoFile(source, name, max_pixels))
    if isinstance(source, bool):
        raise ValueError(f"a video is a path, camera number, array or iterator; got {source}")
    if isinstance(source, int):
        return Video(camera(f"/dev/video{source}"))
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            return Video(picture_folder(path))
        if re.fullmatch(r"/dev/video\d+", str(path)):
            return Video(camera(str(path)))
        if not path.exists():
            raise FileNotFoundError(f"there is no video {source}")
        return Video(VideoFile(path, name, max_pixels))
    if isinstance(source, Image.Image):
        raise ValueError("one image is not a video; give a list of images")
    if hasattr(source, "__array__"):
        array = np.asarray(source)
        if array.ndim != 4:
            raise ValueError(f"a video array must be [t h w 3], got shape {array.shape}")
        return Video(FrameSequence("the array", array, as_rgb))
    if isinstance(source, list | tuple):
        return Video(FrameSequence("the list of frames", source, as_rgb))
    if isinstance(source, Iterable):
        items = iter(source)
        return Video(FramesOnce("the iterator", items, None, getattr(items, "close", lambda: None)))
    raise ValueError(
        f"a video is a path, camera number, array or iterator; got {type(source).__name__}"
    )
