import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sam_jax.ops.masks import (
    component_areas,
    fill_holes_and_sprinkles,
    in_small_components,
    label_components,
    mask_to_box,
    nms,
    stability_score,
)

EIGHT = np.ones((3, 3), int)
SIDE = 24  # one shape, one compiled program for all examples
NMS = jax.jit(nms)
LABEL = jax.jit(label_components)


def expected_labels(mask: np.ndarray) -> np.ndarray:
    """scipy's components, renumbered: 1 + the smallest flat index of the component."""
    components, count = ndimage.label(mask, EIGHT)
    smallest = [0] + [1 + np.flatnonzero(components == k + 1)[0] for k in range(count)]
    return np.array(smallest)[components]


def expected_areas(mask: np.ndarray) -> np.ndarray:
    components, _ = ndimage.label(mask, EIGHT)
    return np.where(mask, np.bincount(components.ravel())[components], 0)


def spiral(n: int) -> np.ndarray:
    """One corridor of width 1 and pitch 2, wound inwards: the longest path in a square."""
    mask = np.zeros((n, n), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True

    def free(y: int, x: int) -> bool:
        return 0 <= y < n and 0 <= x < n and not mask[y, x]

    while True:
        for _ in range(2):  # straight on, or turn once
            ahead = (y + 2 * dy, x + 2 * dx)
            inside = 0 <= ahead[0] < n and 0 <= ahead[1] < n
            if free(y + dy, x + dx) and (not inside or not mask[ahead]):
                break
            dy, dx = dx, -dy
        else:
            return mask
        y, x = y + dy, x + dx
        mask[y, x] = True


def meander(n: int) -> np.ndarray:
    mask = np.zeros((n, n), bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


def comb(n: int) -> np.ndarray:
    mask = np.zeros((n, n), bool)
    mask[:, ::2] = True
    mask[-1] = True
    return mask


SHAPES = {
    "empty": np.zeros((256, 256), bool),
    "full": np.ones((256, 256), bool),
    "checkerboard": np.indices((256, 256)).sum(0) % 2 == 0,
    "diagonals": np.eye(256, dtype=bool) | np.eye(256, dtype=bool)[::-1],
    "isolated": np.indices((256, 256)).max(0) % 2 + np.indices((256, 256)).min(0) % 2 == 0,
    "spiral": spiral(256),
    "spiral mirrored": spiral(256)[::-1, ::-1],
    "meander": meander(256),
    "meander down": meander(256).T,
    "meander up": meander(256).T[::-1],
    "comb": comb(256),
    "comb sideways": comb(256).T,
    "critical noise": np.random.default_rng(0).random((256, 256)) > 0.593,
}


@pytest.mark.parametrize("name", SHAPES)
def test_components_equal_scipy(name):
    labels = LABEL(SHAPES[name])
    if name == "isolated":
        np.testing.assert_array_equal(labels > 0, SHAPES[name])
    np.testing.assert_array_equal(labels, expected_labels(SHAPES[name]))


def test_the_spiral_is_one_long_path():
    assert ndimage.label(spiral(256), EIGHT)[1] == 1
    assert spiral(256).sum() > 256 * 256 // 2 - 256


@settings(deadline=None)
@given(hnp.arrays(bool, (SIDE, SIDE)))
def test_components_of_any_mask_equal_scipy(mask):
    labels = LABEL(mask)
    np.testing.assert_array_equal(labels, expected_labels(mask))
    np.testing.assert_array_equal(component_areas(labels), expected_areas(mask))


def test_rounds_grow_with_the_logarithm_of_the_path():
    """A 256 x 256 spiral is 32,000 pixels long: a quadratic method would need minutes here."""
    big = spiral(1024)
    np.testing.assert_array_equal(LABEL(big) > 0, big)
    assert np.unique(LABEL(big)).tolist() == [0, 1]


def test_batches_and_vmap_equal_one_by_one():
    masks = np.random.default_rng(1).random((2, 3, SIDE, SIDE)) > 0.5
    single = np.array([[expected_labels(mask) for mask in row] for row in masks])
    labels = label_components(jnp.array(masks))
    np.testing.assert_array_equal(labels, single)
    np.testing.assert_array_equal(jax.vmap(label_components)(masks), single)
    areas = np.array([[expected_areas(mask) for mask in row] for row in masks])
    np.testing.assert_array_equal(component_areas(labels), areas)


_SMALL = jax.jit(in_small_components, static_argnums=1)


@settings(deadline=None)
@given(hnp.arrays(bool, (SIDE, SIDE)), st.sampled_from([1, 2, 8, 64]))
def test_small_components_of_any_mask_equal_scipy(mask, area):
    expected = mask & (expected_areas(mask) <= area)
    np.testing.assert_array_equal(_SMALL(mask, area), expected)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("area", [1, 8])
def test_small_components_of_hard_shapes_equal_scipy(name, area):
    """Long windings have not found out how large they are, and must not pass for small."""
    mask = SHAPES[name].copy()
    mask[100:110, 100:110] = False
    mask[102, 103:107] = mask[106, 103:107] = mask[107, 103:107] = True  # 4 and 8 pixels
    expected = mask & (expected_areas(mask) <= area)
    np.testing.assert_array_equal(_SMALL(mask, area), expected)
    assert expected.any() == (area == 8 or name in ("isolated", "critical noise"))


def test_the_longest_small_component_is_found():
    """A diagonal line of 8 pixels takes 7 rounds, and one of 9 is not small."""
    mask = np.zeros((2, SIDE, SIDE), bool)
    for i in range(9):
        mask[0, 2 + i, 3 + i] = i < 8
        mask[1, 2 + i, 12 - i] = True
    np.testing.assert_array_equal(
        in_small_components(jnp.array(mask), 8).any((1, 2)), [True, False]
    )
    assert in_small_components(jnp.array(mask), 9)[1].sum() == 9


def reference_repair(logits, hole, sprinkle, threshold):
    inside = logits > threshold
    result = logits.copy()
    result[~inside & (expected_areas(~inside) <= hole)] = threshold + 10
    result[inside & (expected_areas(inside) <= sprinkle)] = threshold - 10
    return result


@pytest.mark.parametrize(("hole", "sprinkle"), [(0, 0), (8, 0), (0, 8), (8, 8), (3.5, 1), (65, 8)])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_holes_and_sprinkles(hole, sprinkle, threshold):
    noise = np.random.default_rng(2).standard_normal((2, SIDE, SIDE))
    logits = (3 * ndimage.gaussian_filter(noise, (0, 0.6, 0.6))).astype(np.float32)
    logits[0, 5, 5] = threshold  # on the threshold counts as background
    repaired = fill_holes_and_sprinkles(
        jnp.array(logits),
        max_hole_area=hole,
        max_sprinkle_area=sprinkle,
        threshold=threshold,
    )
    expected = [reference_repair(x, hole, sprinkle, threshold) for x in logits]
    np.testing.assert_array_equal(repaired, expected)
    assert (hole, sprinkle) == (0, 0) or not np.array_equal(repaired, logits)


def test_filled_holes_are_just_inside_or_well_inside():
    """Video masks get a margin of 0.1, as they are remembered; the rest of the mask stays."""
    logits = np.full((9, 9), 3.0, np.float32)
    logits[2:4, 2:6] = -7  # 8 pixels
    logits[6, :] = -2  # 9 pixels
    for margin in (0.1, 10.0):
        filled = fill_holes_and_sprinkles(
            jnp.array(logits), max_hole_area=8, max_sprinkle_area=0, margin=margin
        )
        expected = logits.copy()
        expected[2:4, 2:6] = margin
        np.testing.assert_array_equal(filled, expected)


def test_sprinkles_are_those_of_the_original_mask():
    """A dot inside a hole: the hole is filled around it, the dot itself becomes background."""
    logits = np.ones((9, 9), np.float32)
    logits[3:6, 3:6] = -1
    logits[4, 4] = 1
    repaired = fill_holes_and_sprinkles(jnp.array(logits), max_hole_area=8, max_sprinkle_area=1)
    assert (repaired[3:6, 3:6].ravel() > 0).tolist() == [True] * 4 + [False] + [True] * 4


def test_stability_is_the_ratio_of_two_areas():
    logits = jnp.array([[[0.1, 0.04, -0.04, -0.1]], [[1.0, 1.0, 1.0, 1.0]], [[-1.0] * 4]])
    np.testing.assert_allclose(stability_score(logits, 0.0, 0.05), [1 / 3, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(stability_score(logits, 0.0, 0.05, empty=0.0)[2], 0)
    np.testing.assert_allclose(stability_score(logits[0], 0.02, 0.03), 1 / 2)


def test_box_includes_its_last_pixels():
    mask = np.zeros((3, 10, 12), bool)
    mask[0, 2:5, 3:9] = True
    mask[1, 9, 11] = True
    boxes = jax.jit(mask_to_box)(mask)
    np.testing.assert_array_equal(boxes, [[3, 2, 8, 4], [11, 9, 11, 9], [0, 0, 0, 0]])
    np.testing.assert_array_equal(mask_to_box(jnp.array(mask[0])), boxes[0])


def kept_one_by_one(boxes: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        for j in kept:
            width = min(x1, boxes[j, 2]) - max(x0, boxes[j, 0])
            height = min(y1, boxes[j, 3]) - max(y0, boxes[j, 1])
            shared = max(width, 0) * max(height, 0)
            areas = (x1 - x0) * (y1 - y0) + np.prod(boxes[j, 2:] - boxes[j, :2])
            if shared > threshold * (areas - shared):
                break
        else:
            kept.append(i)
    return kept


@settings(max_examples=60)
@given(
    corners=hnp.arrays(np.int32, (12, 4), elements=st.integers(0, 12)),
    count=st.integers(0, 12),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 0.75]),  # exact in float32, as are the boxes
)
def test_nms_is_greedy(corners: np.ndarray, count: int, threshold: float) -> None:
    boxes = np.concatenate(
        [np.minimum(*np.split(corners, 2, 1)), np.maximum(*np.split(corners, 2, 1))], 1
    )
    keep = np.asarray(NMS(boxes, np.arange(12) < count, threshold))
    assert np.flatnonzero(keep).tolist() == kept_one_by_one(boxes[:count], threshold)


def test_nms_keeps_boxes_without_area_and_the_first_of_equals() -> None:
    boxes = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 5, 5], [1, 1, 5, 5]])
    assert NMS(boxes, np.ones(4, bool), 0.7).tolist() == [True, True, True, False]
    assert NMS(boxes, np.array([0, 0, 0, 1], bool), 0.7).tolist() == [False, False, False, True]
