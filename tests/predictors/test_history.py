"""The bank made from the past on the host is the one that tracking would have carried there."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import memory as banks
from sam_jax.frame import TrackOptions
from sam_jax.predictors.history import Entry, ObjectMemory, state_at
from sam_jax.types import FrameMemory, MemoryBank, VideoState

DIM, POINTER, RECENT, SLOTS = 2, 4, 6, 4
_write = jax.jit(banks.write, static_argnames="stride")
_read = jax.jit(banks.read, static_argnames=("max_prompted", "stride"))


def empty(n: int, stride: int, num_frames: int = 40) -> VideoState:
    bank = banks.init_bank(
        n, prompted=SLOTS, recent=RECENT, grid=1, dim=DIM, pointer_dim=POINTER, stride=stride
    )
    zeros = jnp.zeros(n, jnp.int32)
    return VideoState(bank=bank, frame=zeros, direction=zeros + 1, num_frames=zeros + num_frames)


def entry(frame: int, i: int) -> Entry:
    """One that shows which frame and object it is of."""
    value = np.float32(frame + 100 * i)
    return Entry(
        logits=np.zeros((4, 4), np.float32),
        iou=0.5,
        object_logit=1.0,
        pointer=np.full(POINTER, value),
        features=np.asarray(jnp.full((1, 1, DIM), value, jnp.bfloat16)),
    )


def attended(bank: MemoryBank, frame: int, sign: int, stride: int) -> Iterator[tuple[set, set]]:
    """What a frame reads of each object: (frame, row of the time table, content) and pointers."""
    n = bank.frame.shape[0]
    now, signs, lengths = (jnp.full(n, x, jnp.int32) for x in (frame, sign, 40))
    found = jax.device_get(_read(bank, now, signs, lengths, stride=stride))
    bank = jax.device_get(bank)
    for i in range(n):
        yield (
            {
                (int(bank.frame[i, k]), int(found.time[i, k]), float(bank.features[i, k, 0, 0, 0]))
                for k in np.flatnonzero(found.valid[i])
            },
            {
                (int(bank.pointer_frame[i, q]), float(bank.pointers[i, q, 0]))
                for q in np.flatnonzero(found.pointer_valid[i])
            },
        )


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_equal_made_and_carried(stride: int, reverse: bool) -> None:
    """Two objects, prompted on different frames, at every frame of a long track."""
    options, sign = TrackOptions(stride=stride), -1 if reverse else 1
    start = 36 if reverse else 3
    order = [start + sign * i for i in range(30)]
    prompted = [{order[0], order[7]}, {order[0], order[1], order[16]}]
    state, memories = empty(2, stride), [ObjectMemory(), ObjectMemory()]
    bank, seen_any = state.bank, 0
    for frame in order:
        made = state_at(frame, memories, state, reverse=reverse, options=options)
        assert made.frame.tolist() == [frame] * 2 and made.direction.tolist() == [sign] * 2
        expected = list(attended(bank, frame, sign, stride))
        assert list(attended(made.bank, frame, sign, stride)) == expected
        assert made.bank.num_prompted.tolist() == bank.num_prompted.tolist()
        seen_any += len(expected[0][0])
        now = [entry(frame, i) for i in range(2)]
        asked = [frame in frames for frames in prompted]
        for memory, new, cond in zip(memories, now, asked, strict=True):
            (memory.cond if cond else memory.non_cond)[frame] = new
        written = FrameMemory(
            features=jnp.stack([e.features for e in now]),
            pointer=jnp.stack([e.pointer for e in now]),
        )
        at, always = jnp.full(2, frame, jnp.int32), jnp.ones(2, bool)
        bank = _write(bank, written, at, prompted=jnp.array(asked), keep=always, stride=stride)
    assert seen_any > 150


def test_slots_beyond_the_objects_stay_empty() -> None:
    memory = ObjectMemory(cond={2: entry(2, 0)}, non_cond={3: entry(3, 0)})
    made = state_at(4, [memory], empty(4, 1), reverse=False, options=TrackOptions())
    assert made.bank.num_prompted.tolist() == [1, 0, 0, 0]
    assert (made.bank.frame[1:] == banks.EMPTY).all()
    assert (made.bank.pointer_frame[1:] == banks.EMPTY).all()


def test_prompted_frames_ahead_are_in_the_bank_too() -> None:
    memory = ObjectMemory(cond={9: entry(9, 0)})
    made = state_at(4, [memory], empty(1, 1), reverse=False, options=TrackOptions())
    ((maps, pointers),) = attended(made.bank, 4, 1, 1)
    assert maps == {(9, RECENT, 9.0)} and pointers == set()


def test_only_the_latest_tracked_frames_are_kept() -> None:
    memory = ObjectMemory(cond={0: entry(0, 0)})
    for frame in (1, 2, 3, 4):
        memory.non_cond[frame] = entry(frame, 0)
        memory.keep_latest(2)
    assert list(memory.non_cond) == [3, 4] and list(memory.cond) == [0]
    memory.keep_latest(None)
    assert list(memory.non_cond) == [3, 4]
    memory.keep_latest(0)
    assert not memory.non_cond


def test_the_latest_answer_is_shown() -> None:
    old, tracked, corrected = (entry(5, i) for i in range(3))
    memory = ObjectMemory(cond={5: old})
    assert memory.shown(4, is_cond=True) is None
    assert memory.shown(5, is_cond=False) is old
    memory.non_cond[6] = tracked
    assert memory.shown(6, is_cond=True) is tracked
    memory.answered(6, corrected, is_cond=False)
    assert memory.shown(6, is_cond=True) is corrected
    assert memory.scores[6] == (0.5, 1.0)
