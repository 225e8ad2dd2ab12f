"""The plot of `python -m benchmarks.scaling`: cost on the left, memory on the right."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scaling_table import Line, Point, costs

# Readable on white and on black, as the background is whatever the page has.
_INK = "#738091"
_COLORS = ("#2f86d6", "#d0741c")
_WIDTH, _ROW = 7.5, 2.0  # inches
_AXES = {
    "objects": "objects",
    "frames": "frames of one stream",
    "pictures": "pictures, one after the other",
    "batch": "pictures at once",
    "size": "side of the model's input, pixels",
}
_STYLE: Any = {
    "svg.fonttype": "none",  # letters, not outlines
    "svg.hashsalt": "sam_jax",  # the same numbers make the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def check(path: Path) -> None:
    """Whether `draw` could write that file.

    Raises:
      ValueError: it is no picture, or matplotlib is missing.
    """
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"--plot {path}: name a file that ends in .svg or .png")
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError("--plot needs matplotlib: pip install 'sam_jax[plot]'") from None


def draw(lines: Sequence[Line], path: Path) -> None:
    """A row for each part of which something ran."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    lines = [line for line in lines if line.points[0].seconds]
    parts = [part for part in _AXES if any(line.part == part for line in lines)]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, _ROW * len(parts)), layout="constrained")
        rows = figure.subplots(len(parts), 2, squeeze=False)
        for part, (left, right) in zip(parts, rows, strict=True):
            of_part = [line for line in lines if line.part == part]
            _costs(left, of_part)
            _memory(right, of_part)
            for axes in (left, right):
                _x_axis(axes, of_part[0])
        figure.savefig(
            path,
            transparent=True,
            dpi=150,
            metadata={"Date": None} if path.suffix == ".svg" else None,
        )


def _costs(axes: Any, lines: Sequence[Line]) -> None:
    first = lines[0]
    axes.set_title("time, median = 1" if first.flow else "time, smallest = 1")
    for line, color in zip(lines, _COLORS, strict=False):
        style = "-" if line.flow else "o-"
        axes.plot(_n(line), costs(line), style, color=color, markersize=4, label=line.what)
    if first.flow:
        axes.set_ylim(0, 1.5 * max(cost or 0 for cost in costs(first)))
    else:
        work = [(n / _n(first)[0]) ** first.power for n in _n(first)]
        label = "as the pixels" if first.power == 2 else "linear"
        axes.plot(_n(first), work, "--", color=_INK, linewidth=1, label=label)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(loc="lower right" if first.flow else "upper left")


def _memory(axes: Any, lines: Sequence[Line]) -> None:
    axes.set_title("memory, MB")
    peak = "resident" if lines[0].flow else "process, peak"
    for line, color in zip(lines, _COLORS, strict=False):
        name = f"{line.what}: " if len(lines) > 1 else ""
        style = "-" if line.flow else "o-"
        memory = [point.memory_mb for point in line.points]
        axes.plot(_n(line), memory, style, color=color, markersize=4, label=f"{name}{peak}")
        if (program := [_program(point) for point in line.points])[0] is not None:
            label = f"{name}program"
            axes.plot(_n(line), program, "o:", color=color, markersize=3, label=label)
    top = max(point.memory_mb or 0 for line in lines for point in line.points)
    if lines[0].flow:
        axes.set_ylim(0, 1.5 * top)
    else:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.set_ylim(None, 10 ** (1 + 0.5 * len(axes.lines)) * top)  # with room for the legend
    axes.legend(loc="lower right" if lines[0].flow else "upper left")


def _x_axis(axes: Any, line: Line) -> None:
    axes.set_xlabel(_AXES[line.part])
    axes.grid(True)
    if line.flow:
        axes.set_xlim(0, None)
        return
    axes.set_xscale("log", base=2)
    axes.set_xticks(_n(line), [str(n) for n in _n(line)])
    axes.minorticks_off()


def _n(line: Line) -> list[int]:
    return [point.n for point in line.points]


def _program(point: Point) -> float | None:
    parts = (point.arguments_mb, point.temporaries_mb, point.output_mb)
    return None if None in parts else sum(part or 0 for part in parts)
