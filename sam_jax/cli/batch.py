"""`sam-jax batch`: checks, progress and messages. The work itself is in sam_jax.batch."""

import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np

from sam_jax.cli import say
from sam_jax.cli.batch_args import Batch
from sam_jax.cli.compilation_cache import enable_compilation_cache
from sam_jax.cli.signals import Signals
from sam_jax.io import storage

_OF_EVERYTHING = (
    "points_per_side",
    "pred_iou_thresh",
    "stability_score_thresh",
    "crop_n_layers",
)


def batch(args: Batch) -> int:
    """Does what is left of a job, or of this process's share of it.

    Returns:
      0 when that is done, whatever inputs were broken; 130 after Ctrl-C or SIGTERM.

    Raises:
      ValueError, OSError: bad settings, prompts, inputs, model or output folder.
      ModuleNotFoundError: something needs an extra, which the message names.
      KeyboardInterrupt: Ctrl-C or SIGTERM before the work, or a second time.
    """
    _check(args)
    from sam_jax.batch.ledger import check_format

    check_format(args.format)
    with Signals() as signals:
        share = _share(args.shard)
        if args.cache:
            enable_compilation_cache()
        return _Job(args, share).run(signals)


def _check(args: Batch) -> None:
    """Raises ValueError for settings that cannot be meant."""
    for name in ("input", "output"):
        if not getattr(args, name):
            raise ValueError(f"the name of the {name} is empty")
    if (args.prompts is None) != args.everything:
        given = "neither" if args.prompts is None else "both"
        raise ValueError(
            f"give --prompts FILE, or --everything for all masks of every picture; got {given}"
        )
    for name in ("inputs_per_file", "batch_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    defaults = {field.name: field.default for field in fields(args)}
    for name in _OF_EVERYTHING:
        if not args.everything and getattr(args, name) != defaults[name]:
            raise ValueError(f"--{name.replace('_', '-')} is for --everything")
    if args.everything and args.text_encoder is not None:
        raise ValueError("--text-encoder is for text in --prompts")


def _share(shard: str | None) -> tuple[int, int]:
    """Number of this process, and how many there are.

    Raises:
      ValueError: not I/N with 0 <= I < N; or there is nothing from which to find it out.
    """
    import jax

    if shard is None:
        if not jax.distributed.is_initialized():
            return 0, 1
        return jax.process_index(), jax.process_count()
    if shard == "auto":
        number, many = (os.environ.get(f"JAX_{n}") for n in ("PROCESS_ID", "NUM_PROCESSES"))
        try:
            if not jax.distributed.is_initialized():
                jax.distributed.initialize(
                    process_id=None if number is None else int(number),
                    num_processes=None if many is None else int(many),
                )
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"--shard auto: {error} Outside of a TPU pod, SLURM or MPI, set"
                " JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or say"
                " --shard I/N"
            ) from error
        return jax.process_index(), jax.process_count()
    parts = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", shard)
    if parts is None or int(parts[1]) >= int(parts[2]):
        raise ValueError(
            f"--shard {shard!r} must be I/N, process I of N, from 0: 0/4, 1/4, 2/4 and 3/4; or auto"
        )
    return int(parts[1]), int(parts[2])


class _Job:
    """A job, and this process's share of it.

    Args:
      share: number of this process, of how many.
    """

    def __init__(self, args: Batch, share: tuple[int, int]) -> None:
        from sam_jax.batch import run
        from sam_jax.batch.inputs import open_inputs
        from sam_jax.batch.prompts import prompts_hash, read_prompts

        self._args = args
        self._share = share
        self._inputs = open_inputs(args.input)
        self._prompts_hash = None
        if args.prompts is not None:
            data = storage.read(args.prompts)
            rows = read_prompts(data, args.prompts)
            self._prompts_hash = prompts_hash(data, rows, storage.parent(args.prompts))
            self._items = run.prompted_items(self._inputs, rows, args.prompts)
        else:
            self._items = run.everything_items(self._inputs)

    def run(self, signals: Signals) -> int:
        import jax

        from sam_jax.batch import run
        from sam_jax.batch.clips import ClipTracker
        from sam_jax.batch.ledger import Ledger, cut
        from sam_jax.clip import load_clip
        from sam_jax.load import load
        from sam_jax.sharding import DATA, make_mesh

        args = self._args
        model = load(args.model)
        self._check_model(model)
        options = self._options(model)
        clip = load_clip(args.text_encoder) if args.text_encoder is not None else None
        shards = cut(self._items, args.inputs_per_file)
        settings = self._settings(model, options, clip)
        ledger = Ledger(args.output, settings, shards, args.format)
        ledger.open()
        index, count = self._share
        mine = ledger.unfinished(shards[index::count])
        self._say_what(shards, mine)
        mesh = make_mesh(jax.local_devices())
        model = run.replicated(model, mesh)
        asker = self._asker(model, clip)
        clips_at_once = run.batch_size(mesh.shape[DATA], args.batch_size, clips=True)

        def answers() -> Any:
            if options is not None:
                return run.everything_answers(model, options, self._inputs, mesh, args.batch_size)
            return run.prompted_answers(asker, self._inputs, mesh, args.batch_size)

        def tracker(clock: Any, host: Any) -> Any:
            return ClipTracker(asker, self._inputs, mesh, clips_at_once, clock, host)

        total = sum(len(shard.items) for shard in mine)
        with signals.patient(), _bar(total) as bar:
            progress = run.Progress(bar.advance, lambda: signals.asked)
            bar.clock = progress.clock
            run.work_through(mine, ledger, answers, tracker, progress)
        if signals.asked:
            say("sam-jax: stopped; the same command goes on where this one was", error=True)
            return 130
        self._report(ledger, progress)
        return 0

    def _check_model(self, model: Any) -> None:
        """Raises ValueError for what this model cannot do."""
        from sam_jax.cli.text_prompt import check_encoder
        from sam_jax.models.prompt_encoder import NO_TEXT
        from sam_jax.video import require_memory

        if any(item.is_clip for item in self._items):
            require_memory(model.config)
        rows = (row for item in self._items for row in item.rows)
        with_text = next((row for row in rows if row.text is not None), None)
        if with_text is None:
            return
        if not model.config.text_dim:
            raise ValueError(
                f"{self._args.prompts}, line {with_text.line}: the model {self._args.model}"
                f" {NO_TEXT}"
            )
        asked = f"the text of {self._args.prompts}, line {with_text.line},"
        check_encoder(model.config, self._args.model, self._args.text_encoder, asked=asked)

    def _options(self, model: Any) -> Any:
        """Of --everything; None without."""
        from sam_jax.predictors.generator_options import GeneratorOptions

        if not self._args.everything:
            return None
        chosen = {name: getattr(self._args, name) for name in _OF_EVERYTHING}
        return GeneratorOptions(**chosen, output_mode="coco_rle")

    def _settings(self, model: Any, options: Any, clip: Any) -> dict[str, Any]:
        """What the results depend on, for the manifest."""
        from sam_jax.batch.run import fingerprint

        return {
            "model": model.config.name,
            "parameters": fingerprint(model),
            "dtype": str(np.dtype(model.module.dtype)),
            "prompts": self._prompts_hash,
            "everything": None if options is None else vars(options),
            "inputs_per_file": self._args.inputs_per_file,
        } | ({} if clip is None else {"text_encoder": fingerprint(clip.model)})

    def _asker(self, model: Any, clip: Any) -> Any:
        from sam_jax.batch.asker import Asker
        from sam_jax.predictors.text import own_encoder

        if self._args.prompts is None:
            return None
        folder = storage.parent(self._args.prompts)
        encoder = own_encoder(model) if clip is None else clip.embed_text
        if encoder is None:
            return Asker(model, folder)
        once = cache(lambda phrase: encoder([phrase]))  # many inputs ask for the same
        return Asker(model, folder, lambda phrases: np.concatenate([once(one) for one in phrases]))

    def _say_what(self, shards: Any, mine: Any) -> None:
        index, count = self._share
        clips = sum(item.is_clip for item in self._items)
        kinds = [f"{len(self._items) - clips} pictures"] if clips < len(self._items) else []
        kinds += [f"{clips} clips"] if clips else []
        whose = f", of which process {index} of {count} does {len(shards[index::count])}"
        done = len(shards[index::count]) - len(mine)
        say(
            f"{' and '.join(kinds)} in {len(shards)} files{whose if count > 1 else ''};"
            f" {done} were there already"
        )

    def _report(self, ledger: Any, progress: Any) -> None:
        index, count = self._share
        broken = ledger.write_errors()
        left = len(ledger.unfinished(ledger.shards))
        if not left:
            ledger.tidy()
        speed = progress.speed()
        if speed:
            total = ledger.note_speed(index, count, speed)
            idle = progress.clock.idle_share
            of_all = f"; all {count} processes: {_rates(total)}" if count > 1 else ""
            waits = "" if idle is None else f"; the device idled {idle:.0%} of the time"
            say(f"{_rates(speed)}{of_all}{waits}")
        where = self._args.output
        errors = storage.join(where, "errors.jsonl")
        say(f"{where}: {'all files are there' if not left else f'{left} files are still to come'}")
        if broken:
            inputs = "1 input is" if broken == 1 else f"{broken} inputs are"
            say(f"{inputs} broken: see {errors}")


def _rates(speed: dict[str, float]) -> str:
    return ", ".join(f"{value:.1f} {what}/s" for what, value in speed.items())


class _Bar:
    """Attributes:
    clock: whose idle share is shown.
    """

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task
        self.clock: Any = None

    def advance(self) -> None:
        idle = self.clock.idle_share
        note = "" if idle is None else f"device idle {idle:.0%}"
        self._bar.update(self._task, advance=1, note=note)


@contextmanager
def _bar(total: int) -> Generator[_Bar]:
    """A progress bar on stderr."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    redirect = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=redirect) as bar:
        yield _Bar(bar, bar.add_task("inputs", total=total, note=""))
