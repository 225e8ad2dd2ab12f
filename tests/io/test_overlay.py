import numpy as np
import pytest

from sam_jax.io.overlay import BACKGROUND_COLOR, COLORS, FOREGROUND_COLOR, overlay

GREY = np.full((120, 160, 3), 100, np.uint8)


def square(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(GREY.shape[:2], bool)
    mask[y0:y1, x0:x1] = True
    return mask


def near(pixel: np.ndarray, color: tuple[int, int, int], tolerance: int = 2) -> bool:
    return bool((np.abs(pixel.astype(int) - color) <= tolerance).all())


def test_nothing_to_draw_changes_nothing():
    np.testing.assert_array_equal(overlay(GREY, np.zeros((0, 120, 160), bool)), GREY)
    np.testing.assert_array_equal(overlay(GREY, np.zeros((2, 120, 160), bool)), GREY)


def test_masks_are_tinted_and_outlined_in_their_own_colours():
    image = overlay(GREY, np.stack([square(20, 20, 60, 60), square(90, 30, 140, 100)]), alpha=0.5)
    for center, color in [((40, 40), COLORS[0]), ((60, 115), COLORS[1])]:
        assert near(image[center], tuple((100 + c) // 2 for c in color))
    assert near(image[40, 20], COLORS[0], 90)  # the line: nearer the colour than the tint
    assert near(image[19, 19], (100, 100, 100), 80)
    assert image[40, 19].min() > 110  # white rim outside
    assert near(image[100, 20], (100, 100, 100), 0)  # far away: untouched


def test_a_mask_has_no_line_along_the_border_of_the_picture():
    image = overlay(GREY, square(0, 0, 80, 120)[None])
    assert len(np.unique(image[:, :70].reshape(-1, 3), axis=0)) == 1
    assert not near(image[60, 79], tuple(image[60, 0]), 5)


def test_clicks_are_green_and_red_with_a_white_rim():
    image = overlay(GREY, square(0, 0, 0, 0)[None], points=[[40, 50], [100, 50]], labels=[1, 0])
    assert near(image[50, 40], FOREGROUND_COLOR)
    assert near(image[50, 100], BACKGROUND_COLOR)
    assert near(image[50, 45], (255, 255, 255), 40)


@pytest.mark.parametrize("point", [(0, 0), (159.9, 119.9), (0, 119), (159, 0)])
def test_clicks_at_the_corners_are_clipped(point):
    image = overlay(GREY, np.zeros((0, 120, 160), bool), points=[point], labels=[1])
    assert near(image[int(point[1]), int(point[0])], FOREGROUND_COLOR)
    assert image.shape == GREY.shape
    assert (image != GREY).any(-1).sum() < 50


def test_boxes_have_the_colour_of_their_mask():
    image = overlay(
        GREY, np.zeros((0, 120, 160), bool), boxes=[[10, 20, 60, 80], [70, 20, 160, 120]]
    )
    assert near(image[20, 30], COLORS[0])
    assert near(image[79, 30], COLORS[0])
    assert near(image[20, 100], COLORS[1])
    assert near(image[119, 100], COLORS[1])
    assert near(image[50, 30], (100, 100, 100), 0)
    image = overlay(
        GREY, np.zeros((0, 120, 160), bool), boxes=[[10, 20, 60, 80]], box_colors=[COLORS[3]]
    )
    assert near(image[20, 30], COLORS[3])


def test_lines_grow_with_the_picture():
    def line(scale: int) -> int:
        image = np.zeros((100 * scale, 100 * scale, 3), np.uint8)
        image = overlay(image, image[None, ..., 0] > 0, boxes=[np.array([20, 20, 80, 80]) * scale])
        return int(image[50 * scale].any(-1).sum())

    assert line(2) < line(10) < line(20)


def test_tiny_pictures():
    dot = np.zeros((1, 1, 3), np.uint8)
    mask = np.ones((1, 1, 1), bool)
    result = overlay(dot, mask, points=[[0, 0]], labels=[1], boxes=[[0, 0, 1, 1]])
    assert result.shape == (1, 1, 3)
