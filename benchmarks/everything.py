"""The automatic mask generator beside the official one: the table of docs/performance.md.

    python -m benchmarks.everything                             # half an hour
    python -m benchmarks.everything --sides 16 --rounds 1       # four times the speed

Both sides are separate processes with the same weights, photo, cores and allocator, and take turns
of one photo. How long a photo takes depends on how many masks pass the filters, so there are two
rows for each grid: with the official limits, which no mask of random weights passes, what is timed
is the model; with none, every mask is measured and goes into the suppression of duplicates. Real
weights lie between. The ratio is ours by peer in images/s: above 1 sam_jax is faster.
"""

import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.worker import Worker, allocator

_ROOT = Path(__file__).resolve().parent.parent
_LIMITS = {
    "official": {},
    "none": {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
}


@dataclass(frozen=True)
class Options:
    """Time the automatic mask generators, ours and the official one."""

    photo: Path = _ROOT / "docs" / "media" / "coffee.jpg"
    model: str = "sam2.1-hiera-tiny"
    sides: tuple[int, ...] = (32,)
    """Points per side of the grid."""
    limits: tuple[str, ...] = tuple(_LIMITS)
    """Which rows: official, none."""
    dtypes: tuple[str, ...] = ("float32",)
    rounds: int = 2
    """Turns of each side."""
    threads: int = 2
    peer: str = str(_ROOT / ".oracle" / "venv" / "bin" / "python")
    """Python that has the official code (`make oracle`)."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table as Markdown."""


@dataclass(frozen=True)
class Row:
    grid: str
    limits: str
    dtype: str
    ours: list[float]  # seconds of each photo
    peer: list[float]
    ours_mb: float  # peak resident memory of the whole process
    peer_mb: float

    def cells(self) -> list[str]:
        ours, peer = statistics.median(self.ours), statistics.median(self.peer)

        def rate(seconds: list[float]) -> str:
            median = 1 / statistics.median(seconds)
            return f"{median:.3f} ({1 / max(seconds):.3f}-{1 / min(seconds):.3f})"

        return [
            self.grid,
            self.limits,
            self.dtype,
            rate(self.ours),
            rate(self.peer),
            f"{peer / ours:.2f}",
            f"{self.ours_mb:.0f}",
            f"{self.peer_mb:.0f}",
        ]


_HEADER = [
    "points", "limits", "dtype", "ours images/s (min-max)", "peer images/s (min-max)",
    "ours / peer", "ours peak MB", "peer peak MB",
]  # fmt: skip


def measure(side: int, limits: str, dtype: str, checkpoint: Path, options: Options) -> Row:
    """One row: both sides prepare, then take turns."""
    workers = [
        Worker(sys.executable, "benchmarks.ours", options.threads),
        Worker(options.peer, "benchmarks.peer", options.threads),
    ]
    case = {
        "part": "everything",
        "model": options.model,
        "checkpoint": str(checkpoint),
        "dtype": dtype,
        "photo": str(options.photo.resolve()),
        "arguments": {"points_per_side": side, **_LIMITS[limits]},
    }
    for worker in workers:
        worker.ask({"do": "prepare", "case": case})
    answers = [[worker.ask({"do": "run"}) for worker in workers] for _ in range(options.rounds)]
    for worker in workers:
        worker.close()
    ours, peer = zip(*answers, strict=True)
    return Row(
        f"{side} x {side}",
        limits,
        dtype,
        [a["seconds"] for a in ours],
        [a["seconds"] for a in peer],
        ours[-1]["peak_mb"],
        peer[-1]["peak_mb"],
    )


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.everything", description=__doc__)
    if unknown := set(options.limits) - set(_LIMITS):
        raise SystemExit(f"unknown limits {sorted(unknown)}; known: {', '.join(_LIMITS)}")
    if not Path(options.peer).exists():
        raise SystemExit(f"no Python at {options.peer}: run `make oracle`, or give --peer")
    console = Console()
    rows = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        checkpoint = Path(folder) / f"{options.model}.pt"
        command = [options.peer, "-m", "benchmarks.peer", "--write", options.model, checkpoint]
        subprocess.run(command, check=True, cwd=_ROOT)
        cases = [
            (side, limits, dtype)
            for side in options.sides
            for limits in options.limits
            for dtype in options.dtypes
        ]
        for case in progress.track(cases, description="measuring"):
            rows.append(measure(*case, checkpoint, options))
    import jax

    note = (
        f"{options.model}, {options.photo.name}, Python {sys.version.split()[0]}, "
        f"jax {jax.__version__}, {options.threads} threads, "
        f"{'tcmalloc' if allocator() else 'default malloc'} on both sides, median of "
        f"{options.rounds} interleaved rounds."
    )
    table = Table(*_HEADER, caption=note)
    for row in rows:
        table.add_row(*row.cells())
    Console(width=max(console.width, 160)).print(table)  # narrower, it is cut off
    if options.markdown:
        lines = [_HEADER, ["---"] * len(_HEADER), *(row.cells() for row in rows)]
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        options.markdown.write_text(f"{note}\n\n{text}\n")


if __name__ == "__main__":
    main()
