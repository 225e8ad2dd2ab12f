"""The camera face: objects come and go, memory and programs do not grow."""

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import sam_jax
from sam_jax import video
from sam_jax.frame import no_prompts
from sam_jax.io.videos import Video
from sam_jax.models import build
from sam_jax.predictors import stream as stream_module
from sam_jax.types import FrameInput, Model

CLICK = {"points": [[25, 25]], "labels": [1]}
BOX = {"box": [10, 12, 60, 50]}
CLICKS = {"points": [[50, 38], [17, 50]], "labels": [1, 0]}


def stream(model: Model, max_objects: int = 2, **settings: Any) -> sam_jax.Stream:
    return sam_jax.Stream(model, max_objects, **settings)


def play(tracking: sam_jax.Stream, frames: Any) -> Iterator[dict]:
    for frame in frames:
        yield tracking.step(frame)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:60, :80]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def assert_same(a: sam_jax.Tracked, b: sam_jax.Tracked) -> None:
    np.testing.assert_array_equal(a.logits, b.logits)
    assert (a.iou, a.object_logit) == (b.iou, b.object_logit)


# What it computes


def test_equal_stream_and_steps(tracker: Model, clip: np.ndarray) -> None:
    """A click, a second object later, a correction of the first."""
    tracking = stream(tracker)
    asks = {0: ("a", CLICK), 3: ("b", BOX), 5: ("a", CLICKS)}
    state, known = video.init_state(tracker, 2), set()
    for i, frame in enumerate(clip[:8]):
        points, labels = np.zeros((2, 4, 2), np.float32), np.full((2, 4), -2, np.int32)
        prompted, correcting = np.zeros(2, bool), np.zeros(2, bool)
        if i in asks:
            name, given = asks[i]
            tracking.add(name, **given)
            slot = "ab".index(name)
            xy = np.reshape(given.get("box", given.get("points")), (-1, 2)) * 96 / [80, 60]
            points[slot, : len(xy)] = xy
            labels[slot, : len(xy) + 1] = [*given.get("labels", [2, 3]), -1]
            prompted[slot], correcting[slot] = True, i == 5
            known.add(name)
        square = Video.to_model_input(frame, 96)
        prompts = no_prompts(2, 24).replace(points=points, labels=labels)
        now = FrameInput(video.jit_encode(tracker, square[None]), prompts, prompted, correcting)
        state, expected = video.jit_step(tracker, state, now, options=sam_jax.TrackOptions())
        found = tracking.step(frame)
        assert found.keys() == known
        for name, answer in found.items():
            slot = "ab".index(name)
            np.testing.assert_allclose(answer.logits, expected.logits[slot], atol=1e-4)
            np.testing.assert_allclose(answer.iou, expected.iou[slot], rtol=1e-5)
            np.testing.assert_allclose(answer.object_logit, expected.object_logit[slot], rtol=1e-5)


def test_answers_are_masks_at_the_frame_s_size_and_scores(tracker: Model, clip) -> None:
    tracking = stream(tracker)
    assert tracking.ids == [] and tracking.step(clip[0]) == {}
    tracking.add(("any", "hashable"), **CLICK)
    (answer,) = tracking.step(Image.fromarray(clip[1])).values()
    assert answer.mask.shape == (60, 80) and answer.mask.dtype == bool
    assert answer.logits.shape == (24, 24)
    assert answer.mask.mean() == pytest.approx((answer.logits > 0).mean(), abs=0.05)
    assert 0 <= answer.iou <= 1 and isinstance(answer.object_logit, float)
    assert repr(answer) == f"Tracked(iou={answer.iou:.3f}, object_logit={answer.object_logit:.2f})"
    assert tracking.frame == 2


def test_answers_stay_what_they_were(tracker: Model, clip) -> None:
    """They are read late, when the state they came from is long used up."""
    early, late = stream(tracker), stream(tracker)
    for tracking in (early, late):
        tracking.add(1, **CLICK)
    read_now = [early.step(frame)[1].logits for frame in clip[:5]]
    read_later = [late.step(frame)[1] for frame in clip[:5]]
    late.remove(1)
    for now, later in zip(read_now, read_later, strict=True):
        np.testing.assert_array_equal(now, later.logits)


def test_a_frame_can_come_with_what_the_model_sees_of_it(tracker: Model, clip) -> None:
    plain, given = stream(tracker), stream(tracker)
    for tracking in (plain, given):
        tracking.add(1, **CLICK)
    expected = plain.step(clip[0])[1]
    assert_same(given.step(clip[0], Video.to_model_input(clip[0], 96))[1], expected)
    other = stream(tracker)
    other.add(1, **CLICK)
    dark = other.step(clip[0], np.zeros((96, 96, 3), np.uint8))[1]
    assert abs(dark.logits - expected.logits).max() > 1e-2
    assert dark.mask.shape == (60, 80)


def test_a_second_prompt_for_the_same_frame_replaces_the_first(tracker: Model, clip) -> None:
    twice, once = stream(tracker), stream(tracker)
    twice.add(1, **BOX)
    for tracking in (twice, once):
        tracking.add(1, **CLICK)
    assert_same(twice.step(clip[0])[1], once.step(clip[0])[1])


def test_a_prompt_can_be_for_a_later_frame(tracker: Model, clip) -> None:
    ahead, now = stream(tracker), stream(tracker)
    ahead.add(1, **CLICK, frame=2)
    assert ahead.ids == [1]
    assert ahead.step(clip[0]) == {} and ahead.step(clip[1]) == {}
    list(play(now, clip[:2]))
    now.add(1, **CLICK)
    for frame in clip[2:5]:
        assert_same(ahead.step(frame)[1], now.step(frame)[1])


def test_clicks_correct_and_boxes_define_anew(tracker: Model, clip) -> None:
    """A box on a tracked object is answered as on a first frame, clicks in the light of memory."""
    answers = {}
    for name, prompt in {"click": CLICKS, "box": BOX}.items():
        tracked, fresh = stream(tracker), stream(tracker)
        tracked.add(1, **CLICK)
        list(play(tracked, clip[:3]))
        for tracking in (tracked, fresh):
            tracking.add(1, **prompt)
        answers[name] = tracked.step(clip[3])[1], fresh.step(clip[3])[1]
    assert_same(*answers["box"])
    corrected, first = answers["click"]
    assert abs(corrected.logits - first.logits).max() > 1e-2


def test_a_mask_is_given_while_another_object_is_tracked(tracker: Model, clip) -> None:
    tracking, alone = stream(tracker), stream(tracker)
    for each in (tracking, alone):
        each.add("tracked", **CLICK)
        list(play(each, clip[:2]))
    mask = disc(40, 30, 18)
    tracking.add("masked", mask=mask)
    answers, undisturbed = tracking.step(clip[2]), alone.step(clip[2])
    assert (answers["masked"].mask == mask).mean() > 0.97
    assert answers["masked"].iou == 1 and answers["masked"].object_logit == 10
    assert_same(answers["tracked"], undisturbed["tracked"])
    answers, undisturbed = tracking.step(clip[3]), alone.step(clip[3])
    assert_same(answers["tracked"], undisturbed["tracked"])
    assert answers["masked"].object_logit != 10 and answers["masked"].mask.any()
    tracking.add("masked", mask=np.zeros((60, 80)))  # 0 and 1 are a mask, too
    answer = tracking.step(clip[4])["masked"]
    assert answer.object_logit == -10 and not answer.mask.any()


def test_equal_joining_after_a_step_and_a_mask_before_it(tracker: Model, clip) -> None:
    """In a slot that another had, beside one that is tracked."""
    before, after = stream(tracker), stream(tracker)
    for each in (before, after):
        each.add("stays", **CLICK)
        each.add("goes", **BOX)
        list(play(each, clip[:2]))
        each.remove("goes")
    mask = disc(40, 30, 18)
    before.add("new", mask=mask)
    expected = before.step(clip[2])
    found = after.step(clip[2])
    assert found.keys() == {"stays"}
    found |= after.join({"new": mask})
    assert after.ids == ["stays", "new"] and after.frame == 3
    for frame in clip[3:6]:
        assert found.keys() == expected.keys()
        for name, answer in found.items():
            assert_same(answer, expected[name])
        found, expected = after.step(frame), before.step(frame)


def test_joining_needs_a_frame_a_new_name_and_a_mask(tracker: Model, clip) -> None:
    tracking = stream(tracker)
    mask = disc(40, 30, 18)
    with pytest.raises(ValueError, match="no frame yet: call step first"):
        tracking.join({1: mask})
    tracking.add(1, **CLICK)
    tracking.step(clip[0])
    assert tracking.join({}) == {}
    with pytest.raises(ValueError, match="object 1 is tracked already: add corrects it"):
        tracking.join({2: mask, 1: mask})
    with pytest.raises(ValueError, match=r"object 2: .*must have shape \[60, 80\]"):
        tracking.join({2: mask.T})
    assert tracking.ids == [1]


def test_removing_and_adding_leaves_the_others(tracker: Model, clip) -> None:
    busy, alone, late = stream(tracker), stream(tracker), stream(tracker)
    busy.add("stays", **CLICK)
    busy.add("goes", **BOX)
    alone.add("stays", **CLICK)
    for i, frame in enumerate(clip):
        if i == 4:
            busy.remove("goes")
        if i == 6:
            busy.add("comes", **CLICKS)
            late.add("comes", **CLICKS)
        answers, undisturbed = busy.step(frame), alone.step(frame)
        fresh = late.step(frame)
        present = {"stays"} | ({"goes"} if i < 4 else set()) | ({"comes"} if i >= 6 else set())
        assert answers.keys() == present
        assert_same(answers["stays"], undisturbed["stays"])
        if i >= 6:
            assert_same(answers["comes"], fresh["comes"])
    assert busy.ids == ["stays", "comes"]


def test_an_object_that_comes_back_under_its_name_is_a_new_one(tracker: Model, clip) -> None:
    again, fresh = stream(tracker), stream(tracker)
    again.add(1, **BOX)
    list(play(again, clip[:3]))
    list(play(fresh, clip[:3]))
    again.remove(1)
    again.add(1, **CLICK)
    fresh.add(1, **CLICK)
    for frame in clip[3:6]:
        assert_same(again.step(frame)[1], fresh.step(frame)[1])


def test_removing_takes_back_prompts_for_later_frames(tracker: Model, clip) -> None:
    tracking = stream(tracker)
    tracking.add(1, **CLICK, frame=1)
    tracking.remove(1)
    assert tracking.ids == []
    assert all(answers == {} for answers in play(tracking, clip[:3]))


# More than was asked for


def test_slots_grow_and_the_state_is_kept(tracker: Model, clip, caplog) -> None:
    small, large = stream(tracker, 1), stream(tracker, 2)
    for tracking in (small, large):
        tracking.add("a", **CLICK)
        list(play(tracking, clip[:3]))
    with caplog.at_level(logging.WARNING, "sam_jax"):
        large.add("b", **BOX)
        assert not caplog.records
        small.add("b", **BOX)
    (record,) = caplog.records
    assert record.getMessage() == "2 objects need 2 slots in place of 1: compiling again"
    for frame in clip[3:7]:
        found, expected = small.step(frame), large.step(frame)
        for name in "ab":
            # of "a", other programs made the first memories, which are rounded to bfloat16
            np.testing.assert_allclose(found[name].logits, expected[name].logits, atol=0.2)
            assert found[name].mask.any()


def test_ever_more_objects_never_run_out(tracker: Model) -> None:
    """Slots only, nothing is computed: the numbers of slots are those of the buckets."""
    tracking, sizes = stream(tracker, 3), set()
    for i in range(70):
        tracking.add(i, **CLICK, frame=5)
        sizes.add(tracking._state.frame.shape[0])
    assert sizes == {4, 8, 16, 32, 64, 128}
    assert len(set(tracking._slots.values())) == 70


# Few programs


def test_compile_of_a_long_session_is_that_of_a_short_one(
    tracker: Model, clip, compiled: Callable[[], Any]
) -> None:
    """Four programs; once each has run, nothing compiles that a user does, however small."""
    # Another name, that is another static argument: nothing is compiled for it yet.
    model = tracker.replace(module=build(replace(tracker.config, name="never seen")))
    programs = (video.jit_encode, video.jit_step, stream_module._prompt_masks, stream_module._reset)

    def session(rounds: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        tracking = stream(model)
        for i in range(rounds):
            count = 1 + i % 3
            xy = random.uniform(0, 60, (count, 2))
            tracking.add(i, points=xy, labels=random.integers(0, 2, count))
            tracking.step(clip[i % 12])
            tracking.add("mask", mask=disc(*random.uniform(5, 55, 2), 20))
            tracking.step(clip[1])
            tracking.add(i, **(BOX if i % 2 else CLICK))  # a correction, or anew
            for tracked in tracking.step(clip[2]).values():
                assert tracked.mask.shape == (60, 80)
            for name in (i, "mask"):
                tracking.remove(name)
            tracking.step(clip[3])

    before = [program._cache_size() for program in programs]
    session(1, 0)
    grown = [program._cache_size() - b for program, b in zip(programs, before, strict=True)]
    assert grown[:3] == [1, 1, 1] and grown[3] <= 1  # the reset knows no model
    with compiled() as count:
        session(7, 1)
        assert count() == 0
        jax.jit(lambda x: x + 1)(0)
        assert count() == 1  # the counter works


def test_compile_of_many_clicks_is_one_more_step_a_doubling(
    tracker: Model, clip, caplog, compiled: Callable[[], Any]
) -> None:
    tracking = stream(tracker, 1)
    tracking.add(1, **CLICK)
    tracking.step(clip[0])
    before, seen = video.jit_step._cache_size(), []
    with caplog.at_level(logging.WARNING, "sam_jax"):
        for i in range(1, 8):
            xy = np.random.default_rng(i).uniform(0, 60, (i, 2))
            tracking.add(1, points=xy, labels=np.ones(i, int))
            tracking.step(clip[i])
            seen.append(video.jit_step._cache_size() - before)
    assert seen == [0, 0, 0, 1, 1, 1, 1]  # with the closing token 4 slots hold 3 clicks, 8 hold 7
    assert [r.getMessage() for r in caplog.records] == ["4 points on one object: compiling again"]


# Constant memory


@pytest.mark.timeout(200)
def test_memory_is_that_of_the_first_frames(tracker: Model, clip) -> None:
    """Bytes on the device after 10 and after 2,000 frames, host memory after 200 and 2,000."""
    tracking = stream(tracker, 1)
    tracking.add(1, **CLICK)
    squares = [Video.to_model_input(frame, 96) for frame in clip]
    statm = Path("/proc/self/statm")
    on_device, objects, resident = {}, {}, {}
    for i in range(2001):
        answers = tracking.step(clip[i % 12], squares[i % 12])
        if i % 50 == 0 and i:
            tracking.add(1, **CLICK)  # prompted slots fill up and are used again
        if i in (10, 2000):
            jax.block_until_ready(tracking._state)
            gc.collect()
            on_device[i] = sum(x.nbytes for x in jax.live_arrays())
        if i in (200, 2000):
            gc.collect()
            objects[i] = len(gc.get_objects())
            if statm.exists():
                resident[i] = int(statm.read_text().split()[1]) * 4096
    assert answers[1].mask.shape == (60, 80)
    assert on_device[10] == on_device[2000]
    assert objects[2000] - objects[200] < 200  # fewer than one for nine frames
    if sys.platform == "linux":
        assert resident[2000] - resident[200] < 8e6


# Bad input


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "object 1: no prompt"),
        ({"points": [[5, 5]]}, "object 1: point_coords without point_labels"),
        ({"points": [[95, 5]], "labels": [1]}, r"object 1: .*\(95, 5\), outside .* 80 x 60"),
        ({"points": [[5, 5]], "labels": [9]}, "object 1: point_labels has 9"),
        ({"points": [["x", 5]], "labels": [1]}, "object 1: point_coords must be numbers"),
        ({"box": [50, 20, 10, 60]}, "object 1: box .* is empty or inverted"),
        ({"box": [[1, 2, 30, 40], [2, 3, 40, 50]]}, "object 1: 2 boxes or lists of points"),
        ({"mask": np.zeros((80, 60), bool)}, r"must have shape \[60, 80\].* got \[80, 60\]"),
        ({"mask": np.full((60, 80), 255)}, "hold only 0 and 1, got int.* from 255 to 255"),
        ({"mask": np.full((60, 80), 0.5)}, "hold only 0 and 1, got float64"),
        ({"mask": np.ones((60, 80), bool), **BOX}, "a mask says all"),
    ],
)
def test_bad_prompts_are_refused_and_change_nothing(
    tracker: Model, clip, prompt: dict, message: str
) -> None:
    """At once when the size of frames is known, else by `step`, which stays where it was."""
    tracking = stream(tracker)
    tracking.step(clip[0])
    with pytest.raises(ValueError, match=message):
        tracking.add(1, **prompt)
    assert tracking.ids == [] and tracking.step(clip[1]) == {}

    early = stream(tracker)
    early.add(0, **CLICK)
    with pytest.raises(ValueError, match=message):
        early.add(1, **prompt)
        early.step(clip[0])
    assert early.frame == 0
    early.add(1, **BOX)  # takes its place
    expected = stream(tracker)
    expected.add(0, **CLICK)
    expected.add(1, **BOX)
    found, expected = early.step(clip[0]), expected.step(clip[0])
    for i in (0, 1):
        assert_same(found[i], expected[i])


def test_frames_left_behind_are_refused(tracker: Model, clip) -> None:
    tracking = stream(tracker)
    list(play(tracking, clip[:3]))
    with pytest.raises(ValueError, match=r"frame 1 is left behind.*frame 3.*VideoPredictor can"):
        tracking.add(1, **CLICK, frame=1)
    assert tracking.ids == []


def test_unknown_objects_cannot_be_removed(tracker: Model) -> None:
    tracking = stream(tracker)
    tracking.add("a", **CLICK)
    with pytest.raises(ValueError, match=r"no object 'b' to remove; there are \['a'\]"):
        tracking.remove("b")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((50, 80, 3), np.uint8), "frame 2 is 80 x 50, those before were 80 x 60.*new Str"),
        (np.zeros((60, 80, 3), np.float32), "must be uint8"),
        (np.zeros((60, 80), np.uint8), "greyscale"),
        (np.zeros((2, 60, 80, 3), np.uint8), r"must be one \[h w 3\] array"),
    ],
)
def test_bad_frames_are_refused_and_change_nothing(
    tracker: Model, clip, frame: np.ndarray, message: str
) -> None:
    tracking, expected = stream(tracker), stream(tracker)
    for each in (tracking, expected):
        each.add(1, **CLICK)
        list(play(each, clip[:2]))
    with pytest.raises(ValueError, match=message):
        tracking.step(frame)
    assert tracking.frame == 2
    assert_same(tracking.step(clip[2])[1], expected.step(clip[2])[1])


def test_a_model_input_of_another_size_is_refused(tracker: Model, clip) -> None:
    tracking = stream(tracker)
    with pytest.raises(ValueError, match=r"\[b, 96, 96, 3\], got float32 \[1, 64, 64, 3\]"):
        tracking.step(clip[0], np.zeros((64, 64, 3), np.uint8))
    assert tracking.frame == 0
    assert tracking.step(np.zeros((30, 30, 3), np.uint8)) == {}  # no size was settled by it


@pytest.mark.parametrize("size", [0, -1])
def test_a_stream_of_no_objects_is_refused(tracker: Model, size: int) -> None:
    with pytest.raises(ValueError, match=f"max_objects must be at least 1, got {size}"):
        stream(tracker, size)
    with pytest.raises(ValueError, match="prompted must be at least 1, got 0"):
        stream(tracker, prompted_frames=0)


def test_a_mistake_in_one_prompt_loses_no_other(tracker: Model, clip) -> None:
    """A mask and a wrong click for one frame: nothing is done before all are checked."""
    tracking, expected = stream(tracker), stream(tracker)
    for each in (tracking, expected):
        each.add("mask", mask=disc(40, 30, 15))
    before = jax.tree.map(jnp.copy, tracking._state)
    tracking.add("wrong", points=[[500, 500]], labels=[1])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"object 'wrong': .*outside"):
            tracking.step(clip[0])
    jax.tree.map(np.testing.assert_array_equal, tracking._state, before)
    assert tracking.frame == 0 and tracking.ids == ["mask", "wrong"]
    tracking.remove("wrong")
    assert_same(tracking.step(clip[0])["mask"], expected.step(clip[0])["mask"])


def test_prompts_are_copied(tracker: Model, clip: np.ndarray) -> None:
    """Callers use their buffers again before the frame comes."""
    mask, reference = disc(40, 30, 15), stream(tracker)
    tracking, points = stream(tracker), np.array(CLICK["points"])
    for other in (tracking, reference):
        other.add("a", mask=mask if other is tracking else mask.copy())
        other.add("b", points=points if other is tracking else points.copy(), labels=[1])
        if other is tracking:
            mask[:], points[:] = False, 0
            mask, points = disc(40, 30, 15), np.array(CLICK["points"])
    found, expected = tracking.step(clip[0]), reference.step(clip[0])
    for name in "ab":
        assert_same(found[name], expected[name])


def test_no_prompt_at_all_is_refused_at_once(tracker: Model) -> None:
    with pytest.raises(ValueError, match="object 1: no prompt: give points with labels, a box or"):
        stream(tracker).add(1)
