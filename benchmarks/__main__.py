"""sam_jax beside the official PyTorch code, part by part: the tables of docs/performance.md.

    python -m benchmarks                                # everything: hours
    python -m benchmarks --part encoder decoder-1       # what begins so
    python -m benchmarks --part video-1 --video clip.mp4 --dtype float32 --turns 20

Both sides are separate processes with the same weights, inputs, cores and allocator. Each may
have a Python of its own, and they take turns of at least 0.3 s, so that a slow minute of the
machine hits both. Ours are compiled programs; the peer is eager, and its bfloat16 is autocast. The
ratio is peer by ours in time: above 1 sam_jax is faster. Compilation is not in the turns, but for
start-cold.

On an accelerator the parts are others, in bfloat16: frames of the whole clip by size and number of
objects, several clips at once, pictures by batch, everything in a picture. Ours takes turns with
the official code, eager and compiled, and with transformers, where the peer's torch has CUDA:

    python -m benchmarks --part video-tiny video-large-1 everything

More about training: python -m benchmarks.train. How cost grows: python -m benchmarks.scaling. TPU
programs, without a TPU: python -m benchmarks.tpu.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import accelerator
from benchmarks.parts import PARTS, ROOT, Part, chosen
from benchmarks.table import HEADER, Row, conditions, show
from benchmarks.worker import Case, Worker, environment


@dataclass(frozen=True)
class Options:
    """Time sam_jax beside the official PyTorch code."""

    part: tuple[str, ...] = ()
    """Which rows, by name, or by what names begin with. Default: all."""
    dtype: tuple[str, ...] = ("float32", "bfloat16")
    turns: int | None = None
    """Timed turns of each side. Default: each part's own number."""
    threads: int = 2
    photo: Annotated[Path, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = (
        ROOT / "docs" / "media" / "coffee.jpg"
    )
    """For everything and start. Default: docs/media/coffee.jpg."""
    video: Annotated[Path, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = (
        ROOT / "docs" / "media" / "clip.mp4"
    )
    """Default: docs/media/clip.mp4."""
    peer: str = str(ROOT / ".oracle" / "venv" / "bin" / "python")
    """Python that has the official code (`make oracle`), and transformers."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table as Markdown."""


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks", description=__doc__)
    try:
        _check(options)
        on_cpu = accelerator.backend() == "cpu"
        parts = PARTS if on_cpu else accelerator.PARTS
        names = chosen(options.part, parts)
        rows_of = [(name, d) for name in names for d in options.dtype if d in parts[name].dtypes]
        if not rows_of:
            raise ValueError(f"{', '.join(names)}: not measured in {', '.join(options.dtype)}")
    except ValueError as error:
        raise SystemExit(f"benchmarks: {error}") from None
    peer = options.peer if Path(options.peer).exists() else None
    if on_cpu and peer is None:
        raise SystemExit(
            f"benchmarks: no Python at {options.peer}: run `make oracle`, or give --peer"
        )
    console = Console()
    if not on_cpu and (peer is None or not accelerator.has_cuda(peer)):
        console.print(f"{options.peer} has no torch with CUDA: sam_jax alone")
        peer = None
    rows: list[list[str]] = []
    try:
        for found in _measured(rows_of, parts, peer, options, console, on_cpu=on_cpu):
            rows += found
    finally:  # hours of measuring outlive what stops the rest
        if rows:
            header = HEADER if on_cpu else accelerator.HEADER
            show(header, rows, f"{conditions(options.threads)}; medians.", options.markdown)


def _measured(
    rows_of: list[tuple[str, str]],
    parts: dict[str, Part],
    peer: str | None,
    options: Options,
    console: Console,
    *,
    on_cpu: bool,
) -> Iterator[list[list[str]]]:
    """Rows of each part and dtype.

    Raises:
      SystemExit: the peer's Python cannot make the weights.
    """
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        for name, dtype in rows_of:
            part = parts[name]
            checkpoint = Path(folder) / f"{part.model}.pt"
            if peer and not checkpoint.exists():
                _write(peer, part.model, checkpoint)
            turns = options.turns or part.turns
            case = part.case | {
                "model": part.model,
                "checkpoint": str(checkpoint) if peer else None,
                "dtype": dtype,
                "photo": str(options.photo.resolve()),
                "video": str(options.video.resolve()),
                "frames": part.untimed + turns + 2,
            }
            bar = progress.add_task(f"{name} {dtype}", total=part.untimed + turns)
            advance = partial(progress.advance, bar)
            if on_cpu:
                found = [measure(name, case, turns, options, advance).cells()]
            else:
                found = accelerator.measure(name, case, turns, options.threads, peer, advance)
            for row in found:
                progress.console.print(" | ".join(row), soft_wrap=True, markup=False)
            yield found


def _write(peer: str, model: str, checkpoint: Path) -> None:
    write = [peer, "-m", "benchmarks.peer", "--write", model, checkpoint]
    try:
        subprocess.run(write, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"benchmarks: --peer {peer} made no weights ({error}): give the Python of `make oracle`"
        ) from None


def _check(options: Options) -> None:
    """Raises ValueError for what cannot be measured."""
    if unknown := set(options.dtype) - {"float32", "bfloat16"}:
        raise ValueError(f"--dtype is float32, bfloat16 or both, got {sorted(unknown)}")
    for name in ("turns", "threads"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    for name in ("photo", "video"):
        if not (path := getattr(options, name)).exists():
            raise ValueError(f"--{name} {path}: no such file")


def measure(
    name: str, case: Case, turns: int, options: Options, advance: Callable[[], object]
) -> Row:
    """One row: both sides prepare, then take turns."""
    part = PARTS[name]
    if part.start:
        return _measure_start(name, case, turns, options, advance)
    pythons = (sys.executable, options.peer)
    workers = [
        Worker(python, module, options.threads)
        for python, module in zip(pythons, part.workers, strict=True)
    ]
    prepared = [worker.ask({"do": "prepare", "case": case}) for worker in workers]
    answers = []
    for _ in range(part.untimed + turns):
        answers.append([worker.ask({"do": "run"}) for worker in workers])
        advance()
    for worker in workers:
        worker.close()
    ours, peer = (
        [a["seconds"] for a in side[part.untimed :]] for side in zip(*answers, strict=True)
    )
    peaks = [answer["peak_mb"] for answer in answers[-1]]
    return Row(name, case["dtype"], ours, peer, prepared[0]["seconds"], *peaks)


def _measure_start(
    name: str, case: Case, turns: int, options: Options, advance: Callable[[], object]
) -> Row:
    """Fresh processes, ours with an empty or a filled compilation cache."""

    def seconds(python: str, side: str, cache: str) -> float:
        started = time.perf_counter()
        asked = (case[what] for what in ("model", "checkpoint", "photo", "dtype"))
        subprocess.run(
            [python, "-m", "benchmarks.first_mask", side, *asked, cache],
            check=True,
            capture_output=True,
            env=environment(options.threads),
            cwd=ROOT,
        )
        return time.perf_counter() - started

    ours, peer = [], []
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as cache:
            if case["cache"]:
                seconds(sys.executable, "ours", cache)
            ours.append(seconds(sys.executable, "ours", cache))
            peer.append(seconds(options.peer, "peer", cache))
        advance()
    return Row(name, case["dtype"], ours, peer)


if __name__ == "__main__":
    main()
