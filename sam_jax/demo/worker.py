"""The one thread that runs the model, so that the event loop stays live and tabs take turns."""

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sam_jax.demo.refusal import Refusal
from sam_jax.demo.sessions import Session


class Worker:
    """Runs jobs one at a time: a job of each session that has any, in turn.

    Args:
      pending: jobs of one session that may wait.
    """

    def __init__(self, pending: int) -> None:
        self._pending = pending
        self._queues: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._work, name="sam_jax worker", daemon=True)
        self._thread.start()

    def submit(self, session: Session, function: Callable[..., Any], *arguments: Any) -> Future:
        """Queues `function(*arguments)`, from any thread.

        Returns:
          Its result to come. It is cancelled if the session ends before.

        Raises:
          Refusal: too many jobs of the session are waiting, or the server stops.
        """
        future: Future = Future()

        def job() -> None:
            if session.cancelled.is_set():
                future.cancel()
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*arguments)
            except Exception as error:  # it is the caller's, in another thread
                gone = session.cancelled.is_set()
                future.set_exception(Refusal(410, "the session has ended") if gone else error)
            else:
                future.set_result(result)

        with self._changed:
            if not self._is_open:
                raise Refusal(503, "the server is stopping")
            queue = self._queues.setdefault(session.id, deque())
            if len(queue) >= self._pending:
                raise Refusal(429, f"{len(queue)} requests of this tab are waiting already: wait")
            queue.append(job)
            self._changed.notify()
        return future

    async def run(self, session: Session, function: Callable[..., Any], *arguments: Any) -> Any:
        """`submit`, awaited."""
        try:
            return await asyncio.wrap_future(self.submit(session, function, *arguments))
        except asyncio.CancelledError:
            if session.cancelled.is_set():
                raise Refusal(410, "the session has ended") from None
            raise

    def close(self, patience: float | int) -> None:
        """Forgets the jobs that wait, and waits so many seconds for the one that runs."""
        with self._changed:
            self._is_open = False
            self._queues.clear()
            self._changed.notify()
        self._thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queues or not self._is_open)
                if not self._is_open:
                    return
                name, queue = self._queues.popitem(last=False)
                job = queue.popleft()
                if queue:
                    self._queues[name] = queue  # behind the others
            job()
