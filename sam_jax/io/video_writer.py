"""Video out: H.264 in mp4, which every browser and player shows."""

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sam_jax.files import check_writable, replacing
from sam_jax.io.images import as_rgb

DEFAULT_FPS = 25.0  # for sources that do not say, such as folders of pictures
_MAX_FPS_DENOMINATOR = 1001  # 29.97 is 30000 / 1001


class _NothingWritten(Exception):
    """Makes `replacing` remove the temporary file."""


class VideoWriter:
    """Writes frames to an mp4 file; a context manager.

    The file appears at `path` when the block ends, complete, in place of what was there. That holds
    when it ends by an exception too, Ctrl-C included: what was written so far is a playable file.
    Without any frame nothing is written. Of odd sizes the last column or row is repeated, since the
    format halves the resolution of colours.

    Raises:
      ValueError: `path` is no .mp4 or cannot be written, `fps` or `crf` are out of range, frames
        differ in size, or the disk is full; in the last case nothing is left behind.
    """

    def __init__(self, path: str | os.PathLike, fps: float | int | None, *, crf: int = 20) -> None:
        """Checks everything that can be checked before there are frames.

        Args:
          fps: frames per second; None means 25.
          crf: quality, from 0 (no loss) to 51; 6 more halve the size of the file.
        """
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"cannot write {path}: the name of a video must end in .mp4")
        check_writable(path)
        fps = DEFAULT_FPS if fps is None else float(fps)
        if not isfinite(fps) or not 0.01 <= fps <= 1000:
            raise ValueError(f"fps must be from 0.01 to 1000, got {fps}")
        if not 0 <= crf <= 51:
            raise ValueError(f"crf must be from 0 to 51, got {crf}")
        self._rate, self._crf = Fraction(fps).limit_denominator(_MAX_FPS_DENOMINATOR), crf
        self._size: tuple[int, int] | None = None
        self._output: Any = None
        self._stream: Any = None
        self._pending = ExitStack()  # holds the temporary file until it is renamed
        self._count = 0
        self._closed = False

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._output is not None and self._count == 0:  # interrupted before the first frame
            with suppress(OSError):
                self._output.close()
            self._output = None
            with suppress(_NothingWritten), self._pending:
                raise _NothingWritten
        if self._output is not None:
            with self._giving_up():
                self._encode(None)
                self._output.close()
            self._output = None
            self._pending.close()  # renames
        self._closed = True

    def write(self, pixels: Any) -> None:
        """Adds a frame.

        Args:
          pixels: uint8 [h w 3] or a PIL image; all of the size of the first.
        """
        import av

        if self._closed or (self._count and self._output is None):
            raise ValueError(f"{self.path} is finished; no more frames can be written")
        pixels = as_rgb(pixels)
        height, width = pixels.shape[:2]
        if self._size is None:
            self._size = height, width
            with self._giving_up():
                self._open(height, width)
        if (height, width) != self._size:
            raise ValueError(
                f"frame {self._count} has {width} x {height} pixels, but the frames of {self.path}"
                f" have {self._size[1]} x {self._size[0]}; make all frames one size"
            )
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = self._count, 1 / self._rate
        with self._giving_up():
            self._encode(frame)
        self._count += 1

    def _open(self, height: int, width: int) -> None:
        import av

        temporary = self._pending.enter_context(replacing(self.path))
        # The index goes to the front, so that a browser can play before it has the whole file.
        self._output = av.open(
            str(temporary), "w", format="mp4", options={"movflags": "+faststart"}
        )
        stream = self._output.add_stream(
            "libx264", rate=self._rate, options={"crf": str(self._crf), "preset": "veryfast"}
        )
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = 1 / self._rate
        # Said explicitly, or players guess the colours from the size of the picture.
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16..235
        self._stream = stream

    def _encode(self, frame: Any) -> None:
        self._output.mux(self._stream.encode(frame))

    @contextmanager
    def _giving_up(self) -> Generator[None]:
        """When the disk is full there is no place for the index either: removes the file."""
        try:
            yield
        except OSError as error:
            output, self._output = self._output, None
            if output is not None:
                with suppress(OSError):
                    output.close()
            with self._pending:  # `replacing` makes it a ValueError that names the path
                raise OSError(error.errno, error.strerror) from error
