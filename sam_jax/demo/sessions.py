"""Browser tabs: each is a session of its own, with files and memory that end with it."""

import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from sam_jax.demo.refusal import Refusal
from sam_jax.demo.settings import Settings

_BUSY_SECONDS = 60  # a session that was heard of more recently does not make room for others


class Session:
    """What one tab has opened.

    Attributes:
      id: 256 random bits; who knows it is the tab.
      slots: whatever the tabs of the page keep here, by name; see `put`.
      cancelled: set when the session ends.
    """

    def __init__(self, root: Path) -> None:
        self.id = secrets.token_urlsafe(32)
        self.slots: dict[str, Any] = {}
        self.cancelled = threading.Event()
        self.last_seen = time.monotonic()
        self._root = root
        self._folder: Path | None = None
        self._lock = threading.RLock()

    @property
    def folder(self) -> Path:
        """A private folder, made when it is first asked for."""
        with self._lock:
            if self.cancelled.is_set():
                raise Refusal(410, "the session has ended")
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(dir=self._root))
            return self._folder

    @property
    def nbytes(self) -> int:
        """Memory that the slots say they hold."""
        with self._lock:
            return sum(getattr(value, "nbytes", 0) for value in self.slots.values())

    @property
    def idle(self) -> float:
        """Seconds since it was heard of."""
        return time.monotonic() - self.last_seen

    def put(self, name: str, value: Any) -> None:
        """Keeps `value` in the slot `name`; closes what was there, and it when the session ends."""
        with self._lock:
            if self.cancelled.is_set():
                _close(value)
                raise Refusal(410, "the session has ended")
            before, self.slots[name] = self.slots.get(name), value
        _close(before)

    def close(self) -> None:
        """Frees everything; files included."""
        with self._lock:
            self.cancelled.set()
            values, self.slots = list(self.slots.values()), {}
        for value in values:
            _close(value)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _close(value: Any) -> None:
    if hasattr(value, "close"):
        value.close()


class Sessions:
    """All of them, bounded in number, memory and disk.

    Args:
      root: a private folder, for theirs.
    """

    def __init__(self, settings: Settings, root: Path) -> None:
        self._settings = settings
        self._root = root
        self._all: dict[str, Session] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._all)

    def open(self) -> Session:
        """A new session; the longest idle one ends if there are too many.

        Raises:
          Refusal: there are too many, and all are in use.
        """
        self.expire()
        with self._lock:
            while len(self._all) >= self._settings.max_sessions:
                self._end_longest_idle(besides=None, lacking="sessions")
            session = Session(self._root)
            self._all[session.id] = session
            return session

    def find(self, id: str | None) -> Session:
        """The session of that id, which is not idle now.

        Raises:
          Refusal: there is none.
        """
        with self._lock:
            session = self._all.get(id or "")
        if session is None:
            raise Refusal(410, "this session has ended: reload the page")
        session.last_seen = time.monotonic()
        return session

    def end(self, session: Session) -> None:
        """Frees what it has."""
        with self._lock:
            self._all.pop(session.id, None)
        session.close()

    def expire(self) -> None:
        """Ends those that were silent for too long."""
        for session in list(self._all.values()):
            if session.idle > self._settings.idle_seconds:
                self.end(session)

    def make_room(self, session: Session, memory: int = 0, disk: int = 0) -> None:
        """Ends idle sessions until there is room for so many bytes more.

        Raises:
          Refusal: what is in use leaves too little.
        """
        with self._lock:
            while sum(s.nbytes for s in self._all.values()) + memory > self._settings.memory:
                self._end_longest_idle(besides=session, lacking="memory")
            while _bytes_below(self._root) + disk > self._settings.disk:
                self._end_longest_idle(besides=session, lacking="disk space")

    def close(self) -> None:
        """Ends all."""
        for session in list(self._all.values()):
            self.end(session)

    def _end_longest_idle(self, *, besides: Session | None, lacking: str) -> None:
        others = [s for s in self._all.values() if s is not besides and s.idle > _BUSY_SECONDS]
        if not others:
            raise Refusal(503, f"the server has no {lacking} left: close other tabs, or try later")
        self.end(max(others, key=lambda s: s.idle))


def _bytes_below(root: Path) -> int:
    total = 0
    for path in root.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:  # removed meanwhile
            continue
    return total
