"""How cost grows: with objects, length, pictures and input size. A table and a plot of
docs/performance.md.

    python -m benchmarks.scaling                                  # half an hour on two cores
    python -m benchmarks.scaling --what objects --objects 1 4 16 --model sam2.1-hiera-tiny
    python -m benchmarks.scaling --what frames --results measured.json --plot scaling.svg

It measures sam_jax alone, with random weights. Of each part, every size is a process of its own,
and they take turns, so that a slow minute of the machine hits all. Costs are multiples of the
smallest size's, and "cost each" is that by the amount of work: 1.00 is linear, of input sizes by
pixels. Peaks are those of processes, compilation included; the program's bytes are the compiler's.

"frames" and "pictures" are one long run each, of things that come one after the other: how much
time and memory change from the first of 20 stretches to the last. What is compiled, and frames on
which the memory is not full yet, come before these. "frames" also compiles `video.track` for clips
of several lengths.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import scaling_plot
from benchmarks.parts import ROOT
from benchmarks.scaling_table import (
    FLOWS_HEADER,
    SIZES_HEADER,
    Line,
    Point,
    flow_row,
    read,
    size_rows,
    write,
)
from benchmarks.table import as_markdown, conditions, show
from benchmarks.worker import Case, Worker
from sam_jax.files import check_writable
from sam_jax.presets import preset
from sam_jax.video import require_memory

What = Literal["objects", "frames", "pictures", "batch", "size"]
_STRETCHES = 20
_CLIPS = (16, 128, 1024)  # frames of clips that are compiled as one program


@dataclass(frozen=True)
class Options:
    """Measure how cost grows with objects, length, pictures and input size."""

    what: tuple[What, ...] = get_args(What)
    """Nothing after it: only the table and the plot of --results."""
    model: str = "sam2.1-hiera-nano"
    dtype: str = "float32"
    objects: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    frames: int = 5000
    """Of one video."""
    pictures: int = 1000
    """One after the other."""
    batch: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Pictures at once."""
    size: tuple[int, ...] = (256, 512, 768, 1024)
    """Side of the model's input."""
    turns: int = 7
    """Of each size."""
    threads: int = 2
    results: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """JSON: what was measured is kept there, and stands beside what was there before."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A picture, .svg or .png."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the tables as Markdown."""


@dataclass(frozen=True)
class Plan:
    """A line to be measured: the worker's case for each n.

    Attributes:
      flow: there is one case, whose turns are the points.
      ran: false for programs that are compiled only.
      line: without points.
    """

    cases: dict[int, Case]
    line: Line
    ran: bool = True


def plans(options: Options) -> Iterator[Plan]:
    """What is to be measured, in the order of the table."""

    def plan(part: What, what: str, cases: dict[int, Case], ran: bool = True, **how: Any) -> Plan:
        model, dtype, weather = options.model, options.dtype, conditions(options.threads)
        line = Line(part, what, model, dtype, weather, points=[], **how)
        common = {"model": model, "dtype": dtype}
        return Plan({n: case | common for n, case in cases.items()}, line, ran)

    for part in options.what:
        if part == "objects":
            cases = {n: {"run": "step", "objects": n} for n in options.objects}
            yield plan(part, "video.step", cases)
        elif part == "frames":
            video = {"run": "stream", "video": str(ROOT / "docs" / "media" / "clip.mp4")}
            items = options.frames // _STRETCHES
            yield plan(part, "Stream", {1: video | {"items": items}}, flow=True)
            clips = {t: {"run": "track", "frames": t} for t in _CLIPS}
            yield plan(part, "video.track", clips, ran=False)
        elif part == "pictures":
            items = options.pictures // _STRETCHES
            yield plan(part, "ImagePredictor", {1: {"run": "pictures", "items": items}}, flow=True)
        elif part == "batch":
            for run, what in (("encode", "encode_image"), ("batch", "predict_batch")):
                yield plan(part, what, {n: {"run": run, "pictures": n} for n in options.batch})
        else:
            for what, case in {
                "encode_image": {"run": "encode", "pictures": 1},
                "video.step": {"run": "step", "objects": 1},
            }.items():
                yield plan(part, what, {n: case | {"size": n} for n in options.size}, power=2)


def measure(plan: Plan, options: Options, progress: Progress) -> Line:
    """All sizes prepare, one after the other, then take turns."""
    turns = _STRETCHES if plan.line.flow else options.turns if plan.ran else 0
    title = f"{plan.line.part}: {plan.line.what}"
    bar = progress.add_task(title, total=(turns + 1) * len(plan.cases))
    workers: dict[int, Worker] = {}
    answers: dict[int, list[Case]] = {}
    for n, case in plan.cases.items():
        workers[n] = Worker(sys.executable, "benchmarks.scaling_ours", options.threads)
        answers[n] = [workers[n].ask({"do": "prepare", "case": case})]
        progress.advance(bar)
    for _ in range(turns):
        for n, worker in workers.items():
            answers[n].append(worker.ask({"do": "run"}))
            progress.advance(bar)
    for worker in workers.values():
        worker.close()
    if plan.line.flow:
        ((case, turns_of),) = zip(plan.cases.values(), answers.values(), strict=True)
        return replace(plan.line, points=stretches(turns_of, case["items"]))
    points = [size_point(n, turns_of, plan.ran) for n, turns_of in answers.items()]
    return replace(plan.line, points=points)


def size_point(n: int, answers: list[Case], ran: bool) -> Point:
    """Of what a worker answered to "prepare", and then to each turn."""
    prepared, *turns = answers
    return Point(
        n,
        [turn["seconds"] for turn in turns],
        [turn["cpu_seconds"] for turn in turns],
        answers[-1]["peak_mb"] if ran else None,
        *(prepared.get(name) for name in ("arguments_mb", "temporaries_mb", "output_mb")),
        programs=answers[-1]["programs"],
    )


def stretches(answers: list[Case], items: int) -> list[Point]:
    """Of a flow. "prepare" ends with a turn, which warms up."""
    return [
        Point(
            i * items,
            turn["each"],
            [turn["cpu_seconds"] / items],
            turn["now_mb"],
            programs=turn["programs"],
        )
        for i, turn in enumerate(answers[1:], 1)
    ]


def check(options: Options) -> None:
    """Raises ValueError for what cannot be measured."""
    if not options.what and not (options.results and options.results.exists()):
        raise ValueError("nothing to measure or to draw: name a part by --what, or --results")
    config = require_memory(preset(options.model))
    for size in options.size:
        replace(config, image_size=size)
    if options.dtype not in ("float32", "bfloat16"):
        raise ValueError(f"--dtype is float32 or bfloat16, got {options.dtype}")
    for name in ("objects", "batch", "size"):
        values = getattr(options, name)
        if not values or min(values) < 1 or list(values) != sorted(set(values)):
            raise ValueError(f"--{name} takes numbers from 1 on, rising, got {values}")
    for name, least in {
        "frames": _STRETCHES,
        "pictures": _STRETCHES,
        "turns": 1,
        "threads": 1,
    }.items():
        if (value := getattr(options, name)) < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    for path in filter(None, (options.results, options.plot, options.markdown)):
        check_writable(path)
    if options.plot:
        scaling_plot.check(options.plot)


def report(lines: list[Line], markdown: Path | None) -> None:
    """Tables on the screen, with milliseconds; and without them into a file."""
    sizes = [line for line in lines if not line.flow]
    flows = [line for line in lines if line.flow]
    note = "; ".join(dict.fromkeys(line.conditions for line in lines))
    text = [note]
    if sizes:
        rows = [row for line in sizes for row in size_rows(line, times=True)]
        show((*SIZES_HEADER, "ms (min-max)"), rows, note, None)
        text.append(as_markdown(SIZES_HEADER, [row[:-1] for row in rows]))
    if flows:
        rows = [flow_row(line, times=True) for line in flows]
        show((*FLOWS_HEADER, "ms: first, last"), rows, note, None)
        text.append(as_markdown(FLOWS_HEADER, [row[:-1] for row in rows]))
    if markdown:
        markdown.write_text("\n\n".join(text) + "\n", "utf-8")


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.scaling", description=__doc__)
    try:
        check(options)
        known = read(options.results) if options.results and options.results.exists() else []
    except ValueError as error:
        raise SystemExit(f"benchmarks.scaling: {error}") from None
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # workers share a GPU
    lines = {(line.part, line.what): line for line in known}
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console()) as progress:
        for plan in plans(options):
            line = measure(plan, options, progress)
            lines[line.part, line.what] = line
            if options.results:
                write(options.results, list(lines.values()))
    found = sorted(lines.values(), key=lambda line: get_args(What).index(line.part))
    report(found, options.markdown)
    if options.plot:
        scaling_plot.draw(found, options.plot)


if __name__ == "__main__":
    main()
