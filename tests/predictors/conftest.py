"""A model and a clip for the video predictors, and what is compiled while they work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def tracker(small_tracker: Callable[..., Any]) -> Any:
    return small_tracker()


@pytest.fixture(scope="session")
def clip(drifting: Callable[..., np.ndarray]) -> np.ndarray:
    """12 frames of 80 x 60 (width x height)."""
    return drifting(12, height=60, width=80)


_compiled: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **__: _compiled.append(event) if "backend_compile" in event else None
)


@pytest.fixture
def compiled() -> Callable[[], Any]:
    """`with compiled() as count: ...; count()`: programs compiled since, tiny ones included."""

    @contextmanager
    def counting() -> Iterator[Callable[[], int]]:
        before = len(_compiled)
        yield lambda: len(_compiled) - before

    return counting
