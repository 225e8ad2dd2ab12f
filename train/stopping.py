"""Ending a run when it is asked to, also in the middle of what Python cannot interrupt."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Self

import jax
from jax.experimental import multihost_utils

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
        if jax.process_count() == 1:
            handlers = dict.fromkeys((signal.SIGTERM, signal.SIGINT), self._note)
        else:  # jax hears the first, in any of the processes
            handlers = {signal.SIGINT: lambda *_: signal.raise_signal(signal.SIGTERM)}
        self._before = {number: signal.signal(number, how) for number, how in handlers.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def now(self, step: int) -> bool:
        """Whether to stop after this step: the same answer in all processes.

        Of several, all have to ask after every step.
        """
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            self.asked = "a signal to one of the processes"
        return bool(self.asked)

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
