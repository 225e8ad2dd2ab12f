"""Image encoder and decoder beside the official PyTorch code: the table of docs/performance.md.

    python -m benchmarks.image                       # everything, about ten minutes
    python -m benchmarks.image --parts decoder-1 --dtypes float32 --rounds 20
    python -m benchmarks.image --model sam-vit-base  # encoder, decoder-1 and decoder-64 of another

Both sides are separate processes with the same weights, inputs, cores and allocator, and take
turns of at least 0.3 s, so that a slow minute of the machine hits both. The ratio is peer by
ours: above 1 sam_jax is faster.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.worker import Case, Worker, allocator, environment

_ROOT = Path(__file__).resolve().parent.parent
_PARTS: dict[str, Case] = {
    "encoder-tiny": {"model": "sam2.1-hiera-tiny", "part": "encoder"},
    "encoder-base-plus": {"model": "sam2.1-hiera-base-plus", "part": "encoder"},
    "decoder-1": {"model": "sam2.1-hiera-tiny", "part": "decoder", "prompts": 1},
    "decoder-64": {"model": "sam2.1-hiera-tiny", "part": "decoder", "prompts": 64},
}
_START = "start-to-mask"


def parts_of(model: str) -> dict[str, Case]:
    """The parts of one model."""
    return {
        "encoder": {"model": model, "part": "encoder"},
        "decoder-1": {"model": model, "part": "decoder", "prompts": 1},
        "decoder-64": {"model": model, "part": "decoder", "prompts": 64},
    }


@dataclass(frozen=True)
class Row:
    part: str
    dtype: str
    ours: list[float]  # seconds
    peer: list[float]
    compile: float | None = None  # seconds, loading included
    ours_mb: float | None = None  # peak resident memory of the whole process
    peer_mb: float | None = None

    @property
    def ratio(self) -> float:
        return statistics.median(self.peer) / statistics.median(self.ours)


@dataclass(frozen=True)
class Options:
    """Time image encoding and decoding beside the official PyTorch code."""

    parts: tuple[str, ...] = ()
    """Which rows: encoder-tiny, encoder-base-plus, decoder-1, decoder-64, start-to-mask; with a
    model encoder, decoder-1, decoder-64. Default: all."""
    model: str | None = None
    """Of this model only, such as sam-vit-base."""
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    rounds: int = 7
    """Turns of each side."""
    threads: int = 2
    peer: str = str(_ROOT / ".oracle" / "venv" / "bin" / "python")
    """Python that has the official code (`make oracle`)."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table as Markdown."""


def measure(part: str, case: Case, dtype: str, checkpoint: Path, options: Options) -> Row:
    """One row: both sides prepare, then take turns."""
    workers = [
        Worker(sys.executable, "benchmarks.ours", options.threads),
        Worker(options.peer, "benchmarks.peer", options.threads),
    ]
    case = {**case, "dtype": dtype, "checkpoint": str(checkpoint)}
    compile_seconds = workers[0].ask({"do": "prepare", "case": case})["seconds"]
    workers[1].ask({"do": "prepare", "case": case})
    answers = [[worker.ask({"do": "run"}) for worker in workers] for _ in range(options.rounds)]
    for worker in workers:
        worker.close()
    ours, peer = zip(*answers, strict=True)
    return Row(
        part,
        dtype,
        [a["seconds"] for a in ours],
        [a["seconds"] for a in peer],
        compile_seconds,
        ours[-1]["peak_mb"],
        peer[-1]["peak_mb"],
    )


def measure_start(dtype: str, checkpoint: Path, options: Options) -> list[Row]:
    """Two rows: fresh processes with an empty and with a filled compilation cache."""
    name, photo = "sam2.1-hiera-tiny", _ROOT / "docs" / "media" / "coffee.jpg"

    def seconds(python: str, side: str, cache: str) -> float:
        started = time.perf_counter()
        subprocess.run(
            [python, "-m", "benchmarks.first_mask", side, name, checkpoint, photo, dtype, cache],
            check=True,
            capture_output=True,
            env=environment(options.threads),
        )
        return time.perf_counter() - started

    cold, warm, peer = [], [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(seconds(sys.executable, "ours", cache))
            peer.append(seconds(options.peer, "peer", cache))
            warm.append(seconds(sys.executable, "ours", cache))
    return [
        Row("start to mask, cold", dtype, cold, peer),
        Row("start to mask, warm", dtype, warm, peer),
    ]


def cells(row: Row) -> list[str]:
    def milliseconds(seconds: list[float]) -> str:
        spread = f" ({1e3 * min(seconds):.0f}-{1e3 * max(seconds):.0f})"
        return f"{1e3 * statistics.median(seconds):.0f}{spread}"

    def optional(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    return [
        row.part,
        row.dtype,
        milliseconds(row.ours),
        milliseconds(row.peer),
        f"{row.ratio:.2f}",
        optional(row.compile, 1),
        optional(row.ours_mb, 0),
        optional(row.peer_mb, 0),
    ]


_HEADER = [
    "part", "dtype", "ours ms (min-max)", "peer ms (min-max)", "peer / ours",
    "load + compile s", "ours peak MB", "peer peak MB",
]  # fmt: skip


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.image", description=__doc__)
    console = Console()
    cases = parts_of(options.model) if options.model else _PARTS
    known = (*cases,) if options.model else (*cases, _START)
    if unknown := set(options.parts) - {*known}:
        raise SystemExit(f"unknown parts {sorted(unknown)}; known: {', '.join(known)}")
    parts = options.parts or known
    if not Path(options.peer).exists():
        raise SystemExit(f"no Python at {options.peer}: run `make oracle`, or give --peer")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        bar = progress.add_task("measuring", total=len(parts) * len(options.dtypes))
        checkpoints: dict[str, Path] = {}
        for part in parts:
            name = cases.get(part, _PARTS["encoder-tiny"])["model"]
            if name not in checkpoints:
                checkpoints[name] = Path(folder) / f"{name}.pt"
                command = [options.peer, "-m", "benchmarks.peer", "--write", name]
                subprocess.run([*command, checkpoints[name]], check=True, cwd=_ROOT)
            for dtype in options.dtypes:
                progress.update(bar, description=f"{part} {dtype}")
                if part == _START:
                    rows += measure_start(dtype, checkpoints[name], options)
                else:
                    rows.append(measure(part, cases[part], dtype, checkpoints[name], options))
                progress.advance(bar)
    import jax

    note = (
        f"Python {sys.version.split()[0]}, jax {jax.__version__}, {options.threads} threads, "
        f"{'tcmalloc' if allocator() else 'default malloc'} on both sides, median of "
        f"{options.rounds} (start: 3) interleaved rounds."
    )
    table = Table(*_HEADER, caption=note)
    for row in rows:
        table.add_row(*cells(row))
    Console(width=max(console.width, 160)).print(table)  # narrower, it is cut off
    if options.markdown:
        lines = [_HEADER, ["---"] * len(_HEADER), *map(cells, rows)]
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        options.markdown.write_text(f"{note}\n\n{text}\n")


if __name__ == "__main__":
    main()
