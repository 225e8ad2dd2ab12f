"""Several processes that train as one: how they find each other, and how they end."""

import dataclasses
import os
import sys
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

_SILENCE = 60  # seconds, after which a process counts as dead


def begin(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Finds the other processes, if there are any; before anything else asks for a device.

    Args:
      coordinator: HOST:PORT of the first process, which the others can reach; None: the environment
        says how to find it, or this is the only one.
      processes: how many there are.
      process: which one this is, from 0.
    """
    if coordinator is None and in_a_group():
        processes, process = _number("JAX_NUM_PROCESSES"), _number("JAX_PROCESS_ID")
    elif coordinator is None:
        return
    jax.distributed.initialize(coordinator, processes, process, heartbeat_timeout_seconds=_SILENCE)
    if jax.process_count() > 1:  # now, because jax may end this process without asking
        print(
            f"process {jax.process_index()} of {jax.process_count()}. When one dies, the others end"
            f" within about {_SILENCE} s; the same command in all of them goes on from the last "
            "checkpoint",
            file=sys.stderr,
            flush=True,
        )


def check_same(recipe: Any) -> None:
    """Proves that all processes were started with one recipe, a dataclass.

    With two, each would compute its part of a step in its own way, and nothing would show it.

    Raises:
      ValueError: they were not; in all of them. The message names the fields.
    """
    if jax.process_count() == 1:
        return
    names = [field.name for field in dataclasses.fields(recipe)]
    sums = [zlib.crc32(repr(getattr(recipe, name)).encode()) for name in names]
    of_all = multihost_utils.process_allgather(np.array(sums, np.uint32))  # [processes fields]
    differ = [name for name, sums in zip(names, of_all.T, strict=True) if (sums != sums[0]).any()]
    if differ:
        raise ValueError(
            f"the processes were started with different {', '.join(differ)}: give all of them the"
            " same words"
        )


def in_a_group() -> bool:
    """Whether the environment says that there are others: by hand, of `srun`, or of a TPU slice.

    On a machine with a TPU jax asks the cloud for the others; there may be none.
    """
    return (
        "JAX_COORDINATOR_ADDRESS" in os.environ
        or (_number("SLURM_STEP_NUM_TASKS") or 1) > 1
        or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
        # The first is set by `import jax`, where there is a TPU; the second where nobody answers.
        or ("TPU_ML_PLATFORM" in os.environ and "TPU_SKIP_MDS_QUERY" not in os.environ)
    )


@contextmanager
def ending_together(folder: str) -> Generator[None]:
    """An error inside ends this process at once, so that the others end, too.

    Python's own way would wait for them at the end, and they for this one's part of a step.

    Args:
      folder: of the run.

    Raises:
      Exception: what was raised inside, if this is the only process.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1:
            raise
        sys.stdout.flush()
        print(_explained(error, folder), file=sys.stderr, flush=True)
        os._exit(1)


def _explained(error: Exception, folder: str) -> str:
    who = f"process {jax.process_index()} of {jax.process_count()}"
    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:500]
    if not any(isinstance(cause, jax.errors.JaxRuntimeError) for cause in chain):
        return f"error: {who}: {reason}"
    return (
        f"error: {who} cannot go on, most likely because another one has ended or cannot be "
        f"reached: see what that one said. The same command in all of them goes on from the last "
        f"checkpoint in {folder}. ({reason})"
    )


def _number(name: str) -> int | None:
    return int(os.environ[name]) if name in os.environ else None
