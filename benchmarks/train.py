"""Training beside the official PyTorch code: the table of docs/performance.md.

    python -m benchmarks.train                                  # nano and tiny; half an hour on CPU
    python -m benchmarks.train --models sam2.1-hiera-nano --steps 9

A step is the forward pass with a simulated user, the losses, the backward pass and AdamW. Both
sides are separate processes with the same weights, batch, prompting, cores and allocator, and take
turns of one step. Compilation is not in the steps. As in recipes, ours computes frames again on the
way back and the peer stores them. The ratio is ours by peer in steps/s: above 1 sam_jax is faster.
On a busy machine `--threads 1` and the CPU seconds say more: threads of the peer wait for one
another at every operation. "waiting" is the part of the time that our steps wait for the loader,
which paints clips of the synthetic world on the way.

On an accelerator the same command trains there: the peer too if its torch has CUDA, else only ours.
"""

import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import Progress

from benchmarks.accelerator import backend, has_cuda
from benchmarks.table import conditions, show
from benchmarks.train_case import SHAPES
from benchmarks.worker import Case, Worker
from sam_jax.presets import preset

_ROOT = Path(__file__).resolve().parent.parent
_HEADER = [
    "model", "batch", "dtype", "ours steps/s (min-max)", "peer steps/s (min-max)", "ours / peer",
    "CPU s ours", "CPU s peer", "load + compile s", "ours peak MB", "peer peak MB", "waiting",
]  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Time training steps beside the official PyTorch code."""

    models: tuple[str, ...] = ("sam2.1-hiera-nano", "sam2.1-hiera-tiny")
    batches: tuple[str, ...] = tuple(SHAPES)
    dtype: Literal["float32", "bfloat16"] = "float32"
    steps: int = 5
    """Timed steps."""
    loader_steps: int = 5
    """Steps with the real loader; 0 leaves it out."""
    loader_workers: int = 1
    """Processes that paint."""
    threads: int = 2
    peer: str = str(_ROOT / ".oracle" / "venv" / "bin" / "python")
    """Python that has the official code (`make oracle`)."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table as Markdown."""


@dataclass(frozen=True)
class Side:
    """What was measured of one implementation."""

    prepare: float  # seconds to load and compile
    steps: list[float]  # seconds of each
    cpu: list[float]  # seconds that all cores worked
    peak_mb: float


@dataclass(frozen=True)
class Row:
    model: str
    batch: str
    dtype: str
    ours: Side
    peer: Side | None
    waiting: float | None  # part of the time

    def cells(self) -> list[str]:
        ours, peer = self.ours, self.peer
        return [
            self.model,
            SHAPES[self.batch].text,
            self.dtype,
            _rate(ours.steps),
            _rate(peer.steps) if peer else "",
            f"{statistics.median(peer.steps) / statistics.median(ours.steps):.2f}" if peer else "",
            f"{statistics.median(ours.cpu):.2f}",
            f"{statistics.median(peer.cpu):.2f}" if peer else "",
            f"{ours.prepare:.0f}",
            f"{ours.peak_mb:.0f}",
            f"{peer.peak_mb:.0f}" if peer else "",
            "" if self.waiting is None else f"{self.waiting:.1%}",
        ]


def _rate(seconds: list[float]) -> str:
    median = 1 / statistics.median(seconds)
    return f"{median:.3f} ({1 / max(seconds):.3f}-{1 / min(seconds):.3f})"


def measure(case: Case, options: Options, with_peer: bool, progress: Progress) -> Row:
    sides = [(sys.executable, "benchmarks.train_ours")]
    if with_peer:
        sides.append((options.peer, "benchmarks.train_peer"))
    workers = [Worker(python, module, options.threads) for python, module in sides]
    bar = progress.add_task(f"{case['model']}, {case['batch']}", total=options.steps)
    prepared = [worker.ask({"do": "prepare", "case": case})["seconds"] for worker in workers]
    answers = []
    for _ in range(options.steps):
        answers.append([worker.ask({"do": "run"}) for worker in workers])
        progress.advance(bar)
    for worker in workers:
        worker.close()
    measured = [
        Side(
            seconds,
            [turn["seconds"] for turn in turns],
            [turn["cpu_seconds"] for turn in turns],
            turns[-1]["peak_mb"],
        )
        for seconds, turns in zip(prepared, zip(*answers, strict=True), strict=True)
    ]
    waiting = None
    if options.loader_steps:
        loader = {"loader_steps": options.loader_steps, "loader_workers": options.loader_workers}
        alone = Worker(sys.executable, "benchmarks.train_ours", options.threads)
        waiting = alone.ask({"do": "prepare", "case": case | loader})["waiting"]
        alone.close()
    peer = measured[1] if with_peer else None
    return Row(case["model"], case["batch"], case["dtype"], measured[0], peer, waiting)


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.train", description=__doc__)
    if unknown := set(options.batches) - set(SHAPES):
        raise SystemExit(f"no batch {sorted(unknown)}; there are {', '.join(SHAPES)}")
    if options.steps < 1:
        raise SystemExit(f"--steps must be at least 1, got {options.steps}")
    try:
        for model in options.models:
            preset(model)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if not Path(options.peer).exists():
        raise SystemExit(f"no Python at {options.peer}: run `make oracle`, or give --peer")
    console = Console()
    with_peer = backend() == "cpu" or has_cuda(options.peer)
    rows = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        for model in options.models:
            checkpoint = Path(folder) / f"{model}.pt"
            write = [options.peer, "-m", "benchmarks.peer", "--write", model, checkpoint]
            subprocess.run(write, check=True, cwd=_ROOT)
            for batch in options.batches:
                case = {
                    "model": model,
                    "checkpoint": str(checkpoint),
                    "dtype": options.dtype,
                    "batch": batch,
                    "folder": folder,
                }
                rows.append(measure(case, options, with_peer, progress).cells())
                progress.console.print(" | ".join(rows[-1]), soft_wrap=True)
    note = (
        f"{conditions(options.threads)}, median of {options.steps} steps; the loader has "
        f"{options.loader_workers} process."
    )
    show(_HEADER, rows, note, options.markdown)


if __name__ == "__main__":
    main()
