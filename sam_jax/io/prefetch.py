"""Reading ahead, so that the host decodes while the device computes."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")


def prefetch(source: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Yields the items of `source`, which a background thread reads `depth` items ahead.

    The thread starts with the first item that is asked for. It ends with the source, and when the
    generator is closed or garbage collected; a source that is a generator is then closed as well.

    Args:
      depth: how many items may wait, at least 1; besides these, the consumer holds one.

    Raises:
      ValueError: `depth` is below 1.
      Exception: whatever `source` raises, after the items that came before it.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    return _consume(source, depth)


def _consume(source: Iterable[Any], depth: int) -> Generator[Any, None, None]:
    ready: SimpleQueue[Callable[[], Any]] = SimpleQueue()
    room = threading.Semaphore(depth)
    stop = threading.Event()
    # The thread gets no reference to this generator: it must be collectable while the thread runs.
    threading.Thread(
        target=_read, args=(iter(source), ready, room, stop), name="prefetch", daemon=True
    ).start()
    try:
        while True:
            result = ready.get()
            room.release()
            try:
                item = result()
            except _End:
                return
            yield item
    finally:
        stop.set()
        room.release()


class _End(Exception):
    pass


def _read(
    source: Iterator[Any],
    ready: "SimpleQueue[Callable[[], Any]]",
    room: threading.Semaphore,
    stop: threading.Event,
) -> None:
    try:
        while True:
            room.acquire()
            if stop.is_set():
                return
            item = next(source, _End)
            if item is _End:
                ready.put(_raiser(_End()))
                return
            ready.put(_returner(item))
            del item  # or it would live until the next one is read
    except BaseException as error:
        ready.put(_raiser(error))
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def _returner(item: Any) -> Callable[[], Any]:
    return lambda: item


def _raiser(error: BaseException) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail
