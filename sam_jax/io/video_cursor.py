"""A place in a video file: decoding forward from it, and finding another by seeking."""

import dataclasses
import sys
from collections.abc import Generator, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

JUMP = 16  # frames; a seek costs about as much as decoding these
_NOWHERE = sys.maxsize  # a position from which every frame must be sought


@dataclasses.dataclass(frozen=True)
class Index:
    """Where frames are.

    Attributes:
      count: how many frames there are.
      times: when each is shown, increasing, in the stream's unit; None where times are not to be
        trusted and frames must be counted from the beginning.
      keys: numbers of the frames from which decoding can start.
      missing: how many more frames the header announces.
    """

    count: int
    times: np.ndarray | None
    keys: np.ndarray
    missing: int = 0

    def key_before(self, number: int) -> int:
        place = int(np.searchsorted(self.keys, number, "right")) - 1
        return int(self.keys[place]) if place >= 0 else 0


@runtime_checkable
class _File(Protocol):
    name: str

    def open(self) -> tuple[Any, Any]: ...

    def index(self) -> Index: ...

    def count_by_decoding(self) -> None: ...

    @property
    def index_if_known(self) -> Index | None: ...


class Cursor:
    """A place in the file: decodes forward from it, and seeks to a keyframe to go elsewhere."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._restart()

    def __enter__(self) -> "Cursor":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._last, self._ahead = (-1, None), None
        self._decoded.close()
        self._container.close()

    def _restart(self) -> None:
        self._container, self.stream = self._file.open()
        self.kinds = set(self._container.format.name.split(","))
        self._decoded = self._decode()
        self._ahead: Any = None  # a decoded frame that `advance` has yet to give
        self._last: tuple[int, Any] = (-1, None)
        self._sought = False
        self.position = 0  # number of the frame that `advance` gives next

    def at(self, number: int, *, end_is_error: bool = True) -> Any:
        """Frame `number`; or None, where the end may come first and does."""
        if self._last[0] == number:
            return self._last[1]
        for index_is_exact in (False, True):
            index = self._file.index_if_known
            if number < self.position or (
                index is not None and index.key_before(number) > self.position + JUMP
            ):
                index = self._seek(number)
            while self.position <= number:
                self._last = self.position, self.advance()
                if self._last[1] is None:
                    return self._end(number, end_is_error)
            frame: Any = self._last[1]
            if not self._sought or index is None or index.times is None:
                break
            if frame.pts == index.times[number]:
                break
            # Packets and frames do not correspond, which only a codec or damage can bring about.
            if index_is_exact:
                raise ValueError(f"{self._file.name} is damaged: frame {number} does not decode")
            self._file.count_by_decoding()
            self._last, self.position = (-1, None), _NOWHERE
        return frame

    def _end(self, number: int, is_error: bool) -> None:
        count, self.position, self._last = self.position, _NOWHERE, (-1, None)
        more = self.stream.frames > count and self._file.index().missing
        if more:
            raise ValueError(
                f"{self._file.name} breaks off after {count} of {count + more} frames;"
                f" use its first {count} frames, or get the whole file"
            )
        if count == 0:
            raise ValueError(f"{self._file.name} has no frames that can be decoded")
        if is_error:
            raise ValueError(f"{self._file.name} ends after {count} frames, before frame {number}")

    def advance(self) -> Any:
        """The next frame, None at the end."""
        if self._ahead is not None:
            frame, self._ahead = self._ahead, None
        else:
            frame = next(self._decoded, None)
        self.position += frame is not None
        return frame

    def _seek(self, number: int) -> Index:
        """Moves to `number` or before, to where counting frames is certain."""
        index = self._file.index()
        key, back = index.key_before(number), 1
        while key > 0 and index.times is not None:
            if self._land(key, int(index.times[key])):
                return index
            key = index.key_before(max(key - back, 0))  # a container may seek too far
            back *= 2
        self.close()
        self._restart()
        return index

    def _land(self, key: int, time: int) -> bool:
        self._decoded.close()
        self._container.seek(time, stream=self.stream)
        self._decoded = self._decode()
        self._ahead = next((frame for frame in self._decoded if (frame.pts or 0) >= time), None)
        self._sought, self.position = True, key
        return self._ahead is not None and self._ahead.pts == time

    def _decode(self) -> Generator[Any, None, None]:
        import av

        try:
            for packet in self._container.demux(self.stream):
                if not is_cut(packet, self._container):
                    yield from packet.decode()
        except av.error.FFmpegError as error:
            yield from self._left_in_decoder()
            count, self.position = self.position, _NOWHERE
            if count == 0:
                raise ValueError(
                    f"{self._file.name} has no frames that can be decoded ({error.strerror})"
                ) from error
            raise ValueError(
                f"{self._file.name} is damaged after {count} frames ({error.strerror});"
                f" use its first {count} frames, or repair it"
            ) from error

    def _left_in_decoder(self) -> Iterator[Any]:
        import av

        for _ in range(64):  # every thread of the decoder may report the damage once
            try:
                frames = self.stream.codec_context.decode(None)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                continue
            if not frames:
                return
            yield from frames


def is_cut(packet: Any, container: Any) -> bool:
    """Whether the file ends inside this packet.

    Transport streams use the same flag for damage on the way, which decoders conceal.
    """
    return packet.is_corrupt and "mpegts" not in container.format.name
