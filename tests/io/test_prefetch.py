import gc
import itertools
import threading
import time

import pytest

from sam_jax.io.prefetch import prefetch


class Source:
    """Counts, says how far it was read, and when it was closed."""

    def __init__(self, count=10**9, fail_at=None):
        self.read, self.closed = 0, threading.Event()
        self.count, self.fail_at = count, fail_at

    def __iter__(self):
        try:
            for i in range(self.count):
                if i == self.fail_at:
                    raise OSError("no more")
                self.read = i + 1
                yield i
        finally:
            self.closed.set()

    def wait_until_read(self, count):
        end = time.monotonic() + 5
        while self.read < count and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.02)  # room to read too far
        return self.read


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_items_come_in_order_and_end(depth):
    source = Source(50)
    assert list(prefetch(source, depth)) == list(range(50))
    assert source.closed.wait(5)
    assert list(prefetch([], depth)) == []
    assert list(prefetch([None, None], depth)) == [None, None]


def test_reads_ahead_as_far_as_it_may():
    source = Source()
    ahead = prefetch(source, 3)
    assert source.read == 0  # nothing before the first is asked for
    assert next(ahead) == 0
    assert source.wait_until_read(4) == 4
    assert next(ahead) == 1
    assert source.wait_until_read(5) == 5
    ahead.close()


def test_an_error_comes_after_the_items_before_it():
    source = Source(fail_at=4)
    ahead = prefetch(source, 2)
    assert list(itertools.islice(ahead, 4)) == [0, 1, 2, 3]
    with pytest.raises(OSError, match="no more"):
        next(ahead)
    assert list(ahead) == []
    assert source.closed.wait(5)


@pytest.mark.parametrize("way", ["close", "collect", "break"])
def test_the_thread_ends_with_its_consumer(way):
    source = Source()
    before = set(threading.enumerate())
    ahead = prefetch(source, 2)
    assert next(ahead) == 0
    threads = set(threading.enumerate()) - before
    assert len(threads) == 1
    if way == "close":
        ahead.close()
    elif way == "break":
        with pytest.raises(KeyboardInterrupt):
            ahead.throw(KeyboardInterrupt)
    else:
        del ahead
        gc.collect()
    assert source.closed.wait(5)
    threads.pop().join(5)
    assert set(threading.enumerate()) <= before


def test_depth_is_checked_at_once():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        prefetch([1], 0)
