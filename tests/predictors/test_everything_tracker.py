"""Objects that are found, tracked, lost and found again, on a scene of plain shapes."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw

import sam_jax
from sam_jax import video
from sam_jax.models import build
from sam_jax.predictors import everything_tracker as tracker_module
from sam_jax.predictors import search as search_module
from sam_jax.predictors import stream as stream_module
from sam_jax.types import Model

LOOK: dict[str, Any] = {
    "points_per_side": 8,
    "pred_iou_thresh": 0.77,
    "stability_score_thresh": 0.7,
    "max_candidates": 64,
}
EVERY = 4
RED, BLUE, WHITE = (220, 40, 40), (40, 60, 220), (240, 240, 240)


@pytest.fixture(scope="module")
def model() -> Model:
    """The shipped one, which hardly ever calls an object absent, made strict about that."""
    nano = sam_jax.load("sam2.1-hiera-nano")

    def stricter(keys: Any, leaf: Any) -> Any:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        return leaf - 3 if path.endswith("pred_obj_score_head/layers_2/bias") else leaf

    return nano.replace(params=jax.tree_util.tree_map_with_path(stricter, nano.params))


@pytest.fixture(scope="module")
def generator(model: Model) -> sam_jax.AutomaticMaskGenerator:
    return sam_jax.AutomaticMaskGenerator(model, **LOOK)


def scene(number: int) -> np.ndarray:
    """A red disc that sinks, a blue square until frame 3, a white oblong from frame 9 on."""
    picture = Image.new("RGB", (192, 144), (90, 110, 90))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((10, 10 + 2 * number, 60, 60 + 2 * number), fill=RED)
    if number < 4:
        draw.rectangle((130, 80, 180, 130), fill=BLUE)
    if number >= 9:
        draw.rectangle((120, 10, 180, 60), fill=WHITE)
    return np.array(picture)


def overlap(mask: np.ndarray, pixels: np.ndarray) -> float:
    """IoU."""
    return np.count_nonzero(mask & pixels) / np.count_nonzero(mask | pixels)


def coloured(frame: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (frame == colour).all(-1)


def _red_and_blue(answers: dict[int, Any], frame: np.ndarray) -> tuple[int, int]:
    """Numbers 1 and 2: which is which depends on what the model is surer of."""
    red = max(answers, key=lambda i: overlap(answers[i].mask, coloured(frame, RED)))
    return red, 3 - red


def test_a_life_of_three_objects(generator, monkeypatch) -> None:
    """Found once, tracked, retired; the slot is used again, the number is not."""
    looks: list[tuple[int, int]] = []  # points asked for and masks found, at each look

    def watched(*args: Any) -> Any:
        found = search_module.search_encoded(*args)
        looks.append((np.count_nonzero(args[2]), len(found)))
        return found

    monkeypatch.setattr(tracker_module, "search_encoded", watched)
    tracker = sam_jax.EverythingTracker(generator, every=EVERY, max_objects=2, retire_after=3)
    slots: dict[int, set[int]] = {}
    for number in range(14):
        frame = scene(number)
        answers = tracker.step(frame)
        for obj_id, slot in tracker._stream._slots.items():
            slots.setdefault(obj_id, set()).add(slot)
        if number == 0:
            red, blue = _red_and_blue(answers, frame)
        # Until frame 6, on which it has been away for three.
        there = {red} if number >= 7 else {red, blue}
        white = {3} if number >= 12 else set()  # from the look after it came
        assert answers.keys() == there | white
        assert overlap(answers[red].mask, coloured(frame, RED)) > 0.75
        if number < 4:
            assert overlap(answers[blue].mask, coloured(frame, BLUE)) > 0.85
        elif blue in answers:
            assert not answers[blue].mask.any()
        if 3 in answers:
            assert overlap(answers[3].mask, coloured(frame, WHITE)) > 0.75
    assert slots == {1: {0}, 2: {1}, 3: slots[blue]}
    span = tracker_module.ObjectSpan
    assert tracker.objects == {
        blue: span(0, 3, retired=True),
        red: span(0, 13),
        3: span(12, 13),
    }
    assert len(looks) == 4 and looks[0][0] == 0 and all(covered > 1000 for covered, _ in looks[1:])
    assert looks[1][1] == looks[2][1] == 0  # red is there and is not found again


def test_points_on_tracked_objects_are_not_asked(generator, model) -> None:
    frame = scene(0)
    features = video.jit_encode(model, sam_jax.io.videos.Video.to_model_input(frame, 256)[None])
    options = generator.options
    nothing = np.zeros(frame.shape[:2], bool)
    everywhere = search_module.search_encoded(model, features, nothing, options, "it")
    assert len(everywhere) == 2
    for colour in (RED, BLUE):
        covered = coloured(frame, colour)
        (other,) = search_module.search_encoded(model, features, covered, options, "it")
        assert overlap(other.mask(model.config, 0), covered) == 0
    assert search_module.search_encoded(model, features, ~nothing, options, "it") == []


def test_equal_to_a_stream_with_masks_at_the_right_moments(generator, model, monkeypatch) -> None:
    """Exactly, although the objects came after the step."""
    found: dict[int, dict[int, np.ndarray]] = {}  # by frame
    join = sam_jax.Stream.join

    def watched(stream: sam_jax.Stream, masks: dict[int, np.ndarray]) -> Any:
        found[stream.frame - 1] = masks
        return join(stream, masks)

    monkeypatch.setattr(sam_jax.Stream, "join", watched)
    tracker = sam_jax.EverythingTracker(generator, every=EVERY, max_objects=2, retire_after=3)
    by_hand = sam_jax.Stream(model, 2, prompted_frames=1)
    for number in range(14):
        answers = tracker.step(scene(number))
        for obj_id, mask in found.get(number, {}).items():
            by_hand.add(obj_id, mask=mask)
        if number == 0:
            _, blue = _red_and_blue(answers, scene(number))
        if number == 7:
            by_hand.remove(blue)
        expected = by_hand.step(scene(number))
        assert expected.keys() == answers.keys()
        for obj_id, tracked in expected.items():
            np.testing.assert_array_equal(tracked.logits, answers[obj_id].logits)
            assert tracked.object_logit == answers[obj_id].object_logit
    assert [list(masks) for masks in found.values()] == [[1, 2], [], [], [3]]


def test_the_best_stay_when_there_is_no_room(generator) -> None:
    tracker = sam_jax.EverythingTracker(generator, max_objects=1)
    with pytest.warns(UserWarning, match=r"frame 0: 1 more new objects.*raise max_objects \(1\)"):
        (tracked,) = tracker.step(scene(0)).values()
    assert tracker.left_out == 1
    records = generator.generate(scene(0))
    assert overlap(tracked.mask, records[0]["segmentation"]) > 0.9
    assert records[0]["predicted_iou"] > records[1]["predicted_iou"]


def test_a_mask_mostly_of_other_objects_is_no_new_object(generator, monkeypatch) -> None:
    """Parts of an object, and what is hardly more than it; unless less is asked for."""
    whole, part, more, half = np.zeros((4, 144, 192), bool)
    whole[10:50, 10:50] = True
    part[20:30, 20:30] = True
    more[10:50, 10:80] = True  # 30 of 70 columns are new
    half[10:50, 30:70] = True  # 20 of 40

    class Found:
        def __init__(self, mask: np.ndarray) -> None:
            self._mask = mask

        def mask(self, config: Any, threshold: float) -> np.ndarray:
            return self._mask

    for share, expected in ((0.5, [whole, half]), (0.4, [whole, more]), (1, [whole])):
        answers = [Found(mask) for mask in (whole, part, more, half)]
        monkeypatch.setattr(tracker_module, "search_encoded", lambda *_, found=answers: found)
        tracker = sam_jax.EverythingTracker(generator, max_objects=4, min_uncovered=share)
        found = tracker.step(scene(0))
        assert list(found) == list(range(1, len(expected) + 1))
        for tracked, mask in zip(found.values(), expected, strict=True):
            assert overlap(tracked.mask, mask) > 0.9


def test_nothing_to_find_is_no_error(generator) -> None:
    tracker = sam_jax.EverythingTracker(generator, every=2)
    for _ in range(4):
        assert tracker.step(np.zeros((60, 80, 3), np.uint8)) == {}
    assert tracker.objects == {} and tracker.left_out == 0 and tracker.frame == 4


def test_compile_of_a_long_video_is_that_of_a_short_one(
    model: Model, compiled: Callable[[], Any]
) -> None:
    fresh = model.replace(module=build(replace(model.config, name="never seen by the tracker")))
    generator = sam_jax.AutomaticMaskGenerator(fresh, **LOOK)
    programs = (
        video.jit_encode,
        video.jit_step,
        stream_module._prompt_masks,
        search_module._find,
        search_module._encode,
    )

    def session(frames: range) -> int:
        tracker = sam_jax.EverythingTracker(generator, every=2, max_objects=2, retire_after=2)
        for number in frames:
            for tracked in tracker.step(scene(number)).values():
                assert tracked.mask.shape == (144, 192)
        return sum(span.retired for span in tracker.objects.values())

    before = [program._cache_size() for program in programs]
    assert session(range(14)) > 0
    grown = [program._cache_size() - b for program, b in zip(programs, before, strict=True)]
    assert grown == [1, 1, 1, 1, 0]  # frames are encoded once, for both
    with compiled() as count:
        session(range(1, 24))
        assert count() == 0
        jax.jit(lambda x: x + 2)(0)
        assert count() == 1  # the counter works


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"every": 0}, "every must be a whole number from 1 on, got 0"),
        ({"max_objects": 0}, "max_objects must be a whole number from 1 on, got 0"),
        ({"max_objects": 1025}, "max_objects must be at most 1024, got 1025: memory grows with it"),
        ({"retire_after": 0}, "retire_after must be a whole number from 1 on, got 0"),
        ({"retire_after": True}, "retire_after must be a whole number from 1 on, got True"),
        ({"min_uncovered": 0}, "min_uncovered must be above 0 and at most 1, got 0"),
        ({"min_uncovered": 1.5}, "min_uncovered must be above 0 and at most 1, got 1.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(generator, setting, message) -> None:
    with pytest.raises(ValueError, match=message):
        sam_jax.EverythingTracker(generator, **setting)


def test_a_model_is_no_generator(model) -> None:
    init: Any = inspect.unwrap(sam_jax.EverythingTracker.__init__)  # without the suite's checks
    with pytest.raises(TypeError, match=r"takes an AutomaticMaskGenerator\(model\), got Model"):
        init(object(), model)


def test_sam_1_and_crops_are_refused(small_sam: Model, model: Model) -> None:
    with pytest.raises(ValueError, match="small-sam is a SAM 1 model"):
        sam_jax.EverythingTracker(sam_jax.AutomaticMaskGenerator(small_sam))
    crops = sam_jax.AutomaticMaskGenerator(model, **LOOK, crop_n_layers=1)
    with pytest.raises(ValueError, match="crop_n_layers is 1: frames of a video are looked at as"):
        sam_jax.EverythingTracker(crops)
