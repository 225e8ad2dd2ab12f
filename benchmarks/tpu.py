"""Programs for TPUs, compiled by the real TPU compiler on a machine without one: the TPU table of
docs/performance.md.

    make tpu                                # installs the compiler into .tpu, and tests with it
    export PYTHONPATH=.tpu
    python -m benchmarks.tpu --topology v5e:1x1 --what track --objects 1 8 64
    python -m benchmarks.tpu --topology v6e:2x2 --what train        # the largest batch that fits

What is compiled is what the library and the trainer run, for real sizes; no array exists and no
weights are needed. Large programs take the compiler many minutes and several GB.

Nothing here was measured on a TPU. Bytes are the compiler's. Seconds are its expectation of every
fusion in cycles, by the clock, or the traffic with the main memory at the published bandwidth where
that takes longer; loops as often as they turn (see benchmarks/schedule.py). Exchange between chips
is listed beside it, at the published bandwidth, not added: much of it runs beside the computation.
Utilisation is FLOPs (of matrix products and convolutions, what is computed again included) over
these seconds and the published peak.
"""

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro
from jax.sharding import Mesh
from rich.console import Console

from benchmarks.chips import CHIPS, Chip
from benchmarks.flops import flops
from benchmarks.schedule import Cost, program_cost
from benchmarks.tpu_programs import Program, encode, find_everything, track, train
from sam_jax.sharding import make_mesh

_GB = 2**30
_LISTED = 12  # operations and exchanges, the longest
_HEADER = [
    "chips", "model", "program", "compile CPU s", "GB a chip: arguments", "temporaries", "output",
    "of", "TFLOP", "GB read and written", "ms", "a chip and second", "utilisation", "exchanged",
]  # fmt: skip


class TooLarge(RuntimeError):
    """A program does not fit into the memory of its chips."""


@dataclass(frozen=True)
class Options:
    """Compile programs for TPUs that are not there."""

    topology: str
    """Chips, such as v5e:4x4, v6e:2x2 or v5p:2x2x1; v5e:1x1 is one."""
    model: str = "sam2.1-hiera-large"
    what: Literal["train", "track", "encode", "everything"] = "encode"
    batch: int | None = None
    """Clips (train) or pictures (encode) on each chip; for training, by default the most that
    fit."""
    objects: tuple[int, ...] = (1, 8, 64)
    """Tracked on each chip."""
    remat: Literal["none", "frames", "all"] = "all"
    """Of training; see `train.config.Recipe`."""
    fsdp: int = 1
    """Of training: over how many chips parameters are spread."""
    frames: int = 8
    """Of training: of a clip."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Add the rows as Markdown."""


@dataclass(frozen=True)
class Report:
    """What the compiler says of a program, for one chip."""

    program: Program
    chip: Chip
    seconds: float  # that cores worked on compiling
    memory: Any
    cost: Cost
    flops: float

    @property
    def bytes(self) -> float:
        m = self.memory
        return (
            m.argument_size_in_bytes
            + m.temp_size_in_bytes
            + m.output_size_in_bytes
            - m.alias_size_in_bytes
            + m.generated_code_size_in_bytes
        )

    def cells(self, options: Options) -> list[str]:
        m, cost = self.memory, self.cost
        number, unit = self.program.each
        moved = sum(c.bytes * often for c, often in cost.collectives.items())
        kinds = sorted({c.kind for c in cost.collectives})
        exchanged = "none"
        if kinds:
            milliseconds = 1e3 * moved / self.chip.links
            exchanged = f"{moved / _GB:.2f} GB, {milliseconds:.1f} ms: {', '.join(kinds)}"
        loops = f" ({cost.unknown_loops} loops counted once)" if cost.unknown_loops else ""
        return [
            options.topology,
            options.model,
            self.program.text,
            f"{self.seconds:.0f}",
            f"{m.argument_size_in_bytes / _GB:.2f}",
            f"{m.temp_size_in_bytes / _GB:.2f}",
            f"{m.output_size_in_bytes / _GB:.2f}",
            f"{self.chip.memory / _GB:.2f}",
            f"{self.flops / 1e12:.2f}",
            f"{cost.bytes / _GB:.2f}",
            f"{1e3 * cost.seconds:.1f}{loops}",
            f"{number / cost.seconds:.3g} {unit}",
            f"{self.flops / cost.seconds / self.chip.peak:.0%}",
            exchanged,
        ]


def compile_for(mesh: Mesh, chip: Chip, program: Program) -> Report:
    """
    Raises:
      TooLarge: the compiler finds no way to fit the program into the chips.
    """
    since = time.process_time()
    try:
        compiled = program.traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TooLarge(f"{program.text}: does not fit: {str(error).splitlines()[0]}") from error
    seconds = time.process_time() - since
    text = compiled.as_text()
    assert text is not None
    return Report(
        program,
        chip,
        seconds,
        compiled.memory_analysis(),
        program_cost(text, chip, busy=program.busy),
        flops(program.traced.jaxpr.jaxpr, busy=program.busy) / mesh.size,
    )


def largest(report: Callable[[int], Report], chip: Chip, say: Callable[[str], None]) -> Report:
    """The report of the largest batch that fits. The bytes are nearly a line: few are compiled.

    Raises:
      TooLarge: a batch of one does not fit.
    """
    best, batch, before = report(1), 1, (0, 0.0)
    limit = math.inf  # the smallest that does not fit
    while True:
        temporary = best.memory.temp_size_in_bytes
        each = (temporary - before[1]) / (batch - before[0])
        room = (chip.memory - best.bytes) / max(each, 1)
        # What does not grow with the batch is in `each` at first: there may be more room than that.
        wanted = min(batch + int(room + 0.5 * (batch == 1)), limit - 1)
        if wanted <= batch:
            return best
        say(f"{best.program.text}: {best.bytes / _GB:.1f} GB a chip; trying {wanted}")
        try:
            found = report(int(wanted))
        except TooLarge as error:
            say(str(error))
            limit = wanted
        else:
            best, batch, before = found, int(wanted), (batch, temporary)


def reports(
    options: Options, mesh: Mesh, chip: Chip, say: Callable[[str], None]
) -> Iterator[Report | TooLarge]:
    """Of each program, or why there is none."""

    def clips(batch: int) -> Report:
        def change(recipe: Any) -> Any:
            videos = replace(recipe.videos, frames=options.frames)
            return replace(recipe, remat=options.remat, videos=videos)

        return compile_for(mesh, chip, train(mesh, options.model, batch=batch, changes=change))

    if options.what == "train":
        yield clips(options.batch) if options.batch else largest(clips, chip, say)
        return
    if options.what == "track":
        programs = [track(mesh, options.model, objects=n) for n in options.objects]
    elif options.what == "encode":
        programs = [encode(mesh, options.model, batch=options.batch or 1)]
    else:
        programs = [find_everything(mesh, options.model)]
    for program in programs:
        try:
            yield compile_for(mesh, chip, program)
        except TooLarge as error:
            yield error


def tpu_devices(topology: str) -> list[Any]:
    """The chips of a topology, for the compiler; jax's cache of programs is off from here on.

    Raises:
      ValueError: there is no such topology, or no TPU compiler.
    """
    # Read when libtpu is loaded: do not ask for a machine's metadata, nor lock its chips.
    for name, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }.items():
        os.environ.setdefault(name, value)
    try:
        version("libtpu")
    except PackageNotFoundError:
        raise ValueError(
            "the TPU compiler is not installed: use `make tpu`'s, with PYTHONPATH=.tpu, or "
            "pip install 'sam_jax[tpu-compile]'"
        ) from None
    from jax.experimental import topologies
    from jax.experimental.compilation_cache import compilation_cache

    # jax would store programs for chips that are not there, and fail to load them the next time.
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # it decides only once whether there is one
    try:
        return list(topologies.get_topology_desc(topology, platform="tpu").devices)
    except Exception as error:
        raise ValueError(f"no topology {topology!r}; such as v5e:4x4: {error}") from error


def _check(options: Options) -> None:
    """Before minutes are spent. Raises SystemExit for what cannot be meant, or would be ignored."""
    layout = options.topology.partition(":")[2]
    if any(not int(side) for side in re.findall(r"\d+", layout)):
        raise SystemExit(f"--topology {options.topology}: sides are at least 1, as v5e:4x4")
    takers = {
        "batch": ("train", "encode"),
        "objects": ("track",),
        **dict.fromkeys(("remat", "fsdp", "frames"), ("train",)),
    }
    for field in fields(options):
        value, taken_by = getattr(options, field.name), takers.get(field.name, ())
        if value == field.default or not taken_by:
            continue
        if options.what not in taken_by:
            raise SystemExit(f"--{field.name} is for --what {' or '.join(taken_by)}")
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or any(isinstance(x, int) and x < 1 for x in numbers):
            raise SystemExit(f"--{field.name} must be at least 1, got {value}")
    if options.markdown and not options.markdown.absolute().parent.is_dir():
        raise SystemExit(f"--markdown {options.markdown}: there is no such folder")


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.tpu", description=__doc__)
    jax.config.update("jax_platforms", "cpu")
    console = Console(soft_wrap=True)
    generation = options.topology.partition(":")[0]
    if generation not in CHIPS:
        raise SystemExit(f"--topology {options.topology}: chips are {', '.join(CHIPS)}, as v5e:4x4")
    _check(options)
    try:
        mesh = make_mesh(tpu_devices(options.topology), fsdp=options.fsdp)
        every = list(reports(options, mesh, CHIPS[generation], console.print))
    except (TooLarge, ValueError) as error:
        raise SystemExit(str(error)) from error
    note = f"libtpu {version('libtpu')}, jax {jax.__version__}, {time.strftime('%Y-%m-%d')}"
    found = [report for report in every if isinstance(report, Report)]
    rows = [report.cells(options) for report in found]
    for row in rows:
        for name, cell in zip(_HEADER, row, strict=True):
            console.print(f"{name:>22}: {cell}")
        console.print()
    for report in found:
        for name, seconds in sorted(report.cost.parts.items(), key=lambda x: -x[1])[:_LISTED]:
            console.print(f"{1e3 * seconds:>8.2f} ms {name}")
        exchanges = sorted(report.cost.collectives.items(), key=lambda x: -x[0].bytes * x[1])
        for what, often in exchanges[:_LISTED]:
            console.print(f"{often:>5} x {what.kind} {what.shape}, {what.bytes / 2**20:.2f} MB")
    console.print(f"Compiler's estimates, not measurements: {note}")
    if options.markdown:
        fresh = not options.markdown.exists()
        lines = ([_HEADER, ["---"] * len(_HEADER)] if fresh else []) + rows
        with options.markdown.open("a") as file:
            file.writelines("| " + " | ".join(line) + " |\n" for line in lines)
    if too_large := [str(error) for error in every if isinstance(error, TooLarge)]:
        raise SystemExit("\n".join(too_large))


if __name__ == "__main__":
    main()
