import time

from sam_jax.batch.clock import Clock


def test_idle_is_the_time_in_which_nobody_waits(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock()
    assert clock.idle_share is None
    clock.begin()
    now[0] += 2
    with clock.busy():  # beside the other
        now[0] += 1
    now[0] += 1
    clock.end()
    assert clock.idle_share == 0
    now[0] += 4
    assert clock.idle_share == 0.5
    clock.begin()
    now[0] += 8
    assert clock.idle_share == 0.25
