"""What was measured, as a table on the screen and as Markdown."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.worker import allocator

HEADER = (
    "part", "dtype", "ours ms (min-max)", "peer ms (min-max)", "peer / ours",
    "load + compile s", "ours peak MB", "peer peak MB",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Attributes:
    ours, peer: seconds of each turn.
    prepare: seconds in which ours was loaded and compiled.
    ours_mb, peer_mb: peak resident memory of the whole process.
    """

    part: str
    dtype: str
    ours: Sequence[float]
    peer: Sequence[float]
    prepare: float | None = None
    ours_mb: float | None = None
    peer_mb: float | None = None

    def cells(self) -> list[str]:
        return [
            self.part,
            self.dtype,
            _milliseconds(self.ours),
            _milliseconds(self.peer),
            f"{statistics.median(self.peer) / statistics.median(self.ours):.2f}",
            _optional(self.prepare, 1),
            _optional(self.ours_mb, 0),
            _optional(self.peer_mb, 0),
        ]


def _milliseconds(seconds: Sequence[float]) -> str:
    spread = f" ({1e3 * min(seconds):.0f}-{1e3 * max(seconds):.0f})" if len(seconds) > 1 else ""
    return f"{1e3 * statistics.median(seconds):.0f}{spread}"


def _optional(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def conditions(threads: int) -> str:
    """What the numbers depend on, beside the machine."""
    import jax

    return (
        f"{jax.devices()[0].device_kind}, Python {sys.version.split()[0]}, jax {jax.__version__}, "
        f"{threads} threads, {'tcmalloc' if allocator() else 'default malloc'}"
    )


def show(
    header: Sequence[str], rows: Sequence[Sequence[str]], note: str, markdown: Path | None
) -> None:
    """On the screen, and into a file if one is named."""
    table = Table(*header, caption=note)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(width=max(Console().width, 160)).print(table)  # narrower, it is cut off
    if markdown:
        markdown.write_text(f"{note}\n\n{as_markdown(header, rows)}\n")


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
