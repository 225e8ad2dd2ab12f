"""The editor's rules. That its numbers are the official ones, `python -m convert.verify` shows."""

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sam_jax
from sam_jax import video
from sam_jax.io.images import upsample_logits
from sam_jax.models import build
from sam_jax.predictors import editing
from sam_jax.predictors import propagation as predictor_module
from sam_jax.types import Model

CLICK = {"points": [[25, 25]], "labels": [1]}
OTHER = {"points": [[50, 38], [17, 50]], "labels": [1, 0]}
BOX = {"box": [10, 12, 60, 50]}
ABSENT = -1024.0


@pytest.fixture(scope="module")
def predictor(tracker: Model) -> sam_jax.VideoPredictor:
    return sam_jax.VideoPredictor(tracker)


@pytest.fixture
def make(tracker: Model, clip: np.ndarray) -> Callable[..., tuple]:
    """`make(*frames, **options)`: a predictor, and a session with object 1 clicked on there."""

    def make(*frames: int, **options: Any) -> tuple:
        predictor = sam_jax.VideoPredictor(tracker, **options)
        state = predictor.init_state(clip)
        for frame in frames:
            predictor.add_new_points_or_box(state, frame, 1, **CLICK)
        return predictor, state

    return make


def masks_by_frame(results: Iterator) -> dict[int, np.ndarray]:
    return {frame: masks for frame, _, masks in results}


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:60, :80]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def assert_same(a: dict[int, np.ndarray], b: dict[int, np.ndarray], atol: float = 0) -> None:
    assert list(a) == list(b)
    for frame, masks in a.items():
        np.testing.assert_allclose(masks, b[frame], atol=atol, err_msg=f"frame {frame}")


def distance(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> float:
    return max(float(abs(a[frame] - b[frame]).max()) for frame in a)


# What it computes


def test_equal_to_stream(tracker: Model, clip: np.ndarray) -> None:
    """Clicks and a box on the first frame; a second object on a later one."""
    predictor = sam_jax.VideoPredictor(tracker)
    stream = sam_jax.Stream(tracker, 2, num_frames=len(clip))
    state, later = predictor.init_state(clip), predictor.init_state(clip)
    predictor.add_new_points_or_box(state, 0, "a", **OTHER)
    predictor.add_new_points_or_box(later, 3, "b", **BOX)
    stream.add("a", **OTHER)
    stream.add("b", **BOX, frame=3)
    first = masks_by_frame(predictor.propagate_in_video(state))
    second = masks_by_frame(predictor.propagate_in_video(later))
    assert list(first) == list(range(12)) and list(second) == list(range(3, 12))
    for i, frame in enumerate(clip):
        answers = stream.step(frame)
        for name, session, masks in (("a", state, first), ("b", later, second)):
            assert (name in answers) == (i in masks)
            if i not in masks:
                continue
            found = upsample_logits(answers[name].logits, 60, 80)
            np.testing.assert_allclose(masks[i][0, 0], found, atol=0.2)
            assert ((masks[i][0, 0] > 0) == answers[name].mask).mean() > 0.995
            scores = predictor.scores(session, i)[name]
            assert scores["iou"] == pytest.approx(answers[name].iou, abs=1e-2)
            assert scores["object_logit"] == pytest.approx(answers[name].object_logit, abs=2e-2)


def test_results_are_those_of_the_official_predictor_in_kind(predictor, clip) -> None:
    state = predictor.init_state(clip)
    assert (state.num_frames, state.video_height, state.video_width) == (12, 60, 80)
    frame, ids, masks = predictor.add_new_points_or_box(state, 2, 7, **CLICK)
    assert (frame, ids) == (2, [7])
    assert masks.shape == (1, 1, 60, 80) and masks.dtype == np.float32
    _, ids, masks = predictor.add_new_points_or_box(state, 4, 5, **BOX)
    assert ids == [7, 5]  # in order of their adding
    assert (masks[0] == ABSENT).all() and (masks[1] > ABSENT).all()
    frames = []
    for frame, ids, masks in predictor.propagate_in_video(state):
        frames.append(frame)
        assert ids == [7, 5] and masks.shape == (2, 1, 60, 80)
        masks[:] = 0  # the caller's to change
    assert frames == list(range(2, 12))  # from the first prompted frame
    again = predictor.propagate_in_video(state, 6, 0)
    ((_, _, masks),) = again
    assert masks.any()


def test_each_object_gets_what_it_gets_alone(predictor, clip) -> None:
    together = predictor.init_state(clip)
    prompts = {("first",): (0, CLICK), 0: (0, BOX), "mask": (2, disc(40, 30, 18))}

    def prompt(state: Any, name: Any) -> None:
        frame, prompt = prompts[name]
        if isinstance(prompt, dict):
            predictor.add_new_points_or_box(state, frame, name, **prompt)
        else:
            predictor.add_new_mask(state, frame, name, prompt)

    for name in prompts:
        prompt(together, name)
    results = masks_by_frame(predictor.propagate_in_video(together, 0))
    for i, name in enumerate(prompts):
        state = predictor.init_state(clip)
        prompt(state, name)
        alone = masks_by_frame(predictor.propagate_in_video(state, 0))
        assert_same({k: v[i] for k, v in results.items()}, {k: v[0] for k, v in alone.items()}, 0.2)


def test_a_mask_is_the_answer_on_its_frame(predictor, clip) -> None:
    state, mask = predictor.init_state(clip), disc(40, 30, 18)
    _, _, masks = predictor.add_new_mask(state, 3, 1, mask)
    assert ((masks[0, 0] > 0) == mask).mean() > 0.97
    assert predictor.scores(state, 3) == {1: {"iou": 1.0, "object_logit": 10.0}}
    tracked = masks_by_frame(predictor.propagate_in_video(state))
    np.testing.assert_array_equal(tracked[3], masks)
    small = predictor.add_new_mask(state, 3, 2, mask[::2, ::2].astype(np.uint8))[2]  # of any size
    assert ((small[1, 0] > 0) == mask).mean() > 0.9
    _, _, masks = predictor.add_new_mask(state, 5, 3, np.zeros((60, 80), bool))
    assert (masks[2] < -9.9).all() and predictor.scores(state, 5)[3]["object_logit"] == -10


def test_clicks_can_be_given_one_by_one(predictor, clip) -> None:
    """Added to those before, or all again: the mask shown before is fed back in both cases."""
    pieces, whole = predictor.init_state(clip), predictor.init_state(clip)
    for state in (pieces, whole):
        predictor.add_new_points_or_box(state, 0, 1, points=[[50, 38]], labels=[1])
    added = {"points": [[17, 50]], "labels": [0], "clear_old_points": False}
    found = predictor.add_new_points_or_box(pieces, 0, 1, **added)[2]
    expected = predictor.add_new_points(whole, 0, 1, **OTHER)[2]  # the old name
    np.testing.assert_array_equal(found, expected)
    at_once = predictor.init_state(clip)
    plain = predictor.add_new_points_or_box(at_once, 0, 1, **OTHER)[2]
    assert abs(plain - expected).max() > 1e-2


def test_fractions_are_coordinates_too(predictor, clip) -> None:
    pixels, fractions = predictor.init_state(clip), predictor.init_state(clip)
    found = predictor.add_new_points_or_box(pixels, 0, 1, **BOX)[2]
    box = np.array([10, 12, 60, 50]) / [80, 60, 80, 60]
    other = predictor.add_new_points_or_box(fractions, 0, 1, box=box, normalize_coords=False)[2]
    np.testing.assert_allclose(found, other, atol=1e-4)


# Which frames


@pytest.mark.parametrize(
    ("start", "count", "reverse", "expected"),
    [
        (None, None, False, range(4, 12)),
        (None, None, True, range(4, -1, -1)),
        (2, 3, False, range(2, 6)),
        (6, 3, True, range(6, 2, -1)),
        (5, 0, False, [5]),
        (9, 50, False, [9, 10, 11]),
        (2, 50, True, [2, 1, 0]),
        (0, None, True, []),  # upstream: nothing lies before it
        (0, 1, False, [0, 1]),
    ],
)
def test_frames_visited(make, start, count, reverse, expected) -> None:
    predictor, state = make(4)
    order = predictor.propagate_in_video(state, start, count, reverse)
    assert [frame for frame, _, _ in order] == list(expected)


def test_backwards_is_forwards_of_the_mirrored_clip(tracker: Model, clip) -> None:
    predictor = sam_jax.VideoPredictor(tracker)
    results = []
    for frames, at, reverse in ((clip, 11, True), (clip[::-1], 0, False)):
        state = predictor.init_state(frames)
        predictor.add_new_points_or_box(state, at, 1, **CLICK)
        results.append([m for _, _, m in predictor.propagate_in_video(state, reverse=reverse)])
    np.testing.assert_allclose(*results, atol=1e-3)


def test_sources_of_all_kinds_are_the_same_video(predictor, clip) -> None:
    """Frames of a generator come once; they are kept at the model's size."""
    results = []
    for source in (clip, list(clip), iter(clip), (frame for frame in clip)):
        state = predictor.init_state(source)
        assert (state.num_frames, state.video_height, state.video_width) == (12, 60, 80)
        predictor.add_new_points_or_box(state, 5, 1, **CLICK)
        list(predictor.propagate_in_video(state, 5, 2))
        results.append(masks_by_frame(predictor.propagate_in_video(state, 5, 3, reverse=True)))
    for other in results[1:]:
        assert_same(results[0], other)


# Corrections


@pytest.mark.parametrize("keep", [True, False])
def test_a_correction_survives_the_next_propagation(make, keep: bool) -> None:
    """By default; with the official default it is lost when the frame is tracked again."""
    predictor, state = make(0, add_all_frames_to_correct_as_cond=keep)
    before = masks_by_frame(predictor.propagate_in_video(state))
    _, _, corrected = predictor.add_new_points_or_box(state, 6, 1, **OTHER)
    assert abs(corrected - before[6]).max() > 1e-2
    after = masks_by_frame(predictor.propagate_in_video(state))
    if keep:
        np.testing.assert_array_equal(after[6], corrected)
        assert distance(after, before) > 1e-2
    else:
        assert_same(after, before)


def test_a_lost_correction_still_changes_what_follows_it(make) -> None:
    """Propagating on from the next frame: it is one of the recent ones."""
    predictor, state = make(0, add_all_frames_to_correct_as_cond=False)
    before = masks_by_frame(predictor.propagate_in_video(state))
    predictor.add_new_points_or_box(state, 6, 1, **OTHER)
    after = masks_by_frame(predictor.propagate_in_video(state, 7))
    assert distance(after, before) > 1e-2


def test_a_correction_knows_the_memory_and_the_mask_shown(make) -> None:
    """The same click on a frame not visited yet is answered without both."""
    predictor, state = make(0)
    fresh = predictor.add_new_points_or_box(state, 5, 2, **OTHER)[2][1]
    predictor.remove_object(state, 2)
    list(predictor.propagate_in_video(state))
    click = predictor.add_new_points_or_box(state, 5, 1, **OTHER)[2][0]
    assert abs(click - fresh).max() > 1e-2
    # the second answer sees the first; the memory is the same
    again = predictor.add_new_points_or_box(state, 5, 1, **OTHER)[2][0]
    assert abs(click - again).max() > 1e-3


def test_many_clicks_read_the_memory_once(make, monkeypatch) -> None:
    predictor, state = make(0)
    list(predictor.propagate_in_video(state, 0, 3))
    read, really_see = [], editing.see
    monkeypatch.setattr(editing, "see", lambda *x: read.append(1) or really_see(*x))
    for count in (1, 2, 3):
        points = np.full((count, 2), 30)
        predictor.add_new_points_or_box(state, 2, 1, points=points, labels=[1] * count)
    assert len(read) == 1
    predictor.add_new_points_or_box(state, 3, 1, **CLICK)
    list(predictor.propagate_in_video(state, 0, 3))  # and the memory is another one
    predictor.add_new_points_or_box(state, 3, 1, **CLICK)
    assert len(read) == 3


def test_prompts_between_two_propagations(make, clip) -> None:
    """An object added late is tracked from then on, and changes nothing for the first."""
    predictor, state = make(0)
    first = masks_by_frame(predictor.propagate_in_video(state))
    _, ids, masks = predictor.add_new_points_or_box(state, 5, "late", **BOX)
    assert ids == [1, "late"]
    np.testing.assert_array_equal(masks[0], first[5][0])  # the other's mask is shown with it
    second = masks_by_frame(predictor.propagate_in_video(state, 5))
    assert_same(
        {k: v[0] for k, v in second.items()}, {k: v[0] for k, v in first.items() if k >= 5}, 0.2
    )
    np.testing.assert_array_equal(second[5][1], masks[1])


def test_leaving_a_propagation_early_is_no_harm(make) -> None:
    threads = threading.active_count()
    predictor, state = make(0)
    _, whole = make(0)
    expected = masks_by_frame(predictor.propagate_in_video(whole))
    for frame, _, _ in predictor.propagate_in_video(state):
        if frame == 3:
            break
    memory = state.memories[1]
    assert set(memory.tracked) == {0, 1, 2, 3} and set(memory.non_cond) == {1, 2, 3}
    predictor.scores(state, 3)
    assert predictor.scores(state, 4) == {}
    rest = masks_by_frame(predictor.propagate_in_video(state, 4))  # goes on where it stopped
    assert_same(rest, {k: v for k, v in expected.items() if k >= 4}, 1e-4)
    assert_same(masks_by_frame(predictor.propagate_in_video(state)), expected)
    assert threading.active_count() <= threads


def test_a_prompt_while_a_propagation_is_paused(make) -> None:
    """It is for the next propagation: the one under way ends as it began."""
    predictor, state = make(0)
    under_way = predictor.propagate_in_video(state)
    seen = dict(itertools.islice(((f, m) for f, _, m in under_way), 4))
    _, _, corrected = predictor.add_new_points_or_box(state, 2, 1, **OTHER)
    predictor.add_new_points_or_box(state, 3, 2, **BOX)
    rest = [(frame, ids) for frame, ids, _ in under_way]
    assert rest == [(frame, [1]) for frame in range(4, 12)] and len(seen) == 4
    after = masks_by_frame(predictor.propagate_in_video(state))
    assert after[2].shape == (2, 1, 60, 80)
    np.testing.assert_array_equal(after[2][0], corrected[0])


@pytest.mark.parametrize("limit", [0, 3, None])
def test_how_much_of_the_past_is_kept(make, limit: int | None) -> None:
    """What is tracked does not depend on it, what a correction knows does."""
    predictor, state = make(0, max_history=limit)
    _, reference = make(0)
    results = masks_by_frame(predictor.propagate_in_video(state))
    unlimited = sam_jax.VideoPredictor(predictor.model)
    assert_same(results, masks_by_frame(unlimited.propagate_in_video(reference)))
    kept = {0: [], 3: [9, 10, 11], None: list(range(1, 12))}[limit]
    assert list(state.memories[1].non_cond) == kept
    assert set(predictor.scores(state, 5)) == {1}  # scores of all frames remain
    found = predictor.add_new_points_or_box(state, 6, 1, **OTHER)[2]
    expected = unlimited.add_new_points_or_box(reference, 6, 1, **OTHER)[2]
    assert (abs(found - expected).max() > 1e-3) == (limit is not None)
    list(predictor.propagate_in_video(state))


def test_the_objects_of_a_propagation_are_those_of_the_call(make) -> None:
    predictor, state = make(0)
    _, alone = make(0)
    expected = masks_by_frame(predictor.propagate_in_video(alone))
    running = predictor.propagate_in_video(state)
    predictor.add_new_points_or_box(state, 3, 2, **OTHER)  # before it begins
    found = [next(running), next(running)]
    predictor.remove_object(state, 1)
    found += running
    assert all(ids == [1] for _, ids, _ in found)
    assert_same(masks_by_frame(found), expected)
    assert state.obj_ids == [2] and not state.memories[2].non_cond
    resumed = predictor.propagate_in_video(state)
    predictor.reset_state(state)
    assert next(ids for _, ids, _ in resumed) == [2]


def test_a_prompt_taken_back_on_the_way(make) -> None:
    """Frame 3 is under way when its prompt goes; its mask stays."""
    predictor, state = make(0, 3)
    found = {}
    for frame, _, masks in predictor.propagate_in_video(state):
        found[frame] = masks
        if frame == 2:
            shown = predictor.clear_all_prompts_in_frame(state, 3, 1)[2]
    np.testing.assert_array_equal(found[3], shown)
    assert abs(found[3]).max() < -ABSENT


# Taking back


def test_clearing_the_prompts_of_a_frame(make) -> None:
    predictor, state = make(0, 4)
    list(predictor.propagate_in_video(state))
    shown = predictor.add_new_points_or_box(state, 4, 1, **OTHER)[2]
    frame, ids, masks = predictor.clear_all_prompts_in_frame(state, 4, 1)
    assert (frame, ids) == (4, [1])
    assert abs(masks - shown).max() > 1e-2  # the pending answer is gone, the earlier mask stays
    assert list(state.memories[1].cond) == [0] and 4 in state.memories[1].non_cond
    kept = state.memories[1].non_cond[4]
    assert predictor.scores(state, 4)[1] == {"iou": kept.iou, "object_logit": kept.object_logit}
    after = masks_by_frame(predictor.propagate_in_video(state))
    _, single = make(0)
    assert_same(after, masks_by_frame(predictor.propagate_in_video(single)))
    assert predictor.clear_all_prompts_in_frame(state, 0, 1, need_output=False) is None
    with pytest.raises(RuntimeError, match="object 1 has no prompt: give it one, or call remove_"):
        predictor.propagate_in_video(state)


def test_removing_an_object_shows_its_frames_without_it(make) -> None:
    predictor, state = make(0)
    predictor.add_new_points_or_box(state, 2, "gone", **BOX)
    predictor.add_new_mask(state, 7, "gone", disc(40, 30, 18))
    results = masks_by_frame(predictor.propagate_in_video(state))
    ids, changed = predictor.remove_object(state, "gone")
    assert ids == [1] and [frame for frame, _ in changed] == [2, 7]
    for frame, masks in changed:
        np.testing.assert_array_equal(masks, results[frame][:1])
    _, single = make(0)
    alone = masks_by_frame(predictor.propagate_in_video(single))
    assert_same(masks_by_frame(predictor.propagate_in_video(state)), alone)
    assert predictor.remove_object(state, "gone") == ([1], [])
    with pytest.raises(RuntimeError, match=r"no object 'gone' to remove; there are \[1\]"):
        predictor.remove_object(state, "gone", strict=True)
    predictor.add_new_points_or_box(state, 3, 2, **BOX)
    assert predictor.remove_object(state, 2, need_output=False) == ([1], [])
    assert predictor.remove_object(state, 1) == ([], [])
    with pytest.raises(RuntimeError, match="nothing to track: prompt an object first"):
        predictor.propagate_in_video(state)


def test_reset_forgets_all(make) -> None:
    predictor, state = make(0)
    first = masks_by_frame(predictor.propagate_in_video(state))
    predictor.reset_state(state)
    assert state.obj_ids == [] and predictor.scores(state, 0) == {}
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    assert_same(masks_by_frame(predictor.propagate_in_video(state)), first)


def test_masks_that_do_not_overlap(make) -> None:
    results = []
    for apart in (False, True):
        predictor, state = make(0, non_overlap_masks=apart)
        predictor.add_new_points_or_box(state, 0, 2, **BOX)
        results.append(masks_by_frame(predictor.propagate_in_video(state, 0, 5)))
    overlapping, apart = results
    assert any((m > 0).all(0).any() for m in overlapping.values())
    for frame, masks in apart.items():
        assert not (masks > 0).all(0).any()
        # where an object is the strongest nothing changes, elsewhere it is pushed down
        before = overlapping[frame]
        best = before.argmax(0)[None] == np.arange(2)[:, None, None, None]
        np.testing.assert_array_equal(masks[best], before[best])
        assert (masks[~best] <= -10).all()


def test_any_hashable_is_a_name(predictor, clip) -> None:
    names = [0, "0", (1, "a"), frozenset({2}), None]
    state = predictor.init_state(clip)
    for name in names:
        _, ids, masks = predictor.add_new_points_or_box(state, 0, name, **CLICK)
    assert ids == names and masks.shape[0] == 5
    assert list(predictor.scores(state, 0)) == names


# Few programs


def test_compile_of_many_clicks_objects_and_directions(tracker: Model, clip) -> None:
    """What the class's docstring says, for up to 20 clicks on up to 12 frames."""
    model = tracker.replace(module=build(replace(tracker.config, name="never clicked on")))
    predictor = sam_jax.VideoPredictor(model)
    parts = {
        "encoder": video.jit_encode,
        "first look": editing.see_plain,
        "look": editing.see,
        "decoder": editing.decode,
        "mask": editing.answer_mask,
        "memory": editing.remember,
        "step": predictor_module._step,
    }
    before = {name: part._cache_size() for name, part in parts.items()}

    def compiled() -> dict[str, int]:
        found = {name: part._cache_size() - before[name] for name, part in parts.items()}
        return {name: count for name, count in found.items() if count}

    state, random = predictor.init_state(clip), np.random.default_rng(0)

    def click(frame: int, obj: Any, count: int) -> None:
        points, labels = random.uniform(0, 60, (count, 2)), random.integers(0, 2, count)
        predictor.add_new_points_or_box(state, frame, obj, points=points, labels=labels)

    for frame in range(12):  # 1 to 20 clicks on different frames
        click(frame, 1, 1 + frame)
    for count in (13, 15, 20):
        click(3, 1, count)
    once = {"encoder": 1, "first look": 1}
    assert compiled() == once | {"decoder": 5}  # 2, 4, 8, 16 and 32 points
    list(predictor.propagate_in_video(state, 0, 2))
    list(predictor.propagate_in_video(state, 7, 3, reverse=True))
    click(2, 1, 2)  # a correction
    list(predictor.propagate_in_video(state, 2, 2))
    tracked = once | {"decoder": 5, "look": 1, "memory": 1}
    assert compiled() == tracked  # all frames are prompted: there is nothing to track

    for frame in range(8, 12):
        predictor.clear_all_prompts_in_frame(state, frame, 1, need_output=False)
    for start, reverse in ((7, False), (11, True)):
        list(predictor.propagate_in_video(state, start, reverse=reverse))
    assert compiled() == tracked | {"step": 1, "look": 1}  # 8 prompted frames
    predictor.add_new_mask(state, 9, 2, disc(40, 30, 18))
    list(predictor.propagate_in_video(state))
    assert compiled() == tracked | {"step": 2, "mask": 1}  # two objects
    for i in range(4):
        predictor.remove_object(state, 2)
        click(i, 2, 3)
        list(predictor.propagate_in_video(state, 8, 1))
    assert compiled() == tracked | {"step": 2, "mask": 1}


# Bad input


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("add_new_points_or_box", (1, [[5, 5]], [1])),
        ("add_new_mask", (1, np.ones((60, 80), bool))),
        ("clear_all_prompts_in_frame", (1,)),
        ("scores", ()),
        ("propagate_in_video", ()),
    ],
)
@pytest.mark.parametrize("frame", [-1, 12])
def test_frames_out_of_range_are_refused(make, method: str, arguments: tuple, frame: int) -> None:
    predictor, state = make(0)
    with pytest.raises(ValueError, match=f"frame_idx {frame} is not in the video, .* 0 to 11"):
        getattr(predictor, method)(state, frame, *arguments)
    assert list(state.memories[1].points) == [0] and state.obj_ids == [1]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "no prompt"),
        ({"points": [[5, 5]]}, "point_coords without point_labels"),
        ({"labels": [1]}, "point_labels without point_coords"),
        ({"points": [[5, 70]], "labels": [1]}, r"\(5, 70\), outside .* 80 x 60"),
        ({"points": [[5, 5]], "labels": [1, 1]}, r"must have shape \(1,\)"),
        ({"points": [[5, 5]], "labels": [5]}, "point_labels has 5"),
        ({"points": [[np.nan, 5]], "labels": [1]}, "NaN or infinite"),
        ({"points": [["x", 5]], "labels": [1]}, "must be numbers"),
        ({"points": [[[5, 5]], [[6, 6]]], "labels": [[1], [1]]}, "2 objects in one call: call on"),
        ({"box": [60, 50, 10, 12]}, "empty or inverted"),
        ({"box": [[1, 2, 30, 40], [5, 6, 30, 40]]}, "2 objects in one call: call once for each"),
        ({"box": [1, 2, 30, 40], "clear_old_points": False}, "clear_old_points=True, which repl"),
    ],
)
def test_bad_prompts_are_refused_and_change_nothing(make, prompt: dict, message: str) -> None:
    predictor, state = make(0)
    with pytest.raises(ValueError, match=message):
        predictor.add_new_points_or_box(state, 3, 2, **prompt)
    with pytest.raises(ValueError, match=message):
        predictor.add_new_points_or_box(state, 0, 1, **prompt)
    assert state.obj_ids == [1]
    _, same = make(0)
    expected = masks_by_frame(predictor.propagate_in_video(same, 0, 2))
    assert_same(masks_by_frame(predictor.propagate_in_video(state, 0, 2)), expected)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((60, 80, 1), bool), r"must have shape \[h, w\], got \[60, 80, 1\]"),
        (np.ones((0, 80), bool), r"got \[0, 80\]"),
        (np.full((60, 80), 255, np.uint8), "hold only 0 and 1, got uint8 from 255 to 255"),
        (np.full((60, 80), np.nan), "hold only 0 and 1, got float64"),
    ],
)
def test_bad_masks_are_refused_and_change_nothing(make, mask: np.ndarray, message: str) -> None:
    predictor, state = make(0)
    with pytest.raises(ValueError, match=message):
        predictor.add_new_mask(state, 2, 2, mask)
    assert state.obj_ids == [1]


def test_calls_out_of_order(make) -> None:
    predictor, state = make()
    with pytest.raises(RuntimeError, match="nothing to track: prompt an object first"):
        predictor.propagate_in_video(state)
    with pytest.raises(ValueError, match=r"no object 3; there are \[\]"):
        predictor.clear_all_prompts_in_frame(state, 0, 3)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    with pytest.raises(ValueError, match="max_frame_num_to_track must not be negative, got -1"):
        predictor.propagate_in_video(state, 0, -1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_history": -1}, "max_history must be None or at least 0, got -1"),
        ({"max_cond_frames_in_attn": 1}, "max_cond_frames_in_attn must be -1"),
        ({"memory_temporal_stride_for_eval": 0}, "stride_for_eval must be at least 1, got 0"),
        ({"fill_hole_area": -8}, "fill_hole_area must not be negative, got -8"),
    ],
)
def test_options_that_mean_nothing_are_refused(tracker, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sam_jax.VideoPredictor(tracker, **options)


def test_a_frame_that_cannot_be_read_leaves_no_half_an_object(predictor, clip) -> None:
    frames = [*clip[:3], np.zeros((50, 80, 3), np.uint8), *clip[4:]]
    state = predictor.init_state(frames)
    with pytest.raises(ValueError, match="frame 3 of the list of frames has 80 x 50 pixels"):
        predictor.add_new_points_or_box(state, 3, 1, **CLICK)
    with pytest.raises(ValueError, match="frame 3"):
        predictor.add_new_mask(state, 3, 1, np.ones((60, 80), bool))
    assert state.obj_ids == []
    predictor.add_new_points_or_box(state, 1, 1, **CLICK)
    seen = []
    with pytest.raises(ValueError, match="frame 3 of the list of frames has 80 x 50 pixels"):
        seen.extend(frame for frame, _, _ in predictor.propagate_in_video(state))
    _, whole = predictor, predictor.init_state(clip)
    predictor.add_new_points_or_box(whole, 1, 1, **CLICK)
    again = masks_by_frame(predictor.propagate_in_video(state, 1, 1))
    assert_same(again, masks_by_frame(predictor.propagate_in_video(whole, 1, 1)))


@pytest.mark.parametrize("frame", [1.0, 0.5, "0", None])
def test_frames_have_whole_numbers(make, frame: Any) -> None:
    _, state = make()
    with pytest.raises(TypeError, match="integer"):
        state.check_frame(frame)


def test_scores_of_a_prompt_taken_back_are_gone(make) -> None:
    predictor, state = make(0)
    assert 1 in predictor.scores(state, 0)
    predictor.clear_all_prompts_in_frame(state, 0, 1)
    assert predictor.scores(state, 0) == {}


def test_a_camera_has_no_end(predictor) -> None:
    with pytest.raises(ValueError, match=r"camera 0 has no end: sam_jax\.Stream"):
        predictor.init_state(0)


def test_nothing_asked_is_refused_in_its_own_words(make) -> None:
    predictor, state = make()
    with pytest.raises(ValueError, match="no prompt: give points with labels, or a box"):
        predictor.add_new_points_or_box(state, 0, 1)
