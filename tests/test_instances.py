import numpy as np
import pytest

from sam_jax import instances
from sam_jax.instances import Instances
from sam_jax.predictors.crops import Crop
from sam_jax.predictors.records import Candidate, record_of
from sam_jax.predictors.text_boxes import Found
from sam_jax.predictors.tracked import Answers, Tracked
from sam_jax.types import FrameOutput


def masks(*corners: tuple[int, int, int, int], size: tuple[int, int] = (40, 50)) -> np.ndarray:
    stack = np.zeros((len(corners), *size), bool)
    for mask, (x0, y0, x1, y1) in zip(stack, corners, strict=True):
        mask[y0:y1, x0:x1] = True
    return stack


TWO = masks((5, 5, 20, 20), (30, 10, 45, 35))


def test_a_prediction_is_its_best_mask_for_each_object():
    one = instances.from_prediction(TWO.astype(np.float32), np.float32([0.3, 0.8]))
    np.testing.assert_array_equal(one.masks, TWO[1:])
    assert one.scores.tolist() == [np.float32(0.8)]
    logits = np.where(TWO, 3.0, -3.0).astype(np.float32)
    several = instances.from_prediction(
        np.stack([logits, logits[::-1]]), np.float32([[0.3, 0.8], [0.1, 0.2]])
    )
    np.testing.assert_array_equal(several.masks, TWO[[1, 0]])


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"first two results of predict.*\[2, 40, 50\] and \[3\]"):
        instances.from_prediction(TWO, np.zeros(3))


@pytest.mark.parametrize("mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_records_of_every_mode_are_the_same(mode):
    whole = Crop((0, 0, 50, 40), 0, (40, 50))
    box = np.array([5, 5, 19, 19])
    made = [
        record_of(
            Candidate(whole, np.zeros((4, 4), np.float32), iou, 0.9, (8.0, 8.0), box), mask, mode
        )
        for mask, iou in zip(TWO, (0.75, 0.5), strict=True)
    ]
    found = instances.from_records(made)
    np.testing.assert_array_equal(found.masks, TWO)
    assert found.scores.tolist() == [0.75, 0.5]


def test_no_records_are_an_empty_stack():
    assert instances.from_records([], size=(4, 5)).masks.shape == (0, 4, 5)


def test_tracked_objects_are_those_that_are_there():
    logits = np.where(TWO[[0, 1, 0, 0]], 2.0, -2.0).astype(np.float32)
    logits[3] = -1024  # there, but nowhere
    ious, presence = np.float32([0.5, 0.75, 0.25, 0.1]), np.float32([3, 2, -1, 1])
    answers = Answers(FrameOutput(logits, ious, presence), (40, 50))
    ids = (7, 9, 11, 13)
    found = instances.from_tracked({obj_id: Tracked(answers, i) for i, obj_id in enumerate(ids)})
    assert found.ids == (7, 9)
    np.testing.assert_array_equal(found.masks, TWO)
    assert found.scores.tolist() == [0.5, 0.75]
    absent = instances.from_tracked({11: Tracked(answers, 2)})
    assert absent.masks.shape == (0, 40, 50)


def test_nothing_tracked_has_the_size_that_is_given():
    assert instances.from_tracked({}, size=(4, 5)).masks.shape == (0, 4, 5)


def test_a_frame_of_the_video_predictor():
    logits = np.where(TWO, 2.0, -2.0).astype(np.float32)[:, None]
    absent = np.full((1, 1, 40, 50), -1024, np.float32)
    scores = {"a": {"iou": 0.5}, "b": {"iou": 0.1}, "c": {"iou": 0.75}}
    three = np.concatenate([logits[:1], absent, logits[1:]])
    found = instances.from_video(["a", "b", "c"], three, scores)
    assert found.ids == ("a", "c")
    assert found.scores.tolist() == [0.5, 0.75]
    np.testing.assert_array_equal(found.masks, TWO)
    assert instances.from_video(["a", "b", "c"], three).scores is None


def test_what_a_phrase_found_has_its_name():
    box = np.array([5, 5, 20, 20], np.float32)
    found = instances.from_found([Found("a cup", box, 0.4, TWO[0], 0.75)])
    assert found.names == ("a cup",)
    assert found.scores.tolist() == [0.75]


@pytest.mark.parametrize("field", ["scores", "ids", "names"])
def test_what_is_said_must_be_said_of_each(field):
    found = Instances(TWO)
    object.__setattr__(found, field, np.zeros(3))  # the type checks of the tests would come first
    with pytest.raises(ValueError, match=f"3 {field} for 2 masks"):
        found.__post_init__()


def test_scores_by_id():
    scores = np.float32([0.5, 0.75])
    assert Instances(TWO, scores, ids=(7, "b")).scores_by_id() == {7: 0.5, "b": 0.75}
    assert Instances(TWO[:0], scores[:0], ids=()).scores_by_id() == {}
    with pytest.raises(ValueError, match="these 2 objects have no ids"):
        Instances(TWO, scores).scores_by_id()
    with pytest.raises(ValueError, match="these 2 objects have no scores"):
        Instances(TWO, ids=(7, 8)).scores_by_id()
