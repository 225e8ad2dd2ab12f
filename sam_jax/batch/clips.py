"""Clips of a job: tracked side by side, a window of frames after the other, on all devices.

Each slot of `sam_jax.clips.track_window` holds a clip; when it has ended, the next one of the shard
takes its slot. Which clip is where depends on their lengths alone, so a shard that is done again
gives the same.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sam_jax import clips, video
from sam_jax.batch.asker import Asker
from sam_jax.batch.clip_reader import WINDOW, ClipReader, Part, needs
from sam_jax.batch.clock import Clock
from sam_jax.batch.inputs import Inputs
from sam_jax.batch.ledger import Item, Outcome, Shard
from sam_jax.io.images import upsample_logits
from sam_jax.io.mask_sequences import object_scores
from sam_jax.io.masks import mask_entry
from sam_jax.predictors.prompts import POINT_BUCKETS, PROMPT_BUCKETS, bucket
from sam_jax.sharding import DATA, over_objects
from sam_jax.types import ClipWindow, FrameOutput, Prompts

_SLOT_BUCKETS = (1, 2, 4, 8, 16)  # prompted frames of an object that are remembered
_UNDER_WAY = 2  # windows on the device or being coded, while the next one is put together


@dataclass
class _Clip:
    """A clip in work."""

    reader: ClipReader
    lines: list[dict[str, Any]] = field(default_factory=list)
    begun: bool = False


@dataclass(frozen=True)
class _Sizes:
    """Of a program.

    Attributes:
      objects: of each clip.
      points: of each prompt.
    """

    objects: int
    points: int
    prompted: int
    masks: bool


class ClipTracker:
    """Tracks the clips of a job.

    One program for all clips with the same number of objects, of points of a prompt and of prompted
    frames of an object, all rounded up; another one where a mask is given.

    Args:
      size: clips at once; a multiple of the mesh's devices.
      host: the threads that code results.
    """

    def __init__(
        self, asker: Asker, inputs: Inputs, mesh: Mesh, size: int, clock: Clock, host: Executor
    ) -> None:
        self._asker = asker
        self._inputs = inputs
        self._size = size
        self._clock = clock
        self._host = host
        self._rows = NamedSharding(mesh, P(DATA))
        self._everywhere = NamedSharding(mesh, P())
        self._track = jax.jit(
            over_objects(clips.track_window, mesh),
            donate_argnums=1,
            out_shardings=self._rows,  # else the state comes back placed otherwise, and recompiles
        )

    def __call__(self, shards: Iterable[Shard]) -> Iterator[Outcome]:
        """What comes of each clip of the shards, in order."""
        with ExitStack() as stack:
            readers, watcher, finisher = (
                stack.enter_context(ThreadPoolExecutor(count, thread_name_prefix=name))
                for name, count in (("read", 2 * self._size), ("watch", 1), ("finish", 1))
            )
            for pool in (readers, watcher, finisher):
                stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            for shard in shards:
                outcomes = self._shard(shard.items, readers, watcher, finisher)
                yield from (outcomes[item.name] for item in shard.items)

    def _shard(
        self, items: Sequence[Item], readers: Executor, watcher: Executor, finisher: Executor
    ) -> dict[str, Outcome]:
        sizes = self._sizes(items)
        state = self._new_state(sizes)
        to_come = iter(items)
        waiting: deque[ClipReader] = deque()  # so that no slot waits for a file to be opened
        slots: list[_Clip | None] = [None] * self._size
        outcomes: dict[str, Outcome] = {}
        done: list[_Clip] = []
        under_way: deque[Future] = deque()

        def fill() -> None:
            while len(waiting) < self._size and (item := next(to_come, None)) is not None:
                waiting.append(ClipReader(item, self._asker, self._inputs, readers))

        def part_for(place: int) -> Part | None:
            """The next frames of the slot's clip, or the first ones of the next that has any."""
            while True:
                fill()
                if slots[place] is None:
                    if not waiting:
                        return None
                    slots[place] = _Clip(waiting.popleft())
                clip = slots[place]
                assert clip is not None
                name = clip.reader.item.name
                try:
                    part = clip.reader.take()
                except (OSError, ValueError) as error:
                    outcomes[name] = Outcome(name, reason=str(error))
                    slots[place] = None
                    continue
                if part is not None:
                    return part
                done.append(clip)
                slots[place] = None

        while True:
            parts = [part_for(place) for place in range(self._size)]
            if not any(parts):
                break
            window = self._window(parts, slots, sizes)
            self._clock.begin()
            state, output = self._track(self._asker.model, state, window)
            ready = watcher.submit(self._wait, output)
            under_way.append(finisher.submit(self._finish, ready, parts, list(slots), sizes))
            for clip, part in zip(slots, parts, strict=True):
                if clip is not None and part is not None:
                    clip.begun = True
            if len(under_way) > _UNDER_WAY:
                under_way.popleft().result()
        while under_way:
            under_way.popleft().result()
        for clip in done:
            name = clip.reader.item.name
            outcomes[name] = Outcome(name, clip.lines)
        return outcomes

    def _sizes(self, items: Sequence[Item]) -> _Sizes:
        objects, points, prompted, masks = needs(items)
        return _Sizes(
            bucket(objects, PROMPT_BUCKETS),
            bucket(max(points, 2), POINT_BUCKETS),
            min(bucket(prompted, _SLOT_BUCKETS), _SLOT_BUCKETS[-1]),
            masks,
        )

    def _new_state(self, sizes: _Sizes) -> Any:
        """Placed as the program returns it."""
        n = self._size * sizes.objects
        state = video.init_state(self._asker.model, n, prompted=sizes.prompted)
        return jax.device_put(state, self._rows)

    def _window(
        self, parts: Sequence[Part | None], slots: Sequence[_Clip | None], sizes: _Sizes
    ) -> ClipWindow:
        config = self._asker.model.config
        b, o, side = self._size, sizes.objects, config.image_size
        images = np.zeros((b, WINDOW, side, side, 3), np.uint8)
        live = np.zeros((b, WINDOW), bool)
        begins, num_frames = np.zeros(b * o, bool), np.ones(b * o, np.int32)
        points = np.zeros((b * o, WINDOW, sizes.points, 2), np.float32)
        labels = np.full((b * o, WINDOW, sizes.points), -2, np.int32)
        text = np.zeros((b * o if config.text_dim else 0, WINDOW, config.text_dim), np.float32)
        has_text = np.zeros(text.shape[:2], bool)
        prompted, correcting = np.zeros((2, b * o, WINDOW), bool)
        masks = np.zeros((b * o if sizes.masks else 0, side, side), np.uint8)
        mask_at = np.full(b * o, -1, np.int32)
        for place, (part, clip) in enumerate(zip(parts, slots, strict=True)):
            if part is None or clip is None:
                continue
            images[place, : len(part.images)] = part.images
            live[place, : len(part.images)] = True
            begins[place * o : (place + 1) * o] = not clip.begun
            num_frames[place * o : (place + 1) * o] = part.num_frames
            for t, asked in part.prompts.items():
                for prompt in asked:
                    row = place * o + prompt.place
                    if prompt.mask is not None:
                        masks[row], mask_at[row] = prompt.mask, t
                    if prompt.arrays is None:
                        continue
                    count = prompt.arrays.labels.shape[1]
                    points[row, t, :count] = prompt.arrays.points[0]
                    labels[row, t, :count] = prompt.arrays.labels[0]
                    prompted[row, t], correcting[row, t] = True, prompt.corrects
                    if prompt.arrays.text is not None:
                        text[row, t], has_text[row, t] = prompt.arrays.text[0], True
        low = config.mask_size
        no_mask, nobody = np.zeros((0, WINDOW, low, low, 1), np.float32), np.zeros((0, WINDOW))
        put = self._put
        asked = (points, labels, no_mask, nobody.astype(bool), text, has_text)
        return ClipWindow(
            images=put(images),
            live=put(live),
            begins=put(begins),
            num_frames=put(num_frames),
            prompts=Prompts(*(put(x) for x in asked)),
            prompted=put(prompted),
            correcting=put(correcting),
            masks=put(masks),
            mask_at=put(mask_at),
        )

    def _put(self, rows: np.ndarray) -> jax.Array:
        """Each device's rows on that device; what has no rows everywhere."""
        return jax.device_put(rows, self._rows if len(rows) else self._everywhere)

    def _wait(self, output: FrameOutput) -> FrameOutput:
        try:
            return jax.block_until_ready(output)
        finally:
            self._clock.end()

    def _finish(
        self,
        ready: Future,
        parts: Sequence[Part | None],
        slots: Sequence[_Clip | None],
        sizes: _Sizes,
    ) -> None:
        """Adds the lines of a window to its clips."""
        output: Any = jax.device_get(ready.result())
        for place, (part, clip) in enumerate(zip(parts, slots, strict=True)):
            if part is None or clip is None:
                continue
            rows = slice(place * sizes.objects, (place + 1) * sizes.objects)
            of_clip = jax.tree.map(lambda x, rows=rows: x[rows], output)
            code = partial(_line, part, of_clip, clip.reader)
            clip.lines += self._host.map(code, range(len(part.images)))


def _line(part: Part, output: Any, reader: ClipReader, t: int) -> dict[str, Any]:
    """The line of the results for frame `t` of a part.

    Args:
      output: a `FrameOutput` of the clip's objects, on the host; leaves are [o t ...].
    """
    known = part.known[t]
    ious, presence = output.iou[known, t], output.object_logit[known, t]
    if not (np.isfinite(ious).all() and np.isfinite(presence).all()):
        raise ValueError("a predicted IoU is not finite: are the weights of the model broken?")
    masks = []
    for place, iou, score in zip(known, ious, object_scores(presence), strict=True):
        inside = upsample_logits(output.logits[place, t], *part.size) > 0
        entry = {"object": reader.objects[place]} | mask_entry(inside, iou)
        masks.append(entry | {"object_score": round(float(score), 6)})
    frame = part.first + t
    return {"input": reader.item.name, "frame": frame, "size": list(part.size), "masks": masks}
