"""Long-lived worker processes, so that two implementations can take turns under the same weather.

A worker reads one JSON request a line and answers with one JSON line. The parent asks for a case to
be prepared, then for one turn after the other.
"""

import contextlib
import ctypes.util
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Case = dict[str, Any]
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")  # at the beginning of a line
_TURN = 0.3  # seconds; a short call is repeated, or its turn times the caches the other side left


def resident_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(
    prepare: Callable[[Case], Callable[[], object]],
    peak_mb: Callable[[], float] = resident_mb,
    more: Callable[[], Case] = dict,
) -> None:
    """Answer requests until standard input closes.

    Args:
      prepare: builds a case (loading and compiling) and returns what one repetition calls; that
        call must block until its result exists.
      peak_mb: peak memory of the device that is measured.
      more: what else to answer to each request.
    """
    run: Callable[[], object] | None = None
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # official code prints; only answers are read
        for line in sys.stdin:
            request = json.loads(line)
            started, worked = time.perf_counter(), time.process_time()
            if request["do"] == "prepare":
                run = prepare(request["case"])
                count, answer = 1, {"seconds": time.perf_counter() - started}
                run()  # the first call touches its memory for the first time
            else:
                assert run is not None
                count = 0
                while count == 0 or time.perf_counter() - started < _TURN:
                    run()
                    count += 1
                answer = {"seconds": (time.perf_counter() - started) / count}
            answer["cpu_seconds"] = (time.process_time() - worked) / count
            answer |= {"peak_mb": peak_mb()} | more()
            print(json.dumps(answer), file=answers, flush=True)


class Stopped(RuntimeError):
    """A worker has ended before its time.

    Attributes:
      last: the last error that it wrote, or else its last line.
    """

    def __init__(self, command: object, status: int, last: str) -> None:
        super().__init__(f"{command} stopped (status {status}): {last}")
        self.last = last


class Worker:
    """The parent's end of a worker process."""

    def __init__(self, python: str, module: str, threads: int) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process; a pipe would fill
        self._process = subprocess.Popen(
            [python, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=environment(threads),
        )

    def ask(self, request: Case) -> Case:
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # then there is no answer
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._said.seek(0)
            said = self._said.read().strip().splitlines() or ["it said nothing"]
            last = next(filter(_ERROR.match, reversed(said)), said[-1])
            raise Stopped(self._process.args, status, last)
        return json.loads(line)

    def close(self) -> None:
        # Its pipes are closed, at which it ends, and waited for; one may have ended before.
        with self._said, contextlib.suppress(BrokenPipeError), self._process:
            pass


def boxes(count: int, height: int, width: int) -> list[list[float]]:
    """Objects to track: boxes spread over the frame, XYXY in pixels."""
    return [
        [width * x, height * y, width * (x + 0.3), height * (y + 0.4)]
        for x, y in (
            (0.7 * (0.31 + 0.618 * i) % 0.7, 0.6 * (0.2 + 0.414 * i) % 0.6) for i in range(count)
        )
    ]


def memory_inputs(cells: int, dim: int, memory_dim: int) -> tuple[np.ndarray, ...]:
    """A frame [cells dim], a full memory of 7 maps [7*cells memory_dim], and 16 pointers, each cut
    into tokens of the memory's width."""
    random = np.random.default_rng(0)
    counts = (cells, dim), (7 * cells, memory_dim), (16 * dim // memory_dim, memory_dim)
    return tuple(random.random(shape, np.float32) for shape in counts)


def allocator() -> str | None:
    """tcmalloc, if the machine has it. Both sides get it: glibc hands big blocks back to the kernel
    after every operation, which costs the peer more than a factor of two in places."""
    return ctypes.util.find_library("tcmalloc_minimal")


def environment(threads: int) -> Mapping[str, str]:
    """The same conditions for both sides, for each at its best: the same cores, torch's threads
    bound to them, XLA's vectors as wide as the machine's, tcmalloc."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    extra = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_PROC_BIND": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # a GPU is shared with the peer
        "XLA_FLAGS": f"--xla_cpu_prefer_vector_width=512 {os.environ.get('XLA_FLAGS', '')}",
    }
    if library := allocator():
        extra["LD_PRELOAD"] = library
    return {**os.environ, **extra}
