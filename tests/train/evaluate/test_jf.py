"""J and F against numbers of the official evaluator, and against the evaluator itself."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from train.evaluate.jf import (
    Score,
    boundary,
    mean_score,
    outline,
    region,
    score_objects,
    without_ends,
)


def label_maps(seed: int, frames: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    """Predicted and true label maps of blobs; objects come and go."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 160, 2)

    def blobs(smooth: float) -> np.ndarray:
        heights = np.stack(
            [gaussian_filter(rng.standard_normal((height, width)), smooth) for _ in range(3)]
        )
        heights /= heights.std((1, 2), keepdims=True)
        labels = np.where(heights.max(0) > 0.5, heights.argmax(0) + 1, 0).astype(np.uint8)
        for i in range(1, 4):
            if rng.random() < 0.3:
                labels[labels == i] = 0
        return labels

    pairs = []
    for _ in range(frames):
        truth = blobs(rng.uniform(1, 10))
        patch = gaussian_filter(rng.standard_normal((height, width)), 3) > 0
        pairs.append((np.where(patch, truth, blobs(rng.uniform(1, 10))), truth))
    return pairs


def split(labels: np.ndarray) -> dict[int, np.ndarray]:
    return {int(i): labels == i for i in np.unique(labels) if i}


def square(top: int, left: int, side: int, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


# (predicted, true) squares as (top, left, side) -> J and F of vos_benchmark 0.1.0, from which
# Meta's sav_benchmark.py is adapted: its Evaluator was fed these frames, and its percents divided
# by 100. 60 x 40 pixels: the tolerance is 1 pixel.
SQUARES = {
    ((5, 5, 20), (5, 5, 20)): (1.0, 1.0),
    ((6, 5, 20), (5, 5, 20)): (0.9047619047619048, 1.0),
    ((8, 9, 20), (5, 5, 20)): (0.5151515151515151, 0.075),
    ((5, 5, 10), (5, 5, 20)): (0.25, 0.3833333333333333),
    ((0, 0, 12), (0, 0, 14)): (0.7346938775510204, 0.0),
    ((25, 45, 15), (22, 42, 18)): (0.6944444444444444, 0.0),
    ((5, 5, 1), (5, 7, 1)): (0.0, 0.5),
    ((5, 5, 30), (12, 30, 6)): (0.033112582781456956, 0.12890625),
    ((0, 0, 60), (3, 3, 34)): (0.4816666666666667, 0.0),
}


@pytest.mark.parametrize("squares", SQUARES)
def test_squares_score_as_in_the_official_evaluator(squares: tuple) -> None:
    predicted, truth = square(*squares[0]), square(*squares[1])
    assert (region(predicted, truth), boundary(predicted, truth)) == pytest.approx(
        SQUARES[squares], abs=1e-12
    )


@pytest.mark.oracle
def test_blobs_score_as_in_the_official_evaluator() -> None:
    official = pytest.importorskip("vos_benchmark.evaluator", exc_type=ImportError)
    for seed in range(30):
        frames = label_maps(seed)
        evaluator = official.Evaluator()
        for predicted, truth in frames:
            evaluator.feed_frame(predicted, truth)
        j, f = evaluator.conclude()
        ours = score_objects((split(predicted), split(truth)) for predicted, truth in frames)
        assert {i: score.j for i, score in ours.items()} == pytest.approx(
            {i: value / 100 for i, value in j.items()}, abs=1e-12
        )
        assert {i: score.f for i, score in ours.items()} == pytest.approx(
            {i: value / 100 for i, value in f.items()}, abs=1e-12
        )


def test_empty_masks() -> None:
    empty, full, some = np.zeros((40, 60), bool), np.ones((40, 60), bool), square(5, 5, 9)
    assert (region(empty, empty), boundary(empty, empty)) == (1, 1)
    assert (region(some, empty), boundary(some, empty)) == (0, 0)
    assert (region(empty, some), boundary(empty, some)) == (0, 0)
    # A mask that fills the picture has no outline.
    assert (region(full, empty), boundary(full, empty)) == (0, 1)


def test_outline_is_left_of_and_above_the_change() -> None:
    assert outline(square(1, 1, 2, (4, 5))).tolist() == [
        [0, 0], [0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1], [2, 2],
    ]  # fmt: skip


def test_objects_count_from_their_first_appearance() -> None:
    some, empty = square(5, 5, 9), np.zeros((40, 60), bool)
    frames = [({}, {}), ({}, {1: empty}), ({}, {1: some}), ({1: some}, {1: some})]
    assert score_objects(frames) == {1: Score(0.5, 0.5)}
    # A prediction that comes too early counts, one of an object that never comes does not.
    assert score_objects([({1: some, 2: some}, {}), *frames]) == {1: Score(0.6, 0.6)}


def test_ends_do_not_count() -> None:
    assert [list(without_ends(range(n))) for n in range(5)] == [[], [], [], [1], [1, 2]]


def test_mean_is_over_objects() -> None:
    mean = mean_score([Score(1, 0.5), Score(0, 0.5)])
    assert (mean.j, mean.f, mean.jf) == (0.5, 0.5, 0.5)
    assert math.isnan(mean_score([]).jf)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="60 x 40 pixels, its ground truth 30 x 40"):
        region(square(0, 0, 3), square(0, 0, 3, (40, 30)))
