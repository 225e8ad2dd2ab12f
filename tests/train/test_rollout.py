"""What a simulated user does with a batch, and what a step makes of it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.frame import no_prompts
from sam_jax.models import build
from sam_jax.types import NOT_A_POINT, PAD, Model
from train.config import LossWeights, Optimizer, Prompting, Recipe, Source, Stream
from train.losses import Losses
from train.optimizer import make_optimizer
from train.rollout import make_plan, rollout
from train.step import encode, init_state, make_step
from train.trainable import split
from train.types import Batch
from train.user import User, _click_rounds, _first_prompts, _is_ambiguous, shrink

CLICKS = Prompting(point_share=1, box_share=0.5, corrections=1)


def batch(t: int, seed: int = 0) -> Batch:
    """Two clips of three rectangles each; the last object of each clip is a filler."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 90, (t, 2, 96, 96, 3), np.uint8)
    masks = np.zeros((t, 6, 96, 96), bool)
    for i in range(6):
        y, x = rng.integers(0, 50, 2)
        for f in range(t):
            masks[f, i, y + 2 * f : y + 2 * f + 30, x : x + 40] = True
            images[f, i // 3][masks[f, i]] += np.uint8(50)
    valid = np.array([True, True, False] * 2)
    return Batch(jnp.asarray(images), jnp.asarray(masks), jnp.asarray(valid))


def compiled(function: Callable[..., Any], *example: Any, **options: Any) -> Callable[..., Any]:
    """`jax.jit` without the optimisations, which would take longer than they save here."""
    lowered = jax.jit(function, **options).lower(*example)
    return lowered.compile(compiler_options={"xla_backend_optimization_level": 0})


def test_plans_follow_the_recipe() -> None:
    prompting = Prompting(point_share=0.5, first_frames=2, corrected_frames=3)
    plans = jax.vmap(lambda key: make_plan(key, 8, prompting))(
        jax.random.split(jax.random.key(0), 400)
    )
    assert 0.4 < plans.by_mask.mean() < 0.6
    assert plans.shown[:, 0].all()  # the first frame always
    first, corrected = plans.shown.sum(1), plans.corrected.sum(1)
    assert set(np.unique(first)) == {1, 2}
    assert (corrected[plans.by_mask] == 0).all()
    clicked = ~plans.by_mask
    assert set(np.unique(corrected[clicked])) == {1, 2, 3}
    assert (corrected >= first)[clicked].all()
    assert (plans.corrected | ~plans.shown)[clicked].all()  # frames that are shown come first
    for shown, order in zip(plans.shown[:50], plans.order[:50], strict=True):
        expected = [*np.flatnonzero(shown), *np.flatnonzero(~shown)]
        assert order.tolist() == expected
    assert plans.shown[:, 1:].mean(0) == pytest.approx(0.5 / 7, abs=0.05)  # any other frame


def test_pictures_are_asked_for_by_points_and_corrected() -> None:
    plan = make_plan(jax.random.key(0), 1, Prompting(point_share=0))
    assert not plan.by_mask and plan.shown.all() and plan.corrected.all()


def test_rounds_without_a_click_are_one_last_and_others_anywhere() -> None:
    prompting = Prompting(corrections=8, mask_only=2)
    rounds = np.stack([_click_rounds(jax.random.key(i), prompting) for i in range(60)])
    assert rounds.shape == (60, 10) and (rounds.sum(1) == 8).all()
    assert not rounds[:, -1].any()
    assert len(np.unique(rounds.argmin(1))) > 6
    assert _click_rounds(jax.random.key(0), Prompting(corrections=3)).tolist() == [True] * 3


def test_masks_shrink_by_majority() -> None:
    mask = jnp.zeros((1, 4, 4), bool).at[0, 0, :3].set(True).at[0, 1, 0].set(True)
    assert shrink(mask, 2)[0].tolist() == [[True, False], [False, False]]
    with pytest.raises(ValueError, match="stride 3 does not divide the model input, 4 x 4"):
        shrink(mask, 3)


def _losses(model: Model, prompting: Prompting, batch: Batch) -> Losses:
    key = jax.random.key(3)
    return rollout(
        model,
        encode(model, batch.images, key),
        batch,
        key,
        prompting=prompting,
        weights=LossWeights(),
        remat=False,
        locating=jnp.array(False),
    )


def test_what_is_dropped_shows_where_there_is_a_memory(small_tracker: Callable[..., Model]) -> None:
    """In clips, and another draw with another key; pictures have no memory."""
    model = small_tracker()
    dropping = replace(model, module=model.module.clone(dropout=0.5))
    clicks = replace(CLICKS, corrections=0, corrected_frames=0)
    for t in (1, 2):
        plain, dropped = (
            compiled(partial(_losses, m, clicks), batch(t))(batch(t)).total(LossWeights())
            for m in (model, dropping)
        )
        assert (float(plain) == float(dropped)) == (t == 1)


def test_fillers_count_for_nothing(small_tracker: Callable[..., Model]) -> None:
    model, given = small_tracker(), batch(1)
    losses = compiled(partial(_losses, model, replace(CLICKS, corrections=0)), given)
    masks = given.masks.at[:, 2].set(False)
    assert jax.tree.leaves(losses(given)) == jax.tree.leaves(losses(replace(given, masks=masks)))
    other = given.masks.at[:, 1].set(False)
    assert losses(given).dice != losses(replace(given, masks=other)).dice


def test_a_given_mask_costs_nothing_and_tracking_does(small_tracker: Callable[..., Model]) -> None:
    model, given = small_tracker(), batch(2)
    prompting = Prompting(point_share=0, first_frames=1, corrected_frames=0, corrections=0)
    losses = compiled(partial(_losses, model, prompting), given)
    both = losses(given)
    # Without the object on the second frame, only its absence is learnt there.
    gone = losses(replace(given, masks=given.masks.at[1].set(False)))
    assert both.dice > 0 and both.iou > 0
    assert gone.mask == gone.dice == gone.iou == 0 and gone.object > 0


def _recipe(**changes: Any) -> Recipe:
    stream = Stream(source=Source(kind="synthetic"), batch=2, frames=1, objects=3, prompts=CLICKS)
    optimizer = Optimizer(
        learning_rate=3e-3, encoder_rate=None, schedule="constant", layer_decay=1.0, clip=1.0
    )
    values = {
        "model": "small-tracker",
        "folder": "unused",
        "steps": 30,
        "images": stream,
        "optimizer": optimizer,
        "dtype": "float32",
        "frozen": (r"^memory_",),
        "ema": 0.9,
    }
    return Recipe(**values | changes)


def test_steps_descend_and_leave_frozen_parts_alone(small_tracker: Callable[..., Model]) -> None:
    model, recipe, key = small_tracker(), _recipe(), jax.random.key(0)
    trained, fixed = split(model.params, recipe, key)
    before = jax.tree.map(np.asarray, (trained, fixed))
    optimizer = make_optimizer(recipe, model.config, trained)
    state = init_state(trained, fixed, optimizer, recipe)
    step = compiled(make_step(model.module, optimizer, recipe), state, key, batch(1))
    totals = []
    for _ in range(25):
        state, metrics = step(state, key, batch(1))
        totals.append(float(metrics.total))
    assert np.mean(totals[-5:]) < 0.6 * np.mean(totals[:5])
    assert int(state.step) == 25
    assert all(np.array_equal(before[1][path], x) for path, x in state.fixed.items())
    moved = [path for path, x in state.trained.items() if not np.array_equal(before[0][path], x)]
    assert len(moved) > 0.8 * len(trained) - 80  # what only video uses has no gradient here
    path = "mask_decoder/iou_token"
    start, now, average = (np.asarray(x[path]) for x in (before[0], state.trained, state.ema))
    assert np.linalg.norm(average - now) < np.linalg.norm(start - now)
    assert not np.array_equal(average, now)


def test_sam1_learns_from_boxes_clicks_and_rounds_of_the_last_mask(small_sam: Model) -> None:
    """As configs/sam1.py has it, with fewer rounds: no pointer, no object score, MSE of the IoU."""
    prompting = Prompting(point_share=1, box_share=0.5, corrections=2, mask_only=1, from_truth=0)
    images = Stream(
        source=Source(kind="synthetic"), batch=2, frames=1, objects=3, prompts=prompting
    )
    recipe, key = (
        _recipe(
            model="small-sam",
            images=images,
            losses=LossWeights(iou_error="mse", stride=4),
            frozen=(),
            ema=None,
        ),
        jax.random.key(0),
    )
    trained, fixed = split(small_sam.params, recipe, key)
    assert list(fixed) == ["prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"]
    optimizer = make_optimizer(recipe, small_sam.config, trained)
    state = init_state(trained, fixed, optimizer, recipe)
    module = build(small_sam.config, drop_path=0.1)
    step = compiled(make_step(module, optimizer, recipe), state, key, batch(1))
    totals = []
    before = jax.tree.map(np.asarray, trained)
    for _ in range(25):
        state, metrics = step(state, key, batch(1))
        totals.append(float(metrics.total))
        assert metrics.losses.object == 0
    assert np.isfinite(totals).all()
    assert np.mean(totals[-5:]) < 0.8 * np.mean(totals[:5])
    still = {path for path, x in state.trained.items() if np.array_equal(before[path], x)}
    # These leave the softmax, and the decoder without them: see models/two_way.py.
    assert all(path.endswith("token_to_image/k_proj/bias") for path in still), still


def test_prompts_of_sam1_count_as_its_paper_counts_them(small_sam: Model, small_tracker) -> None:
    """A box is one prompt and the last mask another; SAM 2 counts points."""
    labels = jnp.array([[1, PAD, NOT_A_POINT], [2, 3, PAD], [1, 0, NOT_A_POINT], [NOT_A_POINT] * 3])
    n = len(labels)
    prompts = no_prompts(n, small_sam.config.mask_size)
    prompts = replace(prompts, labels=labels, has_mask=jnp.zeros(n, bool))
    again = replace(prompts, has_mask=jnp.ones(n, bool))
    sam1, sam2 = small_sam.config, small_tracker().config
    assert _is_ambiguous(prompts, sam1).tolist() == [True, True, False, True]
    assert _is_ambiguous(again, sam1).tolist() == [False, False, False, True]
    assert _is_ambiguous(prompts, sam2).tolist() == [True, False, False, True]
    assert _is_ambiguous(again, sam2).tolist() == [True, False, False, True]


def test_boxes_are_closed_for_sam2_only(small_sam: Model, small_tracker) -> None:
    """As `predictors.prompts` does it: the model learns what it will be asked."""
    masks = jnp.zeros((1, 96, 96), bool).at[:, 20:50, 30:70].set(True)
    both = {"click": 1, "box": 1}
    for model, closed in ((small_sam, both | {"box": 0}), (small_tracker(), both)):
        for kind, share in (("click", 0), ("box", 1)):
            user = User(
                by_mask=jnp.array(False),
                shown=jnp.array(True),
                corrected=jnp.array(True),
                locating=jnp.array(False),
                prompting=replace(CLICKS, box_share=share),
                weights=LossWeights(),
                remat=False,
            )
            prompts = _first_prompts(jax.random.key(0), user, masks, model.config)
            assert int((prompts.labels == NOT_A_POINT).sum()) == closed[kind], (kind, model.config)


def test_the_same_step_gives_the_same_numbers_and_another_one_others(
    small_tracker: Callable[..., Model],
) -> None:
    model, key = small_tracker(), jax.random.key(0)
    recipe = _recipe(
        images=None,
        videos=Stream(
            source=Source(kind="synthetic"),
            batch=2,
            frames=2,
            objects=3,
            prompts=Prompting(corrections=1),
        ),
    )
    trained, fixed = split(model.params, recipe, key)
    optimizer = make_optimizer(recipe, model.config, trained)
    state = init_state(trained, fixed, optimizer, recipe)
    step = compiled(make_step(model.module, optimizer, recipe), state, key, batch(2))
    (one, first), (_, again) = (step(state, key, batch(2)) for _ in range(2))
    assert all(np.isfinite(x) for x in jax.tree.leaves(first))
    assert jax.tree.leaves(first) == jax.tree.leaves(again)
    _, second = step(replace(state, step=state.step + 1), key, batch(2))
    assert second.total != first.total
    assert all(np.isfinite(x).all() for x in one.trained.values())
