"""What the video predictor keeps on the host, so that it can go back, and the bank made from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sam_jax import memory as banks
from sam_jax.frame import TrackOptions
from sam_jax.predictors.prompts import PromptArrays
from sam_jax.types import MemoryBank, VideoState


@dataclass
class Entry:
    """One object on one frame.

    Attributes:
      logits: low-resolution mask logits, holes filled.
      pointer: the object pointer.
      features: the memory map, bfloat16; None as long as a prompt may still change.
    """

    logits: Float[np.ndarray, "hm wm"]
    iou: float
    object_logit: float
    pointer: Float[np.ndarray, " d"]
    features: Float[np.ndarray, "h w e"] | None = None


@dataclass
class ObjectMemory:
    """All that is known about an object, by frame.

    Attributes:
      cond: frames that were prompted: what every other frame attends to.
      non_cond: frames that were tracked.
      pending_cond, pending_non_cond: answers to prompts since the last propagation.
      points: clicks and box corners given.
      masked: frames on which a mask was given.
      tracked: frames that a propagation visited, and whether it went backwards.
      scores: predicted IoU and object logit of the latest answer, also of frames long forgotten.
    """

    cond: dict[int, Entry] = field(default_factory=dict)
    non_cond: dict[int, Entry] = field(default_factory=dict)
    pending_cond: dict[int, Entry] = field(default_factory=dict)
    pending_non_cond: dict[int, Entry] = field(default_factory=dict)
    points: dict[int, PromptArrays] = field(default_factory=dict)
    masked: set[int] = field(default_factory=set)
    tracked: dict[int, bool] = field(default_factory=dict)
    scores: dict[int, tuple[float, float]] = field(default_factory=dict)

    def pending(self, is_cond: bool) -> dict[int, Entry]:
        return self.pending_cond if is_cond else self.pending_non_cond

    def shown(self, frame: int, *, is_cond: bool) -> Entry | None:
        """The latest answer on a frame."""
        places = (self.pending(is_cond), self.pending(not is_cond), self.cond, self.non_cond)
        return next((place[frame] for place in places if frame in place), None)

    def answered(self, frame: int, entry: Entry, *, is_cond: bool) -> None:
        """A prompt was answered."""
        self.pending(is_cond)[frame] = entry
        self.scores[frame] = entry.iou, entry.object_logit

    def keep_latest(self, limit: int | None) -> None:
        """Forget the tracked frames that were stored first, beyond `limit`."""
        while limit is not None and len(self.non_cond) > limit:
            del self.non_cond[next(iter(self.non_cond))]


def state_at(
    frame: int,
    memories: Sequence[ObjectMemory],
    empty: VideoState,
    *,
    reverse: bool,
    options: TrackOptions,
) -> VideoState:
    """What tracking would carry into `frame`, had it come there frame by frame.

    Args:
      memories: of the first objects; the other slots stay empty.
      empty: a state of the right size, with as many prompted slots as any object needs.
    """
    bank = empty.bank
    features, frames = np.zeros(bank.features.shape, bank.features.dtype), np.array(bank.frame)
    pointers, pointer_frames = np.array(bank.pointers), np.array(bank.pointer_frame)
    c = banks.prompted_slots(bank)
    ring = frames.shape[1] - c
    sign = -1 if reverse else 1
    for i, memory in enumerate(memories):

        def put(at: int, entry: Entry, slot: int, pointer_slot: int, i: int = i) -> None:
            features[i, slot], frames[i, slot] = entry.features, at
            pointers[i, pointer_slot], pointer_frames[i, pointer_slot] = entry.pointer, at

        for slot, (at, entry) in enumerate(memory.cond.items()):
            put(at, entry, slot, slot)
        # From the oldest that may matter on; later frames take the place of earlier ones.
        for age in range(max(ring * options.stride, banks.RECENT_POINTERS), 0, -1):
            at = frame - sign * age
            if entry := memory.non_cond.get(at):
                slot = c + int(banks.recent_slot(jnp.int32(at), ring, options.stride))
                put(at, entry, slot, c + at % banks.RECENT_POINTERS)
    counts = [len(memory.cond) for memory in memories]
    n = frames.shape[0]
    return VideoState(
        bank=MemoryBank(
            features=jnp.asarray(features),
            frame=jnp.asarray(frames),
            pointers=jnp.asarray(pointers),
            pointer_frame=jnp.asarray(pointer_frames),
            num_prompted=jnp.array(counts + [0] * (n - len(counts)), jnp.int32),
        ),
        frame=jnp.full(n, frame, jnp.int32),
        direction=jnp.full(n, sign, jnp.int32),
        num_frames=empty.num_frames,
    )
