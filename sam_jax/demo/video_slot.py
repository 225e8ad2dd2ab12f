"""The video that a tab has open, and whose turn it is to work on it."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from sam_jax.demo.refusal import Refusal
from sam_jax.demo.sessions import Session
from sam_jax.demo.video import TrackedVideo


class OpenVideo:
    """A tab's video, and what is being done to it.

    Attributes:
      name: as the user calls the file.
      doing: what takes long and keeps prompts out, such as "the tracking", or None.
      stop: set to end that.
      promised: bytes that a tracking that is under way may come to hold, in all.
    """

    def __init__(self, work: TrackedVideo, name: str, upload: Path | None) -> None:
        self.work = work
        self.name = name
        self.doing: str | None = None
        self.stop = threading.Event()
        self.promised = 0
        self._upload = upload
        self._turn = asyncio.Lock()

    @property
    def nbytes(self) -> int:
        return max(self.work.nbytes, self.promised)

    @asynccontextmanager
    async def turn(self, doing: str | None = None) -> AsyncGenerator[None]:
        """One thing at a time.

        Args:
          doing: of what takes long: others are refused meanwhile, where else they would wait.

        Raises:
          Refusal: something that takes long is under way.
        """
        self.require_idle()
        if doing is None:
            async with self._turn:
                yield
            return
        self.doing = doing  # from here on, while the last prompt is still answered
        try:
            async with self._turn:
                self.stop.clear()
                yield
        finally:
            self.doing = None

    def require_idle(self) -> None:
        """Raises Refusal if something that takes long is under way."""
        if self.doing:
            raise Refusal(409, f"{self.doing} is under way: wait, or stop it first")

    def close(self) -> None:
        self.stop.set()
        self.work.close()
        if self._upload is not None:
            self._upload.unlink(missing_ok=True)


def opened_video(session: Session) -> OpenVideo:
    """The session's video.

    Raises:
      Refusal: none is open.
    """
    video = session.slots.get("video")
    if video is None:
        raise Refusal(409, "no video is open: choose one first")
    return video


def require_idle(session: Session) -> None:
    """Raises Refusal if something that takes long is under way on the session's video."""
    before = session.slots.get("video")
    if before is not None:
        before.require_idle()
