"""Ending a run when it is asked to, also in the middle of what Python cannot interrupt."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Self

import jax
import numpy as np
from jax.experimental import multihost_utils

_AGREE_EVERY = 10  # steps; each time costs a message between all processes
_LOOK_EVERY = 0.2  # seconds


class Stop:
    """Notes SIGTERM and SIGINT; a second one is not waited for.

    Attributes:
      asked: name of the signal; empty before there is one.
    """

    def __init__(self) -> None:
        self.asked = ""
        self._left = False

    def __enter__(self) -> Self:
        signals = (signal.SIGTERM, signal.SIGINT)
        self._before = {number: signal.signal(number, self._note) for number in signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def now(self, step: int) -> bool:
        """Whether to stop after this step: the same answer in all processes.

        Where there are several, they ask each other every few steps only.
        """
        if jax.process_count() == 1:
            return bool(self.asked)
        if step % _AGREE_EVERY:
            return False
        if np.any(multihost_utils.process_allgather(np.array(bool(self.asked)))):
            self.asked = self.asked or "a signal to another process"
            return True
        return False

    def unless_asked(self, work: Callable[[], None]) -> bool:
        """Work that can be given up: done in a thread, which is left alone when a signal comes.

        Compilation hears no signals, and may take many minutes. With several processes the work is
        always done, because the others wait for this one's part of it.

        Returns:
          Whether it is done. If not, the process has to end by `leave`.
        """
        if jax.process_count() > 1:
            work()
            return True
        if self.asked:
            return False
        errors: list[BaseException] = []

        def attempt() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_EVERY)
            if self.asked and thread.is_alive():
                self._left = True
                return False
        if errors:
            raise errors[0]
        return True

    def leave(self) -> None:
        """Ends the process, with success, if work was given up that goes on: Python would crash."""
        if self._left:
            os._exit(0)

    def _note(self, number: int, _: Any) -> None:
        self.asked = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)
