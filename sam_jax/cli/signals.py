"""Ctrl-C in commands that finish what is done."""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


class Signals:
    """What Ctrl-C and SIGTERM do: KeyboardInterrupt; within `patient`, only the second time.

    Attributes:
      asked: whether one came. Loops look at this between two frames or pictures, also because the
        exception is lost when it is raised in a callback of jax's from the garbage collector.
    """

    def __init__(self) -> None:
        self.asked = False
        self._is_patient = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def patient(self) -> Generator[None]:
        self._is_patient = True
        try:
            yield
        finally:
            self._is_patient = False

    def _handle(self, number: int, frame: object) -> None:
        again, self.asked = self.asked, True
        if again or not self._is_patient:
            raise KeyboardInterrupt
        # Not print: the signal may have come while something else was printing.
        os.write(2, b"\nsam-jax: finishing what is done; Ctrl-C again stops at once\n")
