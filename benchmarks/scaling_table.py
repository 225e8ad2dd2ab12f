"""What `python -m benchmarks.scaling` has measured, relative to the smallest of it, as tables."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from scipy.stats import theilslopes

SIZES_HEADER = (
    "part", "what", "model, dtype", "n", "cost (min-max)", "cost each", "CPU time", "peak MB",
    "program MB: arguments", "temporaries", "output",
)  # fmt: skip
FLOWS_HEADER = (
    "part", "what", "model, dtype", "length", "from first to last, % (95 %): time", "CPU time",
    "memory", "resident MB: first", "last", "compiled on the way",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """Attributes:
    n: of what the line counts; of a flow, how many items have gone by.
    seconds: of each turn; of a flow, of each item since the point before. None where nothing ran.
    cpu: seconds that all cores worked, likewise; of a flow, on an item, on average.
    memory_mb: peak of the process; of a flow, resident after the last item.
    arguments_mb, temporaries_mb, output_mb: of the program, where it is one; else None.
    programs: compiled by the process so far.
    """

    n: int
    seconds: list[float]
    cpu: list[float]
    memory_mb: float | None
    arguments_mb: float | None = None
    temporaries_mb: float | None = None
    output_mb: float | None = None
    programs: int = 0


@dataclass(frozen=True)
class Line:
    """Attributes:
    part: of the command.
    what: is done.
    points: from the smallest on.
    flow: points are stretches of one long run, of items one after the other.
    power: work grows with n to this power.
    """

    part: str
    what: str
    model: str
    dtype: str
    conditions: str
    points: list[Point]
    flow: bool = False
    power: int = 1


class Slope(NamedTuple):
    """From the first to the last value, % of the median; with the ends of the 95 % interval."""

    change: float
    low: float
    high: float


def slope(values: Sequence[float]) -> Slope:
    """Of the line with the median of all slopes between two values (Theil and Sen)."""
    found = theilslopes(values)
    scale = 100 * (len(values) - 1) / statistics.median(values)
    return Slope(*(scale * s for s in (found.slope, found.low_slope, found.high_slope)))


class Relative(NamedTuple):
    median: float
    low: float
    high: float


def relative(seconds: Sequence[float], base: Sequence[float]) -> Relative:
    """Of turns taken beside each other: a slow minute of the machine was slow for both."""
    ratios = [mine / other for mine, other in zip(seconds, base, strict=True)]
    return Relative(statistics.median(ratios), min(ratios), max(ratios))


def costs(line: Line) -> list[float | None]:
    """Of each point, as a multiple of the first, or of a flow's median; None where nothing ran."""
    base = line.points[0]
    if not base.seconds:
        return [None] * len(line.points)
    if line.flow:
        medians = [statistics.median(point.seconds) for point in line.points]
        return [median / statistics.median(medians) for median in medians]
    return [relative(point.seconds, base.seconds).median for point in line.points]


def size_rows(line: Line, *, times: bool) -> list[list[str]]:
    """A row for each point of a line that is no flow.

    Args:
      times: with milliseconds, as a last cell.
    """
    rows, base = [], line.points[0]
    for point in line.points:
        cells = [line.part, line.what, f"{line.model}, {line.dtype}", str(point.n)]
        if point.seconds:
            cost = relative(point.seconds, base.seconds)
            each = cost.median / (point.n / base.n) ** line.power
            spread = f" ({cost.low:.2f}-{cost.high:.2f})" if point is not base else ""
            cpu = relative(point.cpu, base.cpu).median
            cells += [f"{cost.median:.2f}{spread}", f"{each:.2f}", f"{cpu:.2f}"]
        else:
            cells += [""] * 3
        program = (point.arguments_mb, point.temporaries_mb, point.output_mb)
        cells += [_mb(point.memory_mb, 0), *(_mb(value, 1) for value in program)]
        if times:
            low, high = (1e3 * end(point.seconds, default=0) for end in (min, max))
            median = 1e3 * statistics.median(point.seconds or [0])
            cells.append(f"{median:.1f} ({low:.1f}-{high:.1f})" if point.seconds else "")
        rows.append(cells)
    return rows


def flow_row(line: Line, *, times: bool) -> list[str]:
    """One row for a flow.

    Args:
      times: with milliseconds of the first and the last stretch, as a last cell.
    """
    first, last = line.points[0], line.points[-1]
    medians = [statistics.median(point.seconds) for point in line.points]
    cpu = [point.cpu[0] for point in line.points]
    memory = [point.memory_mb or 0 for point in line.points]
    cells = [
        line.part,
        line.what,
        f"{line.model}, {line.dtype}",
        f"{last.n:,}",
        *(_change(slope(values)) for values in (medians, cpu, memory)),
        *(_mb(value, 0) for value in (memory[0], memory[-1])),
        str(last.programs - first.programs),
    ]
    return [*cells, f"{1e3 * medians[0]:.1f}, {1e3 * medians[-1]:.1f}"] if times else cells


def _change(found: Slope) -> str:
    return f"{found.change:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def _mb(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def write(path: Path, lines: Sequence[Line]) -> None:
    path.write_text(json.dumps([asdict(line) for line in lines]) + "\n", "utf-8")


def read(path: Path) -> list[Line]:
    """What `write` has written.

    Raises:
      ValueError: it holds something else.
    """
    try:
        lines = [Line(**line) for line in json.loads(path.read_text("utf-8"))]
        return [replace(x, points=[Point(**point) for point in x.points]) for x in lines]  # ty: ignore
    except (ValueError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} holds no results of this command: {error}") from error
