"""Batches without end, in an order that depends on the seed alone.

Batch k is a function of (recipe, k): not of the number of processes that read, nor of where the run
was interrupted. So a loader's position is one number.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from train.config import Recipe, Stream
from train.data.augment import augment
from train.data.embeddings import Embedded, read_about
from train.data.naming import NOTHING, Naming
from train.data.sampling import sample_clip
from train.data.sources import open_source
from train.data.video import BadSource, BrokenSample, Video
from train.types import Batch

_MOST_BROKEN = 100  # samples in a row
_THREADS = 4  # where no processes help
_LONGEST_PROBLEM = 800  # characters: short lines are written in one piece by several processes

_Arrays = dict[str, np.ndarray]


class Loader(Iterator[Batch]):
    """Batches of one process. Made by `make_loader`."""

    def __init__(self, batches: grain.MapDataset, workers: int, skipped: Path) -> None:
        self._batches, self._workers, self._skipped = batches, workers, skipped
        self._step = 0
        self._iterator: Any = None

    def __next__(self) -> Batch:
        if self._iterator is None:
            self._iterator = iter(self._ahead())
        arrays = next(self._iterator)
        self._step += 1
        return Batch(**arrays)

    def get_state(self) -> dict[str, int]:
        """What `set_state` goes on from; JSON can hold it."""
        return {"step": self._step}

    def set_state(self, state: Mapping[str, int]) -> None:
        """The next batch is the one after those that were taken when the state was got."""
        self.close()
        self._step = state["step"]

    def skipped(self) -> int:
        """How many broken samples the run's list names so far; those of batches to come, too."""
        try:
            return self._skipped.read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Ends the processes; taking the next batch begins again."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def _ahead(self) -> grain.IterDataset:
        threads = 1 if self._workers else _THREADS
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        batches = self._batches[self._step :].to_iter_dataset(options)
        if not self._workers:
            return batches
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain reads them, and no command of ours has any
        processes = grain.MultiprocessingOptions(num_workers=self._workers)
        return batches.mp_prefetch(processes, worker_init_fn=_keep_off_accelerators)


def make_loader(
    recipe: Recipe,
    size: int,
    *,
    keep_aspect: bool = False,
    process_index: int = 0,
    process_count: int = 1,
) -> Loader:
    """This process's part of all batches of a recipe.

    Of a step, each process gets the clips number process_index * batch / process_count and
    following ones, and all of them get pictures, or all clips. A broken sample is replaced by
    another one, and listed in skipped.jsonl of the run's folder: one line {"source", "sample",
    "problem"} for each.

    Args:
      size: side of the model input, pixels.
      keep_aspect: pictures keep their shape on it; see `augment`.

    Raises:
      BadSource: a source cannot be opened.
      ValueError: a batch cannot be divided among the processes, or `image_share` is not in 0..1.
    """
    if not 0 <= recipe.image_share <= 1:
        raise ValueError(f"image_share is a part of the steps, 0 to 1, got {recipe.image_share}")
    suffix = f"-{process_index}" if process_count > 1 else ""
    skipped = Path(recipe.folder) / f"skipped{suffix}.jsonl"
    parts: list[tuple[grain.MapDataset, float]] = []
    for number, stream, share in (
        (0, recipe.images, recipe.image_share if recipe.videos else 1),
        (1, recipe.videos, 1 - recipe.image_share if recipe.images else 1),
    ):
        if stream is None or share == 0:
            continue
        if stream.batch % process_count:
            raise ValueError(
                f"a batch of {stream.batch} clips cannot be divided among {process_count} processes"
            )
        videos = open_source(stream.source, frames=stream.frames, size=size)
        naming = _naming(recipe, stream)
        prepare = Prepare(videos, stream, size, (recipe.seed, number), skipped, keep_aspect, naming)
        parts.append((_batches(prepare, process_index, process_count), share))
    if len(parts) == 1:
        return Loader(parts[0][0], recipe.workers, skipped)
    datasets, shares = zip(*parts, strict=True)
    return Loader(grain.MapDataset.mix(datasets, shares), recipe.workers, skipped)


def _naming(recipe: Recipe, stream: Stream) -> "Naming | Embedded | None":
    """What gives objects a text, if anything.

    Raises:
      BadSource: the folder of embeddings is none, or of another width.
    """
    if not stream.prompts.text_share:
        return None
    if recipe.words is not None:
        return Naming(recipe.words)
    folder = Path(recipe.embeddings)
    if (width := read_about(folder).width) != recipe.text_dim:
        raise BadSource(
            f"{folder} holds embeddings {width} wide, and text_dim is {recipe.text_dim}"
        )
    return Embedded(folder, width)


def _batches(prepare: "Prepare", process_index: int, process_count: int) -> grain.MapDataset:
    batch = prepare.stream.batch
    local = batch // process_count
    mine = slice(process_index * local, (process_index + 1) * local)
    seed, stream = prepare.seed
    numbers = grain.MapDataset.range(len(prepare.videos)).shuffle(2 * seed + stream).repeat()
    numbered = numbers.map_with_index(lambda position, number: (position, number))
    # The remainder of what has no end: else its length is computed as a float, which overflows.
    parts = numbered.batch(batch, drop_remainder=True, batch_fn=lambda items: items[mine])
    return parts.map(prepare)


@dataclass(frozen=True)
class Prepare:
    """From numbers of videos to a batch.

    Attributes:
      seed: of the run and the stream; with a clip's position in the stream it decides everything.
      skipped: file to which broken samples are added.
      keep_aspect: see `augment`.
      naming: what gives objects a text; None: they have none.
    """

    videos: Sequence[Video]
    stream: Stream
    size: int
    seed: tuple[int, int]
    skipped: Path
    keep_aspect: bool = False
    naming: Naming | Embedded | None = None

    def __call__(self, items: Sequence[tuple[int, int]]) -> _Arrays:
        """A batch as the arrays of `Batch`, from (position in the stream, number of the video)."""
        clips = [self.clip(int(position), int(number)) for position, number in items]
        batch = {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}
        for name, x in batch.items():
            if name in ("images", "masks"):  # time goes first
                batch[name] = x = x.swapaxes(0, 1)
            if name != "images":  # the objects of all clips in one row
                axis = 1 if name == "masks" else 0
                batch[name] = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
        return batch

    def clip(self, position: int, number: int) -> _Arrays:
        """Images [t s s 3], masks [t o s s], valid [o] and what `naming` gives, of a video; or of
        another if it is broken."""
        rng = np.random.default_rng((*self.seed, position))
        for _ in range(_MOST_BROKEN):
            name = f"number {number}"
            try:
                video = self.videos[number]
                name = video.name
                return self._changed(video, rng)
            except BrokenSample as error:
                self._note(name, error)
                last = error
            number = int(rng.integers(len(self.videos)))
        source = self.stream.source
        raise BadSource(
            f"{_MOST_BROKEN} samples of the {source.kind} source {source.root} in a row cannot be"
            f" trained on; the last: {last}. All are listed in {self.skipped}"
        )

    def _changed(self, video: Video, rng: np.random.Generator) -> _Arrays:
        room = self.stream.objects
        most = room if self.naming is None else self.naming.candidates(room)
        clip = sample_clip(video, replace(self.stream, objects=most), rng)
        images, found = augment(
            clip.images,
            clip.masks,
            size=self.size,
            options=self.stream.augment,
            rng=rng,
            keep_aspect=self.keep_aspect,
        )
        left = found[0].any((1, 2))
        if not left.any():
            raise BrokenSample(f"{clip.name}: the objects are too small at {self.size} pixels")
        found = found[:, left]
        rows, named = list(range(found.shape[1])), {}
        if self.naming is not None:
            ids = np.array(clip.ids)[left].tolist()
            rows, named = self.naming(video, clip.first, ids, room, rng)  # ty: ignore
        masks = np.zeros((len(images), room, self.size, self.size), bool)
        for place, row in enumerate(rows):
            if row != NOTHING:
                masks[:, place] = found[:, row]
        return {"images": images, "masks": masks, "valid": np.arange(room) < len(rows), **named}

    def _note(self, name: str, error: BrokenSample) -> None:
        source = f"{self.stream.source.kind} {self.stream.source.root}".strip()
        problem = str(error)[:_LONGEST_PROBLEM]
        line = json.dumps({"source": source, "sample": name, "problem": problem}) + "\n"
        self.skipped.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.skipped, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)


def _keep_off_accelerators(index: int, count: int) -> None:
    """Processes that read have no business on a GPU, and would take its memory."""
    jax.config.update("jax_platforms", "cpu")
