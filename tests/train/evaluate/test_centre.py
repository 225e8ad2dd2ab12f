"""The middle of the largest error, against a brute-force search."""

import numpy as np
import pytest

from train.evaluate.centre import bounding_box, centre_of_error


def brute_force(mask: np.ndarray, found: np.ndarray) -> tuple[tuple[int, int], int]:
    """RITM's rule with the squared distance to every pixel of a border and of what is right."""
    deepest = []
    for error in (mask & ~found, found & ~mask):
        wide = np.pad(error, 1)
        outside, inside = np.argwhere(~wide), np.argwhere(wide)
        depths = [int(((outside - pixel) ** 2).sum(1).min()) for pixel in inside]
        best = int(np.argmax(depths)) if depths else 0
        deepest.append((depths[best], inside[best] - 1) if depths else (0, (0, 0)))
    (missing, there), (wrong, elsewhere) = deepest
    y, x = there if missing > wrong else elsewhere
    return (int(x), int(y)), int(missing > wrong)


def test_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    masks, found = rng.random((2, 40, 9, 14)) < rng.random((2, 40, 1, 1))
    points, labels = centre_of_error(masks, found)
    for i in range(len(masks)):
        assert (tuple(points[i].tolist()), labels[i]) == brute_force(masks[i], found[i]), i


def test_the_border_of_the_picture_is_a_border() -> None:
    full = np.ones((1, 5, 9), bool)
    points, labels = centre_of_error(full, ~full)
    assert (points.tolist(), labels.tolist()) == ([[2, 2]], [1])


def test_no_error_is_the_first_pixel_and_background() -> None:
    full = np.ones((1, 5, 9), bool)
    points, labels = centre_of_error(full, full)
    assert (points.tolist(), labels.tolist()) == ([[0, 0]], [0])


@pytest.mark.parametrize(
    ("rows", "columns", "box"),
    [(slice(2, 5), slice(1, 7), [1, 2, 6, 4]), (slice(3, 4), slice(8, 9), [8, 3, 9, 4])],
)
def test_boxes_are_pixels_and_never_empty(rows: slice, columns: slice, box: list[int]) -> None:
    mask = np.zeros((5, 9), bool)
    mask[rows, columns] = True
    assert bounding_box(mask).tolist() == box
