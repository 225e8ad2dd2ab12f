"""sam_jax beside the official PyTorch code, part by part: the tables of docs/performance.md.

    python -m benchmarks                                # everything: hours
    python -m benchmarks --part encoder decoder-1       # what begins so
    python -m benchmarks --part video-1 --video clip.mp4 --dtype float32 --turns 20

Both sides are separate processes with the same weights, inputs, cores and allocator. Each may
have a Python of its own, and they take turns of at least 0.3 s, so that a slow minute of the
machine hits both. Ours are compiled programs; the peer is eager, and its bfloat16 is autocast. The
ratio is peer by ours in time: above 1 sam_jax is faster. Compilation is not in the turns, but for
start-cold.

On an accelerator it measures sam_jax there instead, with random weights and in bfloat16: frames/s
of every size and number of objects, pictures/s by batch, and everything in a picture.

More about training: python -m benchmarks.train. How cost grows: python -m benchmarks.scaling. TPU
programs, without a TPU: python -m benchmarks.tpu.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.parts import PARTS, ROOT, Part, chosen
from benchmarks.table import HEADER, Row, conditions, show
from benchmarks.worker import Worker, environment


@dataclass(frozen=True)
class Options:
    """Time sam_jax beside the official PyTorch code."""

    part: tuple[str, ...] = ()
    """Which rows, by name or by what the name begins with. Default: all."""
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
    """Python that has the official code (`make oracle`)."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table as Markdown."""


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks", description=__doc__)
    try:
        names = chosen(options.part)
        _check(options)
    except ValueError as error:
        raise SystemExit(f"benchmarks: {error}") from None
    import jax

    if jax.default_backend() != "cpu":
        from benchmarks import accelerator

        header, rows = accelerator.HEADER, accelerator.rows(options.video, options.photo)
        show(header, rows, conditions(options.threads), options.markdown)
        return
    if not Path(options.peer).exists():
        raise SystemExit(f"no Python at {options.peer}: run `make oracle`, or give --peer")
    rows = []
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=Console()) as progress:
        checkpoints: dict[str, Path] = {}
        for name in names:
            model = PARTS[name].model
            if model not in checkpoints:
                checkpoints[model] = Path(folder) / f"{model}.pt"
                write = [options.peer, "-m", "benchmarks.peer", "--write", model]
                subprocess.run([*write, checkpoints[model]], check=True, cwd=ROOT)
            for dtype in (d for d in options.dtype if d in PARTS[name].dtypes):
                row = measure(name, dtype, checkpoints[model], options, progress)
                rows.append(row.cells())
                progress.console.print(" | ".join(rows[-1]), soft_wrap=True)
    show(HEADER, rows, f"{conditions(options.threads)}; medians.", options.markdown)


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


def measure(name: str, dtype: str, checkpoint: Path, options: Options, progress: Progress) -> Row:
    """One row: both sides prepare, then take turns."""
    part = PARTS[name]
    turns = options.turns or part.turns
    bar = progress.add_task(f"{name} {dtype}", total=part.untimed + turns)
    if part.start:
        row = _measure_start(name, part, dtype, checkpoint, turns, options)
        progress.update(bar, completed=part.untimed + turns)
        return row
    case = part.case | {
        "model": part.model,
        "checkpoint": str(checkpoint),
        "dtype": dtype,
        "photo": str(options.photo.resolve()),
        "video": str(options.video.resolve()),
        "frames": part.untimed + turns + 2,
    }
    pythons = (sys.executable, options.peer)
    workers = [
        Worker(python, module, options.threads)
        for python, module in zip(pythons, part.workers, strict=True)
    ]
    prepared = [worker.ask({"do": "prepare", "case": case}) for worker in workers]
    answers = []
    for _ in range(part.untimed + turns):
        answers.append([worker.ask({"do": "run"}) for worker in workers])
        progress.advance(bar)
    for worker in workers:
        worker.close()
    ours, peer = (
        [a["seconds"] for a in side[part.untimed :]] for side in zip(*answers, strict=True)
    )
    peaks = [answer["peak_mb"] for answer in answers[-1]]
    return Row(name, dtype, ours, peer, prepared[0]["seconds"], *peaks)


def _measure_start(
    name: str, part: Part, dtype: str, checkpoint: Path, turns: int, options: Options
) -> Row:
    """Fresh processes, ours with an empty or a filled compilation cache."""

    def seconds(python: str, side: str, cache: str) -> float:
        started = time.perf_counter()
        arguments = [side, part.model, checkpoint, options.photo.resolve(), dtype, cache]
        subprocess.run(
            [python, "-m", "benchmarks.first_mask", *arguments],
            check=True,
            capture_output=True,
            env=environment(options.threads),
            cwd=ROOT,
        )
        return time.perf_counter() - started

    ours, peer = [], []
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as cache:
            if part.case["cache"]:
                seconds(sys.executable, "ours", cache)
            ours.append(seconds(sys.executable, "ours", cache))
            peer.append(seconds(options.peer, "peer", cache))
    return Row(name, dtype, ours, peer)


if __name__ == "__main__":
    main()
