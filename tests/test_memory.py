"""The bank against the dicts of the official tracker, over random histories."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_jax import memory as banks
from sam_jax.types import FrameMemory, MemoryBank

RECENT = 6
_write = jax.jit(banks.write, static_argnames="stride")
_read = jax.jit(banks.read, static_argnames=("max_prompted", "stride"))


@dataclass
class Dicts:
    """What upstream keeps of one object, and how it chooses from it (its own words in tests)."""

    prompted: dict[int, None] = field(default_factory=dict)
    tracked: dict[int, None] = field(default_factory=dict)

    def choose(
        self, frame: int, sign: int, num_frames: int, limit: int | None, stride: int
    ) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        """(frame, row of the time table) of maps, and (frame, age) of pointers."""
        chosen = self._nearest(frame, limit)
        loose = set(self.prompted) - chosen
        places = {f: RECENT for f in chosen}
        maps = set(places.items())
        for back in range(1, RECENT + 1):
            if back == 1:
                at = frame - sign
            elif sign > 0:
                at = (frame - 2) // stride * stride - (back - 2) * stride
            else:
                at = -(-(frame + 2) // stride) * stride + (back - 2) * stride
            if at in self.tracked or at in loose:
                maps.add((at, back - 1))
        pointers = {(f, sign * (frame - f)) for f in chosen if sign * (frame - f) >= 0}
        for age in range(1, min(num_frames, 16)):
            at = frame - sign * age
            if 0 <= at < num_frames and (at in self.tracked or at in loose):
                pointers.add((at, age))
        return maps, pointers

    def _nearest(self, frame: int, limit: int | None) -> set[int]:
        if limit is None or len(self.prompted) <= limit:
            return set(self.prompted)
        before = [f for f in self.prompted if f < frame]
        after = [f for f in self.prompted if f >= frame]
        chosen = {*([max(before)] if before else []), *([min(after)] if after else [])}
        rest = sorted((f for f in self.prompted if f not in chosen), key=lambda f: abs(f - frame))
        return chosen | set(rest[: limit - len(chosen)])


def empty(n: int, prompted: int, stride: int = 1) -> MemoryBank:
    return banks.init_bank(
        n, prompted=prompted, recent=RECENT, grid=1, dim=2, pointer_dim=4, stride=stride
    )


def memory_of(frames: list[int]) -> FrameMemory:
    """Memories that show which frame they are of."""
    value = np.array(frames, np.float32)
    return FrameMemory(
        features=jnp.asarray(np.tile(value[:, None, None, None], (1, 1, 1, 2)), jnp.bfloat16),
        pointer=jnp.asarray(np.tile(value[:, None], (1, 4))),
    )


def read(bank: MemoryBank, frame: int, sign: int, num_frames: int, **flags) -> Iterator[tuple]:
    """(maps, pointers) of each object as `Dicts.choose` returns them, with the contents checked."""
    n = bank.frame.shape[0]
    full = [jnp.full(n, x, jnp.int32) for x in (frame, sign, num_frames)]
    found = jax.device_get(_read(bank, *full, **flags))
    unit = max(min(num_frames, 16) - 1, 1)
    for i in range(n):
        maps = [
            (int(bank.frame[i, k]), int(found.time[i, k])) for k in np.flatnonzero(found.valid[i])
        ]
        slots = np.flatnonzero(found.pointer_valid[i])
        pointers = [
            (int(bank.pointer_frame[i, q]), round(float(found.pointer_age[i, q]) * unit))
            for q in slots
        ]
        assert len(set(maps)) == len(maps)
        assert len(set(pointers)) == len(pointers)
        held = np.asarray(bank.features[i, :, 0, 0, 0], np.float32)[found.valid[i]]
        np.testing.assert_array_equal(held, [f for f, _ in maps])
        np.testing.assert_array_equal(bank.pointers[i, slots, 0], [f for f, _ in pointers])
        yield set(maps), set(pointers)


# One frame: for each of two objects, whether it is prompted, and whether it takes part at all.
Schedule = list[list[tuple[bool, bool]]]
schedules = st.lists(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([True, True, False])), min_size=2, max_size=2
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60)
@given(
    schedule=schedules,
    sign=st.sampled_from([1, -1]),
    limit=st.sampled_from([None, 2, 3]),
    stride=st.sampled_from([1, 2, 3]),
)
def test_chooses_as_the_official_tracker(
    schedule: Schedule, sign: int, limit: int | None, stride: int
) -> None:
    """Forwards and backwards, prompted and tracked, each object its own history."""
    length = len(schedule)
    bank = empty(2, prompted=64, stride=stride)
    dicts = [Dicts(), Dicts()]
    order = range(length) if sign > 0 else range(length - 1, -1, -1)
    for frame, asked in zip(order, schedule, strict=True):
        found = read(bank, frame, sign, length, max_prompted=limit, stride=stride)
        for seen, official in zip(found, dicts, strict=True):
            assert seen == official.choose(frame, sign, length, limit, stride)
        prompted, keep = (jnp.array(column) for column in zip(*asked, strict=True))
        at = jnp.full(2, frame, jnp.int32)
        bank = _write(bank, memory_of([frame] * 2), at, prompted=prompted, keep=keep, stride=stride)
        for official, (is_prompted, kept) in zip(dicts, asked, strict=True):
            if kept:
                (official.prompted if is_prompted else official.tracked)[frame] = None


def test_prompted_frames_of_the_future_count_but_not_their_pointers() -> None:
    bank = empty(1, prompted=2)
    always = jnp.ones(1, bool)
    bank = _write(bank, memory_of([9]), jnp.array([9]), prompted=always, keep=always)
    ((maps, pointers),) = read(bank, 4, 1, 20)
    assert maps == {(9, RECENT)}
    assert pointers == set()
    ((_, pointers),) = read(bank, 4, -1, 20)  # backwards it is in the past
    assert pointers == {(9, 5)}


def test_when_prompted_slots_are_full_the_oldest_leaves() -> None:
    bank = empty(1, prompted=2)
    always = jnp.ones(1, bool)
    for frame in (0, 3, 5):
        bank = _write(bank, memory_of([frame]), jnp.array([frame]), prompted=always, keep=always)
    ((maps, _),) = read(bank, 6, 1, 20)
    assert maps == {(3, RECENT), (5, RECENT)}
    assert int(bank.num_prompted[0]) == 3


def test_a_second_prompt_on_a_frame_takes_the_place_of_the_first() -> None:
    bank = empty(1, prompted=3)
    always = jnp.ones(1, bool)
    for frame, value in ((0, 0), (4, 1), (4, 4)):
        bank = _write(bank, memory_of([value]), jnp.array([frame]), prompted=always, keep=always)
    ((maps, _),) = read(bank, 5, 1, 20)
    assert maps == {(0, RECENT), (4, RECENT)}
    assert int(bank.num_prompted[0]) == 2


@pytest.mark.parametrize("num_frames", [1, 2, 8, 16, 500])
def test_the_unit_of_pointer_ages_follows_the_length_of_the_video(num_frames: int) -> None:
    bank = empty(1, prompted=1)
    always = jnp.ones(1, bool)
    bank = _write(bank, memory_of([0]), jnp.array([0]), prompted=always, keep=always)
    one = jnp.array([1])
    found = _read(bank, one * 3, one, one * num_frames)
    expected = 3 / max(min(num_frames, 16) - 1, 1)
    np.testing.assert_allclose(found.pointer_age[0, 0], expected, rtol=1e-6)


def test_forgetting_one_object_leaves_the_others() -> None:
    bank = empty(2, prompted=2)
    always = jnp.ones(2, bool)
    bank = _write(bank, memory_of([0, 0]), jnp.zeros(2, int), prompted=always, keep=always)
    bank = banks.forget(bank, jnp.array([True, False]))
    (gone, _), (kept, _) = read(bank, 1, 1, 20)
    assert gone == set()
    assert kept == {(0, RECENT)}
    assert bank.num_prompted.tolist() == [0, 1]
