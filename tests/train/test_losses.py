"""Losses against plain numpy."""

import jax.numpy as jnp
import numpy as np
import pytest

from train.config import LossWeights
from train.losses import Losses, balanced_loss, dice_loss, focal_loss, mask_iou, prediction_losses

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (5, 4, 8, 8)).astype(np.float32)
TARGET = RNG.random((5, 8, 8)) < 0.4


def _focal(logits: np.ndarray, target: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    terms = np.where(target, -0.25 * (1 - p) ** 2 * np.log(p), -0.75 * p**2 * np.log(1 - p))
    return terms.mean()


def _dice(logits: np.ndarray, target: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)


def test_mask_losses_are_the_published_formulas() -> None:
    for i in range(5):
        logits, target = LOGITS[i, 0], TARGET[i]
        assert focal_loss(logits, target) == pytest.approx(_focal(logits, target), rel=1e-5)
        assert dice_loss(logits, target) == pytest.approx(_dice(logits, target), rel=1e-5)


def test_balanced_loss_weighs_object_and_background_alike() -> None:
    logits, target = LOGITS[0, 0].astype(np.float64), TARGET[0]
    terms = np.log1p(np.exp(np.where(target, -logits, logits)))
    expected = (terms[target].mean() + terms[~target].mean()) / 2
    assert balanced_loss(LOGITS[0, 0], target) == pytest.approx(expected, rel=1e-5)


def test_focal_loss_is_finite_for_extreme_logits() -> None:
    logits, target = jnp.array([[-1e4, 1e4]]), jnp.array([[True, False]])
    assert focal_loss(logits, target) == pytest.approx(1e4 * (0.25 + 0.75) / 2)


def test_iou_counts_pixels_and_survives_empty_masks() -> None:
    a, b = np.zeros((2, 4, 4), bool)
    assert mask_iou(a, b) == 0
    a[:2], b[1:3] = True, True
    assert mask_iou(a, b) == pytest.approx(4 / 12)


def test_a_clear_prompt_teaches_mask_0_and_an_ambiguous_one_the_best_of_three() -> None:
    iou, object_logit = RNG.random((5, 4)), RNG.normal(0, 2, 5)
    target, ambiguous = TARGET.copy(), np.array([True, False, True, False, True])
    target[4] = False  # an absent object: only its score counts
    losses = prediction_losses(
        LossWeights(),
        jnp.asarray(LOGITS),
        jnp.asarray(iou),
        jnp.asarray(object_logit),
        jnp.asarray(target),
        ambiguous=jnp.asarray(ambiguous),
    )
    for i in range(4):
        f = [_focal(LOGITS[i, m], target[i]) for m in range(4)]
        d = [_dice(LOGITS[i, m], target[i]) for m in range(4)]
        true = [((LOGITS[i, m] > 0) & target[i]).sum() for m in range(4)]
        union = [((LOGITS[i, m] > 0) | target[i]).sum() for m in range(4)]
        error = [abs(iou[i, m] - true[m] / union[m]) for m in range(4)]
        best = 1 + np.argmin([20 * f[m] + d[m] for m in (1, 2, 3)]) if ambiguous[i] else 0
        assert losses.mask[i] == pytest.approx(f[best], rel=1e-4)
        assert losses.dice[i] == pytest.approx(d[best], rel=1e-4)
        expected = np.mean(error[1:]) if ambiguous[i] else error[0]
        assert losses.iou[i] == pytest.approx(expected, rel=1e-4)
        assert losses.object[i] == pytest.approx(np.log1p(np.exp(-object_logit[i])), rel=1e-4)
    assert losses.mask[4] == losses.dice[4] == losses.iou[4] == 0
    assert losses.object[4] == pytest.approx(np.log1p(np.exp(object_logit[4])), rel=1e-4)


def test_total_has_the_weights_of_the_recipe() -> None:
    parts = Losses(mask=0.01, dice=2.0, iou=3.0, object=4.0, balanced=5.0)
    assert parts.total(LossWeights()) == pytest.approx(20 * 0.01 + 2 + 3 + 4)
    assert parts.total(LossWeights(), 0.25) == pytest.approx(0.25 * 5 + 0.15 + 2 + 3 + 4)
    assert parts.total(LossWeights(object=0, iou=2)) == pytest.approx(0.2 + 2 + 6)
