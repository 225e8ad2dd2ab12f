"""Frames of a video file by number, decoded with PyAV as they are asked for.

Frame i is the i-th that decoding from the beginning gives. Nothing is kept but one integer per
frame, its time, once frames are asked for out of order.
"""

import dataclasses
import io
import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sam_jax.io.video_cursor import JUMP, Cursor, Index, is_cut

BLOCK_BYTES = 256 * 2**20  # decoded frames held while going backwards
# Containers that store the time at which a frame is shown. AVI has one time per packet, in storage
# order, and raw streams have none; there frames are counted by decoding.
_TIMED = {"mov", "mp4", "matroska", "webm", "mpegts"}
_UNTIMED_CODECS = {"vp8"}  # has packets that show nothing, with a time of their own


@dataclasses.dataclass(frozen=True)
class FileFrame:
    """One decoded frame, not yet converted to RGB."""

    frame: Any

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        pixels = self.frame.to_ndarray(format="rgb24")
        if self.frame.format.name == "rgb24":  # then PyAV gives the decoder's own memory
            pixels = pixels.copy()
        return self._upright(pixels)

    def model_input(self, side: int) -> UInt8[np.ndarray, "side side 3"]:
        """Scaled by libswscale from the stored planes, bilinear.

        The official loader has decord scale in its decoder. On bedroom.mp4 at 1024 this is off from
        decord by 0.15 levels on average (at most 13), Pillow on the RGB frame by 1.49 (27): decord
        converts to RGB after scaling, by tables whose rounding is biased otherwise.
        """
        from av.video.reformatter import Interpolation

        square = self.frame.reformat(side, side, "rgb24", interpolation=Interpolation.BILINEAR)
        return self._upright(square.to_ndarray())

    def _upright(self, pixels: np.ndarray) -> np.ndarray:
        """Applies the display matrix: phones store the sensor's picture and say how to turn it."""
        matrix = self.frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return pixels
        # x' = a x + c y, y' = b x + d y, in 1/65536; other angles than quarter turns are left
        a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(matrix, np.int32))
        if a == d == 0:
            pixels, a, d = pixels.swapaxes(0, 1), c, b
        elif b or c:
            return pixels
        return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


class VideoFile:
    """A source of frames for `sam_jax.io.videos.Video`; safe to use from several threads.

    Args:
      name: what messages call it; None: its path.
      max_pixels: of a frame. Larger ones, which may come after small ones, are not decoded.

    Raises:
      OSError: the file cannot be opened.
      ValueError: it is no video that can be decoded.
    """

    def __init__(
        self,
        source: str | os.PathLike | bytes,
        name: str | None = None,
        max_pixels: int | None = None,
    ) -> None:
        path = "the video in memory" if isinstance(source, bytes) else str(source)
        self.name = path if name is None else name
        self._source = source
        self._options = {} if max_pixels is None else {"max_pixels": str(max_pixels)}
        self._lock = threading.RLock()
        self._closed = False
        self._found: Index | None = None
        self._cursor = Cursor(self)
        rate = self._cursor.stream.average_rate or self._cursor.stream.guessed_rate
        self.fps = float(rate) if rate else None

    def open(self) -> tuple[Any, Any]:
        """A new container and its first video stream."""
        import av
        from av.stream import Disposition

        try:
            if isinstance(self._source, bytes):
                container = av.open(io.BytesIO(self._source))
            else:
                if os.path.getsize(self._source) == 0:
                    raise ValueError(f"{self.name} is empty (0 bytes)")
                container = av.open(os.fspath(self._source))
        except (PermissionError, FileNotFoundError):
            raise
        except av.error.FFmpegError as error:
            raise ValueError(
                f"{self.name} is not a video that FFmpeg can read, or its end is missing"
                " (an interrupted download or recording?)"
            ) from error
        kinds = set(container.format.name.split(","))
        streams = [
            stream
            for stream in container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        problem = None
        if "tty" in kinds or not streams:
            problem = "has no video stream" + " (audio only)" * bool(container.streams.audio)
        elif kinds & {"image2"} or any(kind.endswith("_pipe") for kind in kinds):
            problem = "is one picture, not a video; give the folder that holds the frames"
        elif streams[0].codec_context is None:
            problem = "has a codec that FFmpeg cannot decode; convert it to H.264"
        if problem:
            container.close()
            raise ValueError(f"{self.name} {problem}")
        streams[0].thread_type = "AUTO"
        streams[0].codec_context.options = self._options
        return container, streams[0]

    def count(self) -> int:
        return self.index().count

    def index(self) -> Index:
        """Found by reading the file once without decoding, where its container allows that."""
        with self._lock:
            if self._found is None:
                self._found = self._index_packets() or self._index_frames()
            return self._found

    @property
    def index_if_known(self) -> Index | None:
        return self._found

    def count_by_decoding(self) -> None:
        """Replaces an index that turned out not to be true."""
        with self._lock:
            self._found = self._index_frames()

    def _index_packets(self) -> Index | None:
        import av

        container, stream = self.open()
        with container:
            kinds = set(container.format.name.split(","))
            if not kinds & _TIMED or stream.codec_context.name in _UNTIMED_CODECS:
                return None
            times, keys, hidden, last = [], [], 0, None
            try:
                for packet in container.demux(stream):
                    if packet.size == 0 or is_cut(packet, container):
                        continue
                    if packet.pts is None:
                        return None
                    if packet.dts is not None:
                        if last is not None and packet.dts < last:
                            return None  # two files glued together: times start again
                        last = packet.dts
                    if packet.is_discard:
                        hidden += 1
                    else:
                        times.append(packet.pts)
                        if packet.is_keyframe:
                            keys.append(packet.pts)
            except av.error.FFmpegError:
                pass  # what is beyond cannot be read by anyone; iterating says so
            announced = stream.frames - hidden if "mov" in kinds else 0
        sorted_times = np.sort(np.array(times, np.int64))
        if not times or (np.diff(sorted_times) == 0).any():
            return None
        numbers = np.searchsorted(sorted_times, np.sort(np.array(keys, np.int64)))
        return Index(len(times), sorted_times, numbers, max(0, announced - len(times)))

    def _index_frames(self) -> Index:
        times, keys = [], []
        with Cursor(self) as cursor:
            try:
                while (frame := cursor.advance()) is not None:
                    if frame.key_frame:
                        keys.append(len(times))
                    times.append(frame.pts)
                seekable = "mov" in cursor.kinds or bool(cursor.kinds & _TIMED)
            except ValueError:
                seekable = False
        if not seekable or None in times or (np.diff(np.array(times)) <= 0).any():
            return Index(len(times), None, np.zeros(1, np.int64))
        return Index(len(times), np.array(times, np.int64), np.array(keys, np.int64))

    def read(self, number: int) -> FileFrame:
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.name} is closed; open it again")
            return FileFrame(self._cursor.at(number))

    def frames(self, start: int, stop: int | None, step: int) -> Iterator[FileFrame]:
        with Cursor(self) as cursor:
            if step > 0:
                for number in (
                    itertools.count(start, step) if stop is None else range(start, stop, step)
                ):
                    frame = cursor.at(number, end_is_error=stop is not None)
                    if frame is None:
                        return
                    yield FileFrame(frame)
                return
            targets = range(start, -1 if stop is None else stop, step)
            while targets:
                block = targets[: self._block(targets[0], -step)]
                held = [FileFrame(cursor.at(number)) for number in reversed(block)]
                targets = targets[len(block) :]
                while held:
                    yield held.pop()

    def _block(self, high: int, step: int) -> int:
        """How many frames to decode together, the last of which is `high`."""
        context = self._cursor.stream.codec_context
        room = max(4, BLOCK_BYTES // max(1, 2 * context.width * context.height)) * step
        low = self.index().key_before(max(high - JUMP, 0))
        return min(room, high - low) // step + 1

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._cursor.close()
