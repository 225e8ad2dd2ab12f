"""The memory bank: which frames are kept, and which of them a frame attends to. Ages, no counting.

    bank = init_bank(4, prompted=2, recent=6, ...)
    recall = read(bank, frame, direction, num_frames)
    bank = write(bank, memory, frame, prompted=..., keep=...)

A bank has three parts, each of fixed size: slots of prompted frames (when they are full the oldest
leaves), a ring of the last frames, and a longer ring of the last frames' object pointers. What a
slot means to the current frame follows from the frame it holds, so stale slots are never cleared.
Upstream: sam2/modeling/sam2_base.py, _prepare_memory_conditioned_features, which looks frames up in
dicts that grow with the video.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sam_jax.types import FrameMemory, MemoryBank, Recall, Size

RECENT_POINTERS = 15  # upstream: max_obj_ptrs_in_encoder - 1
EMPTY = -(2**31)  # in place of a frame number; those below 0 are as good as others


def init_bank(
    n: int,
    *,
    prompted: int,
    recent: int,
    grid: int,
    dim: int,
    pointer_dim: int,
    stride: int = 1,
) -> MemoryBank:
    """An empty bank for n objects.

    Args:
      prompted: how many prompted frames of an object it holds.
      recent: how many unprompted frames one frame attends to.
      grid: side of the memory maps.
      dim, pointer_dim: channels of the maps, of the pointers.
      stride: as for `read`.
    """
    # With a stride the ring holds multiples of it, and the frame just before has its own slot.
    slots = prompted + recent + (stride > 1)
    return MemoryBank(
        features=jnp.zeros((n, slots, grid, grid, dim), jnp.bfloat16),
        frame=jnp.full((n, slots), EMPTY, jnp.int32),
        pointers=jnp.zeros((n, prompted + RECENT_POINTERS, pointer_dim), jnp.float32),
        pointer_frame=jnp.full((n, prompted + RECENT_POINTERS), EMPTY, jnp.int32),
        num_prompted=jnp.zeros(n, jnp.int32),
    )


def prompted_slots(bank: MemoryBank) -> Size:
    """How many prompted frames of an object the bank holds."""
    return bank.pointers.shape[1] - RECENT_POINTERS


def answered(bank: MemoryBank, frame: Int[Array, " n"]) -> Bool[Array, " n"]:
    """Whether `frame` is one of the prompted frames in the bank."""
    return (bank.frame[:, : prompted_slots(bank)] == frame[:, None]).any(1)


def recent_slot(frame: Int[Array, "*n"], ring: int, stride: int = 1) -> Int[Array, "*n"]:
    """Which of the `ring` slots for recent frames a frame goes to."""
    if stride == 1:
        return frame % ring
    # The last slot is for a frame that is only ever the one just before.
    return jnp.where(frame % stride == 0, frame // stride % (ring - 1), ring - 1)


def write(
    bank: MemoryBank,
    memory: FrameMemory,
    frame: Int[Array, " n"],
    *,
    prompted: Bool[Array, " n"],
    keep: Bool[Array, " n"],
    stride: int = 1,
) -> MemoryBank:
    """Remember a frame.

    Args:
      frame: index of the frame, for each object.
      prompted: it goes to a prompted slot: to the one that holds this frame already, else to the
        next, else to that of the oldest.
      keep: false where nothing is written.
      stride: as for `read`.
    """
    c = prompted_slots(bank)
    ring = bank.features.shape[1] - c
    known = bank.frame[:, :c] == frame[:, None]
    again = known.any(1)
    slot = jnp.where(again, known.argmax(1), bank.num_prompted % c)
    recent = recent_slot(frame, ring, stride)
    features, frames = _put(
        bank.features,
        bank.frame,
        memory.features,
        frame,
        jnp.where(prompted, slot, c + recent),
        keep,
    )
    pointers, pointer_frames = _put(
        bank.pointers,
        bank.pointer_frame,
        memory.pointer,
        frame,
        jnp.where(prompted, slot, c + frame % RECENT_POINTERS),
        keep,
    )
    return MemoryBank(
        features=features,
        frame=frames,
        pointers=pointers,
        pointer_frame=pointer_frames,
        num_prompted=bank.num_prompted + (keep & prompted & ~again),
    )


def _put(
    slots: Float[Array, "n k ..."],
    frames: Int[Array, "n k"],
    new: Float[Array, "n ..."],
    frame: Int[Array, " n"],
    slot: Int[Array, " n"],
    keep: Bool[Array, " n"],
) -> tuple[Float[Array, "n k ..."], Int[Array, "n k"]]:
    """A select over all slots: the form that every backend shards by objects as it is."""
    hit = (jnp.arange(slots.shape[1]) == slot[:, None]) & keep[:, None]
    wide = hit.reshape(*hit.shape, *[1] * (slots.ndim - 2))
    return (
        jnp.where(wide, new[:, None].astype(slots.dtype), slots),
        jnp.where(hit, frame[:, None], frames),
    )


def forget(bank: MemoryBank, which: Bool[Array, " n"]) -> MemoryBank:
    """Empty the slots of some objects."""
    return MemoryBank(
        features=bank.features,
        frame=jnp.where(which[:, None], EMPTY, bank.frame),
        pointers=bank.pointers,
        pointer_frame=jnp.where(which[:, None], EMPTY, bank.pointer_frame),
        num_prompted=jnp.where(which, 0, bank.num_prompted),
    )


def read(
    bank: MemoryBank,
    frame: Int[Array, " n"],
    direction: Int[Array, " n"],
    num_frames: Int[Array, " n"],
    *,
    max_prompted: int | None = None,
    stride: int = 1,
    past_pointers: bool = True,
) -> Recall:
    """What `frame` attends to.

    All prompted frames, future ones included, or the closest `max_prompted` of them; the last
    frames in the direction of tracking (with a stride r, the one just before and then every r-th);
    the pointers of those prompted frames (that lie in the past), and of the last 15 frames.

    Args:
      direction: 1 forward, -1 backward.
      num_frames: pointers live for min(num_frames, 16) - 1 frames, which is also the unit of
        `pointer_age`. Upstream: max_obj_ptrs_in_encoder.
      max_prompted: upstream's max_cond_frames_in_attn; None for no limit. A prompted frame beyond
        it counts as a recent one if it is recent.
      stride: upstream's memory_temporal_stride_for_eval.
      past_pointers: prompted frames in the future give no pointers. Upstream:
        only_obj_ptrs_in_the_past_for_eval.
    """
    c, k = prompted_slots(bank), bank.frame.shape[1]
    recent = k - c - (stride > 1)
    selected = _closest(bank.frame[:, :c], frame, max_prompted)
    now, sign = frame[:, None], direction[:, None]

    chosen = jnp.pad(selected, ((0, 0), (0, k - c)))  # [n k]
    rank = _rank(bank.frame, now, sign, stride)
    valid = (bank.frame != EMPTY) & (chosen | ((rank >= 1) & (rank <= recent)))

    chosen_pointer = jnp.pad(selected, ((0, 0), (0, RECENT_POINTERS)))
    age = sign * (now - bank.pointer_frame)
    life = jnp.minimum(num_frames, RECENT_POINTERS + 1)[:, None] - 1
    from_prompt = age >= 0 if past_pointers else jnp.ones_like(chosen_pointer)
    lives = jnp.where(chosen_pointer, from_prompt, (age >= 1) & (age <= life))
    return Recall(
        valid=valid,
        time=jnp.where(chosen, recent, jnp.clip(rank - 1, 0, recent - 1)),
        pointer_valid=(bank.pointer_frame != EMPTY) & lives,
        pointer_age=age.astype(jnp.float32) / jnp.maximum(life, 1),
    )


def _rank(
    held: Int[Array, "n k"], now: Int[Array, "n 1"], sign: Int[Array, "n 1"], stride: int
) -> Int[Array, "n k"]:
    """Place of each frame among the recent ones: 1 just before; 0 or less, none."""
    age = sign * (now - held)
    if stride == 1:
        return age
    # The nearest multiple of the stride that is at least two frames back has rank 2.
    base = jnp.where(sign > 0, (now - 2) // stride * stride, -(-(now + 2) // stride) * stride)
    back = sign * (base - held)
    every = jnp.where((held % stride == 0) & (back >= 0), back // stride + 2, 0)
    return jnp.where(age == 1, 1, every)


def _closest(
    held: Int[Array, "n c"], frame: Int[Array, " n"], limit: int | None
) -> Bool[Array, "n c"]:
    """Up to `limit` of the held frames: the last before `frame`, the first from it on, the nearest.

    Upstream: sam2_utils.py, select_closest_cond_frames. Between two frames equally near, the one
    written first.
    """
    full = held != EMPTY
    if limit is None or held.shape[1] <= limit:
        return full
    now = frame[:, None]
    far = jnp.iinfo(jnp.int32).max
    before, after = full & (held < now), full & (held >= now)
    last = before & (held == jnp.where(before, held, EMPTY).max(1, keepdims=True))
    first = after & (held == jnp.where(after, held, far).min(1, keepdims=True))
    distance = jnp.where(last | first, -1, jnp.abs(held - now))
    distance = jnp.where(full, distance, far)
    place = jnp.argsort(jnp.argsort(distance, axis=1, stable=True), axis=1)
    return full & (place < limit)
