"""How much of the time a device has something to do, seen from the host."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager


class Clock:
    """Busy is the time in which at least one call's results are waited for. Safe for threads.

    Measured from the first call on, so without the loading of the model.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._first = self._since = self._busy = 0.0

    def begin(self) -> None:
        """A call was, or is about to be, given to the device."""
        with self._lock:
            now = time.perf_counter()
            self._first = self._first or now
            if not self._under_way:
                self._since = now
            self._under_way += 1

    def end(self) -> None:
        """Its results are there."""
        with self._lock:
            self._under_way -= 1
            if not self._under_way:
                self._busy += time.perf_counter() - self._since

    @contextmanager
    def busy(self) -> Generator[None]:
        self.begin()
        try:
            yield
        finally:
            self.end()

    @property
    def idle_share(self) -> float | None:
        """0..1; None before the first call."""
        with self._lock:
            if not self._first:
                return None
            now = time.perf_counter()
            busy = self._busy + (now - self._since if self._under_way else 0)
            return max(0.0, 1 - busy / max(now - self._first, 1e-9))
