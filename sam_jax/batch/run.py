"""A job from its inputs to its files."""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sam_jax.batch.asker import Asker
from sam_jax.batch.clip_reader import check_clip_rows
from sam_jax.batch.clips import ClipTracker
from sam_jax.batch.clock import Clock
from sam_jax.batch.inputs import Inputs
from sam_jax.batch.ledger import Item, Ledger, Outcome, Shard
from sam_jax.batch.pictures import Answers, Everything, Prompted, answer_pictures
from sam_jax.batch.prompts import Rows
from sam_jax.predictors.everything import AutomaticMaskGenerator
from sam_jax.predictors.generator_options import GeneratorOptions
from sam_jax.sharding import DATA
from sam_jax.types import Model

_PICTURES, _CLIPS = 8, 4  # on one accelerator at once; a CPU gains nothing from several
_MOST_THREADS = 32


def prompted_items(inputs: Inputs, rows: Rows, prompts: str) -> list[Item]:
    """What a prompts file names, in its order.

    Args:
      prompts: name of the file, for messages.

    Raises:
      ValueError: nothing of it is there, or a line that cannot be meant for its picture or clip.
    """
    items = [Item(name, inputs.is_clip(name), inputs.size(name), rows[name]) for name in rows]
    if all(item.size is None for item in items):
        some = (
            ", ".join(inputs.sizes) if len(inputs.sizes) < 3 else next(iter(inputs.sizes)) + ", ..."
        )
        raise ValueError(
            f"none of the {len(items)} inputs that {prompts} names is there, such as"
            f" {items[0].name}; the names that there are: {some}"
        )
    for item in items:
        try:
            if item.is_clip:
                check_clip_rows(item.rows, item.name)
            elif late := next((row for row in item.rows if row.frame), None):
                raise ValueError(
                    f"prompt in line {late.line}: {item.name} is a picture and has no frame"
                    f" {late.frame}"
                )
        except ValueError as error:
            raise ValueError(f"{prompts}: {error}") from None
    return items


def everything_items(inputs: Inputs) -> list[Item]:
    """All pictures that there are.

    Raises:
      ValueError: there is none.
    """
    items = [
        Item(name, False, size) for name, size in inputs.sizes.items() if not inputs.is_clip(name)
    ]
    if not items:
        raise ValueError(
            f"there is no picture among the {len(inputs.sizes)} inputs: --everything takes"
            " pictures; of a video, sam-jax everything finds all that is in it"
        )
    return items


def fingerprint(model: Model) -> str:
    """Of a model's parameters."""
    digest = hashlib.sha256()
    for keys, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        digest.update(jax.tree_util.keystr(keys).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()


@dataclass
class Progress:
    """What a run has done until now.

    Attributes:
      advance: called after each input.
      stopping: whether to stop at once; what is not finished is done by the next run.
    """

    advance: Callable[[], None]
    stopping: Callable[[], bool]
    clock: Clock = field(default_factory=Clock)
    pictures: int = 0
    clips: int = 0
    frames: int = 0
    broken: int = 0
    picture_seconds: float = 0.0
    clip_seconds: float = 0.0

    def note(self, shard: Shard, outcomes: Sequence[Outcome], seconds: float) -> None:
        broken = sum(outcome.reason is not None for outcome in outcomes)
        self.broken += broken
        if shard.is_clips:
            self.clips += len(outcomes)
            self.frames += sum(len(outcome.lines) for outcome in outcomes)
            self.clip_seconds += seconds
        else:
            self.pictures += len(outcomes) - broken
            self.picture_seconds += seconds

    def speed(self) -> dict[str, float]:
        """Pictures and frames of clips a second, of those there were."""
        found = {}
        if self.pictures:
            found["pictures"] = round(self.pictures / max(self.picture_seconds, 1e-9), 3)
        if self.frames:
            found["frames"] = round(self.frames / max(self.clip_seconds, 1e-9), 3)
        return found


def work_through(
    shards: Sequence[Shard],
    ledger: Ledger,
    picture_answers: Callable[[], Answers],
    clip_tracker: Callable[[Clock, Executor], ClipTracker],
    progress: Progress,
) -> None:
    """Does the shards, and writes each when it is done.

    Raises:
      ValueError, OSError: a file cannot be written, or the weights are broken.
    """
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)) if _HAS_AFFINITY else 4)
    pictures = [shard for shard in shards if not shard.is_clips]
    clips = [shard for shard in shards if shard.is_clips]
    with ThreadPoolExecutor(threads, thread_name_prefix="host") as host:
        try:
            if pictures:
                answers, clock = picture_answers(), progress.clock
                _collect(
                    pictures, answer_pictures(pictures, answers, clock, host), ledger, progress
                )
            if clips and not progress.stopping():
                tracker = clip_tracker(progress.clock, host)
                _collect(clips, tracker(clips), ledger, progress)
        finally:
            host.shutdown(wait=False, cancel_futures=True)


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")  # Linux


def _collect(shards: Sequence[Shard], outcomes: Any, ledger: Ledger, progress: Progress) -> None:
    try:
        for shard in shards:
            started = time.perf_counter()
            found = []
            for _ in shard.items:
                if progress.stopping():
                    return
                found.append(next(outcomes))
                progress.advance()
            seconds = time.perf_counter() - started
            ledger.finish(shard, found, seconds)
            progress.note(shard, found, seconds)
    finally:
        outcomes.close()


def batch_size(devices: int, most: int | None, *, clips: bool) -> int:
    """How many pictures or clips all devices together work on at once.

    Args:
      most: on one device; None: one on a CPU, else what fits.
    """
    usual = 1 if jax.default_backend() == "cpu" else _CLIPS if clips else _PICTURES
    return devices * (most or usual)


def replicated(model: Model, mesh: Mesh) -> Model:
    """The model on all devices of the mesh, once and not at every call."""
    return jax.device_put(model, NamedSharding(mesh, P()))


def prompted_answers(asker: Asker, inputs: Inputs, mesh: Mesh, most: int | None) -> Answers:
    size = batch_size(mesh.shape[DATA], most, clips=False)
    return Prompted(asker, inputs, mesh, size)


def everything_answers(
    model: Model, options: GeneratorOptions, inputs: Inputs, mesh: Mesh, most: int | None
) -> Answers:
    generator = AutomaticMaskGenerator(model, **vars(options), mesh=mesh)
    return Everything(generator, inputs, batch_size(mesh.shape[DATA], most, clips=False))
