"""Which of several formulations a program gets: those for CPUs, for GPUs, or for TPUs.

Chosen while jax traces. By default for the platform that jax computes on; `tracing_for` says
otherwise where a program is made for a machine that is not here.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_platform: ContextVar[str | None] = ContextVar("_platform", default=None)


def for_cpu() -> bool:
    """Whether what is being traced is for a CPU."""
    return (_platform.get() or jax.default_backend()) == "cpu"


def for_tpu() -> bool:
    """Whether what is being traced is for a TPU."""
    return (_platform.get() or jax.default_backend()) == "tpu"


@contextmanager
def tracing_for(platform: str) -> Generator[None]:
    """What is traced inside is for this platform: "cpu", "cuda", "rocm" or "tpu".

    jax keeps what it traced: a function that was jitted and called outside before stays as it is.
    """
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)
