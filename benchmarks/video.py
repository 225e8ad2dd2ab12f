"""Tracking beside the official PyTorch code: the table of docs/performance.md.

    python -m benchmarks.video clip.mp4                    # tiny; 1, 3 and 16 objects; an hour
    python -m benchmarks.video clip.mp4 --objects 1 --dtypes float32 --frames 20

Both sides are separate processes with the same weights, frames, cores and allocator, and take
turns of one frame. Objects are boxes on frame 0; the frames before the memory is full are not
timed. The ratio is ours by peer in frames/s: above 1 sam_jax is faster.

On an accelerator it prints frames/s of every released size instead, with random weights, in
bfloat16, one object, over the whole clip: the protocol of the official README, without a peer.
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

from benchmarks.worker import Worker, allocator

_ROOT = Path(__file__).resolve().parent.parent
_FILL = 7  # frames until all memory slots are in use
_SIZES = ("tiny", "small", "base-plus", "large")


@dataclass(frozen=True)
class Options:
    """Time tracking beside the official PyTorch code."""

    video: tyro.conf.Positional[Path]
    """A clip; docs/performance.md used the official notebooks' bedroom.mp4."""
    model: str = "sam2.1-hiera-tiny"
    objects: tuple[int, ...] = (1, 3, 16)
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    frames: int = 8
    """Timed frames."""
    threads: int = 2
    peer: str = str(_ROOT / ".oracle" / "venv" / "bin" / "python")
    """Python that has the official code (`make oracle`)."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table as Markdown."""


@dataclass(frozen=True)
class Row:
    objects: int
    dtype: str
    ours: list[float]  # seconds of each frame
    peer: list[float]
    ours_mb: float  # peak resident memory of the whole process
    peer_mb: float

    def cells(self) -> list[str]:
        ours, peer = statistics.median(self.ours), statistics.median(self.peer)

        def rate(seconds: list[float]) -> str:
            median = 1 / statistics.median(seconds)
            return f"{median:.3f} ({1 / max(seconds):.3f}-{1 / min(seconds):.3f})"

        return [
            str(self.objects),
            self.dtype,
            rate(self.ours),
            rate(self.peer),
            f"{peer / ours:.2f}",
            f"{self.ours_mb:.0f}",
            f"{self.peer_mb:.0f}",
        ]


_HEADER = [
    "objects", "dtype", "ours frames/s (min-max)", "peer frames/s (min-max)", "ours / peer",
    "ours peak MB", "peer peak MB",
]  # fmt: skip


def measure(objects: int, dtype: str, checkpoint: Path, options: Options, step: Progress) -> Row:
    case = {
        "part": "video",
        "model": options.model,
        "checkpoint": str(checkpoint),
        "dtype": dtype,
        "video": str(options.video.resolve()),
        "objects": objects,
        "frames": _FILL + options.frames + 2,
    }
    workers = [
        Worker(sys.executable, "benchmarks.ours", options.threads),
        Worker(options.peer, "benchmarks.peer", options.threads),
    ]
    bar = step.add_task(f"{objects} objects, {dtype}", total=_FILL + options.frames)
    for worker in workers:
        worker.ask({"do": "prepare", "case": case})
    answers = []
    for _ in range(_FILL + options.frames):
        answers.append([worker.ask({"do": "run"}) for worker in workers])
        step.advance(bar)
    for worker in workers:
        worker.close()
    ours, peer = zip(*answers, strict=True)
    return Row(
        objects,
        dtype,
        [a["seconds"] for a in ours[_FILL:]],
        [a["seconds"] for a in peer[_FILL:]],
        ours[-1]["peak_mb"],
        peer[-1]["peak_mb"],
    )


def accelerator_rates(options: Options) -> list[list[str]]:
    """Frames/s of each size, one object, whole clip after two passes to warm up."""
    import jax
    import jax.numpy as jnp

    from benchmarks.ours import random_model, tracked
    from sam_jax.io.videos import open_video

    rows = []
    with open_video(options.video) as video:
        side = 1024
        squares = [square for _, square in video.model_inputs(side)]
        size = (video.height, video.width)
    for name in _SIZES:
        model = random_model(f"sam2.1-hiera-{name}", jnp.bfloat16)
        times = []
        for _ in range(3):
            started = time.perf_counter()
            for result in tracked(model, squares, size):
                last = result
            assert last.iou > -1  # waits for the last frame
            times.append(time.perf_counter() - started)
        rows.append([f"sam2.1-hiera-{name}", f"{len(squares) / times[-1]:.1f}"])
    print(f"{jax.devices()[0].device_kind}, {len(squares)} frames, bfloat16, one object")
    return rows


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.video", description=__doc__)
    console = Console()
    if not options.video.exists():
        raise SystemExit(f"no video {options.video}")
    import jax

    if jax.default_backend() != "cpu":
        header, rows = ["model", "frames/s"], accelerator_rates(options)
        note = f"jax {jax.__version__}"
    else:
        if not Path(options.peer).exists():
            raise SystemExit(f"no Python at {options.peer}: run `make oracle`, or give --peer")
        header, rows = _HEADER, []
        with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
            checkpoint = Path(folder) / "model.pt"
            write = [options.peer, "-m", "benchmarks.peer", "--write", options.model, checkpoint]
            subprocess.run(write, check=True, cwd=_ROOT)
            for dtype in options.dtypes:
                for objects in options.objects:
                    rows.append(measure(objects, dtype, checkpoint, options, progress).cells())
        note = (
            f"{options.model}, {options.video.name}, Python {sys.version.split()[0]}, jax "
            f"{jax.__version__}, {options.threads} threads, "
            f"{'tcmalloc' if allocator() else 'default malloc'} on both sides, median of "
            f"{options.frames} frames."
        )
    table = Table(*header, caption=note)
    for row in rows:
        table.add_row(*row)
    Console(width=max(console.width, 140)).print(table)
    if options.markdown:
        lines = [header, ["---"] * len(header), *rows]
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        options.markdown.write_text(f"{note}\n\n{text}\n")


if __name__ == "__main__":
    main()
