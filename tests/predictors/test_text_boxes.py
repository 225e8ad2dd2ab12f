"""Phrases to boxes to masks, with a detector that is anybody's."""

import inspect
from typing import Any

import numpy as np
import pytest

import sam_jax

PHRASES = ["a cat", "a cup"]
CAT, CUP, OTHER = [5, 6, 30, 40], [20, 10, 70, 50], [0, 0, 80, 60]


@pytest.fixture(scope="module")
def predictor(tracker: Any) -> sam_jax.ImagePredictor:
    return sam_jax.ImagePredictor(tracker)


@pytest.fixture(scope="module")
def photo(clip: np.ndarray) -> np.ndarray:
    return clip[0]


def test_every_box_gets_the_mask_of_a_box_prompt(predictor, photo: np.ndarray) -> None:
    seen = []

    def detector(image: np.ndarray, phrases: list[str]) -> tuple:
        seen.append((image.shape, image.dtype, phrases))
        return [np.array([CAT, OTHER]), np.array([CUP])], [[0.9, 0.2], [0.5]]

    found = sam_jax.text_boxes(detector)(predictor, photo, PHRASES)
    assert seen == [((60, 80, 3), np.uint8, PHRASES)]
    assert [f.phrase for f in found] == ["a cat", "a cat", "a cup"]
    np.testing.assert_allclose([f.score for f in found], [0.9, 0.2, 0.5], atol=1e-6)
    for one, box in zip(found, (CAT, OTHER, CUP), strict=True):
        np.testing.assert_array_equal(one.box, box)
        mask, iou, _ = predictor.predict(box=box, multimask_output=False)
        assert one.mask.shape == (60, 80) and one.mask.dtype == bool
        assert (one.mask != (mask[0] > 0.5)).mean() < 1e-3
        assert one.iou == pytest.approx(float(iou[0]), abs=1e-5)
    assert (found[0].mask != found[2].mask).any()


def test_one_phrase_without_scores_and_nothing_found(predictor, photo: np.ndarray) -> None:
    (found,) = sam_jax.text_boxes(lambda *_: [[CAT]])(predictor, photo, "a cat")
    assert found.phrase == "a cat" and found.score is None
    for nothing in ([[], []], [np.zeros((0, 4)), np.zeros(0)], ([[], []], [[], []])):
        find = sam_jax.text_boxes(lambda *_, nothing=nothing: nothing)
        assert find(predictor, photo, PHRASES) == []
    predictor.predict(box=CAT)  # the picture was set all the same


def test_boxes_that_just_leave_the_picture_are_clipped(predictor, photo: np.ndarray) -> None:
    find = sam_jax.text_boxes(lambda *_: [[[-0.5, 3, 80.4, 60.9]]])
    (found,) = find(predictor, photo, "a cat")
    np.testing.assert_array_equal(found.box, [0, 3, 80, 60])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "boxes as NoneType for 2 phrases: a list with one array a phrase"),
        ({"boxes": [CAT]}, "boxes as dict of 1 for 2 phrases"),
        ([[CAT]], "boxes as list of 1 for 2 phrases"),
        (([[CAT], [CUP]], [[1], [1]], 3), "a tuple of 3"),
        (([[CAT], [CUP]], [[1]]), "scores as list of 1 for 2 phrases"),
        (([[CAT], [CUP]], [[1], [1, 2]]), r"1 boxes for 'a cup', and scores of shape \[2\]"),
        (([[CAT], [CUP]], [[np.nan], [1]]), "one finite number a box"),
        ([CAT, CUP], r"boxes of shape \[4\] for 'a cat': \[k, 4\] is expected"),
        ([[CAT[:3]], []], r"boxes of shape \[1, 3\] for 'a cat'"),
        ([[["x"] * 4], []], "boxes are not numbers"),
        ([[[30, 6, 5, 40]], []], r"box \[30.0, 6.0, 5.0, 40.0\] for 'a cat' has no area.*centre"),
        ([[[np.nan, 6, 5, 40]], []], r"box \[nan, 6.0, 5.0, 40.0\] for 'a cat' has NaN"),
        ((np.array([CAT]), np.array([CUP])), r"a tuple is read as \(boxes, scores\)"),
        ([[], [[10, 10, 90, 50]]], r"\[10.0, 10.0, 90.0, 50.0\] for 'a cup' leaves .* 80 x 60"),
        ([[[0.1, 0.1, 0.5, 0.9]], []], "lie in one pixel: multiply fractions"),
    ],
)
def test_what_detectors_return_is_checked(predictor, photo, returned, message) -> None:
    with pytest.raises(ValueError, match=message):
        sam_jax.text_boxes(lambda *_: returned)(predictor, photo, PHRASES)


@pytest.mark.parametrize("text", ["", "  ", [], ["a cat", ""]])
def test_empty_phrases(predictor, photo: np.ndarray, text: Any) -> None:
    with pytest.raises(ValueError, match="an empty text says nothing"):
        sam_jax.text_boxes(lambda *_: [[CAT]])(predictor, photo, text)


def test_arguments_of_other_types(predictor, photo: np.ndarray) -> None:
    """Without the type checks of the test suite."""
    find: Any = sam_jax.text_boxes(lambda *_: [[CAT]])
    with pytest.raises(TypeError, match=r"must be a sam_jax.ImagePredictor\(model\), got Model"):
        inspect.unwrap(type(find).__call__)(find, predictor.model, photo, "a cat")
    with pytest.raises(TypeError, match=r"takes a callable \(image, phrases\) .* got 3"):
        inspect.unwrap(sam_jax.text_boxes)(3)  # type: ignore[invalid-argument-type]


def test_other_misuse(predictor, photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match="text must be a phrase or several, got 3"):
        sam_jax.text_boxes(lambda *_: [])(predictor, photo, 3)
    with pytest.raises(ValueError, match="uint8"):
        sam_jax.text_boxes(lambda *_: [[CAT]])(predictor, photo / 255, "a cat")
