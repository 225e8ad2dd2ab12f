"""Crops and grids, beside numbers worked out from the official formulas."""

import numpy as np
import pytest

from sam_jax.predictors.crops import crops_of, point_grid


def test_crops_of_the_official_photo() -> None:
    """truck.jpg, 1800 x 1200: overlap int(512/1500 * 1200) = 409, crops 1105 x 805."""
    crops = crops_of(1200, 1800, 1, 512 / 1500)
    assert [crop.box for crop in crops] == [
        (0, 0, 1800, 1200),
        (0, 0, 1105, 805),
        (0, 396, 1105, 1200),
        (696, 0, 1800, 805),
        (696, 396, 1800, 1200),
    ]
    assert [crop.layer for crop in crops] == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("size", [(7, 5), (100, 333), (1, 1)])
@pytest.mark.parametrize("ratio", [0.0, 0.34, 0.9])
def test_crops_cover_the_picture(size: tuple[int, int], ratio: float) -> None:
    crops = crops_of(*size, 2, ratio)
    assert all(min(crop.size) > 0 for crop in crops)
    if min(size) > 20:  # smaller pictures have fewer parts
        assert [crop.layer for crop in crops] == [0] + [1] * 4 + [2] * 16
    for layer in range(3):
        seen = np.zeros(size, int)
        for crop in crops:
            if crop.layer == layer:
                seen += crop.in_whole(np.ones(crop.size, bool))
        assert seen.min() >= 1


def test_a_crop_and_back() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    crop = crops_of(20, 30, 1, 0.3)[4]
    mask = crop.pixels(picture)[..., 0] > 100
    full = crop.in_whole(mask)
    x0, y0, x1, y1 = crop.box
    assert full.shape == (20, 30) and full.sum() == mask.sum()
    np.testing.assert_array_equal(full[y0:y1, x0:x1], mask)


def test_points_are_cell_centres_row_by_row() -> None:
    np.testing.assert_allclose(
        point_grid(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    )
    assert point_grid(1).tolist() == [[0.5, 0.5]]
