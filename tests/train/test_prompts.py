"""Simulated users."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.types import (
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    NOT_A_POINT,
    PAD,
)
from train.prompts import (
    MAX_CLICKS,
    bounding_box,
    correct,
    first_prompts,
    make_prompts,
    naive_masks,
    sample_pixel,
)

N = 200
MASK = np.zeros((32, 32), bool)
MASK[4:9, 10:25] = True
MASK[20, 3] = True


def test_pixels_are_drawn_uniformly_from_the_region() -> None:
    region = np.zeros((4, 4), bool)
    region[0, :3] = region[3, 3] = True
    keys = jax.random.split(jax.random.key(0), 4000)
    points = jax.vmap(sample_pixel, (0, None))(keys, jnp.asarray(region))
    counts = np.zeros((4, 4))
    np.add.at(counts, tuple(np.asarray(points[:, ::-1], int).T), 1)
    assert (counts[~region] == 0).all()
    assert counts[region] == pytest.approx(1000, rel=0.15)


def test_an_empty_region_still_gives_a_pixel() -> None:
    x, y = sample_pixel(jax.random.key(0), jnp.zeros((4, 6), bool))
    assert 0 <= x < 6 and 0 <= y < 4


def test_bounding_box_is_inclusive() -> None:
    assert np.array_equal(bounding_box(jnp.asarray(MASK)), [[3, 4], [24, 20]])


def test_first_prompts_are_what_they_say() -> None:
    masks = np.broadcast_to(MASK, (N, 32, 32))
    prompts = first_prompts(jax.random.key(1), jnp.asarray(masks), 8, slots=2)
    labels, points = np.asarray(prompts.labels), np.asarray(prompts.points)
    assert (labels[:, -1] == NOT_A_POINT).all()
    assert (labels[:, MAX_CLICKS] == PAD).all()  # room for the correction
    assert not prompts.has_mask.any()
    x, y = points.astype(int).transpose(2, 0, 1)
    assert MASK[y, x][labels == FOREGROUND].all()
    assert not MASK[y, x][labels == BACKGROUND].any()
    boxes = labels[:, 0] == BOX_TOP_LEFT
    assert (labels[boxes, 1] == BOX_BOTTOM_RIGHT).all()
    assert (labels[boxes, 2:MAX_CLICKS] == PAD).all()
    assert np.abs(points[boxes, :2] - [[3, 4], [24, 20]]).max() < 1
    clicks = (labels[:, :MAX_CLICKS] >= BACKGROUND).sum(1)[~boxes]
    assert 0.15 < boxes.mean() < 0.45
    assert set(clicks) == {1, 2, 3, 4}
    assert (labels == BACKGROUND).any()


def test_a_correction_clicks_where_the_prediction_is_wrong() -> None:
    masks = jnp.asarray(np.broadcast_to(MASK, (N, 32, 32)))
    predicted = masks.at[:, 4:6].set(False).at[:, 30].set(True)
    logits = jnp.ones((N, 8, 8))
    before = first_prompts(jax.random.key(1), masks, 8, slots=2)
    after = correct(
        jax.random.key(2), before, MAX_CLICKS, masks=masks, predicted=predicted, logits=logits
    )
    x, y = np.asarray(after.points[:, MAX_CLICKS], int).T
    label = np.asarray(after.labels[:, MAX_CLICKS])
    assert (np.asarray(masks != predicted)[0, y, x]).all()
    assert np.array_equal(label == FOREGROUND, y < 6)
    assert {FOREGROUND, BACKGROUND} == set(label)
    assert after.has_mask.all()
    assert np.array_equal(after.labels[:, :MAX_CLICKS], before.labels[:, :MAX_CLICKS])


def test_a_perfect_prediction_is_confirmed_inside() -> None:
    masks = jnp.asarray(MASK[None])
    before = first_prompts(jax.random.key(1), masks, 8, slots=2)
    after = correct(
        jax.random.key(2),
        before,
        MAX_CLICKS,
        masks=masks,
        predicted=masks,
        logits=jnp.zeros((1, 8, 8)),
    )
    x, y = np.asarray(after.points[0, MAX_CLICKS], int)
    assert MASK[y, x]
    assert after.labels[0, MAX_CLICKS] == FOREGROUND


def test_naive_masks_are_ellipses_in_boxes_and_discs_around_clicks() -> None:
    points = np.zeros((2, 3, 2), np.float32)
    points[0, :2] = [[8, 16], [40, 24]]
    points[1, :2] = [[40, 40], [46, 40]]
    labels = np.array(
        [[BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, NOT_A_POINT], [FOREGROUND, BACKGROUND, PAD]]
    )
    prompts = make_prompts(jnp.asarray(points), jnp.asarray(labels), 8, slots=1)
    box, click = np.asarray(naive_masks(prompts, 64, 64))
    y, x = np.nonzero(box)
    assert (x.min(), x.max(), y.min(), y.max()) == (8, 39, 16, 23)
    assert box.sum() == pytest.approx(np.pi * 16 * 4, rel=0.05)
    assert click[40, 34] and click[34, 40] and not click[40, 46] and not click[40, 30]
