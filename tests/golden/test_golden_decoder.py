"""Prompt encoder, two-way transformer and mask decoder at tiny width, against the official code."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.image import encode_prompts, select_masks
from sam_jax.ops.formulation import tracing_for
from sam_jax.types import Masks, Prompts, PromptTokens


def _prompts(size: int, n: int, **given) -> Prompts:
    """Prompts of which only some fields are given."""
    empty = Prompts(
        points=np.zeros((n, 1, 2), np.float32),
        labels=np.full((n, 1), -1, np.int32),
        mask=np.zeros((1, size, size, 1), np.float32),
        has_mask=np.zeros(1, bool),
    )
    return dataclasses.replace(empty, **given)


@pytest.mark.parametrize("name", ["points", "box"])
def test_golden_points(golden, name: str) -> None:
    case = golden("prompt_encoder", name)
    prompts = _prompts(case.model.config.mask_size, 2, **case.inputs)
    tokens = jax.jit(encode_prompts)(case.model, prompts)
    assert bool(tokens.valid.all())
    dense = {"dense": tokens.dense} if "dense" in case.outputs else {}
    case.check(sparse=tokens.sparse, **dense)


def test_golden_mask_prompt(golden) -> None:
    case = golden("prompt_encoder", "mask")
    given = {"mask": case.inputs["mask"], "has_mask": np.ones(2, bool)}
    prompts = _prompts(case.model.config.mask_size, 2, **given)
    tokens = jax.jit(encode_prompts)(case.model, prompts)
    case.check(dense=tokens.dense)


def test_golden_position_grid(golden) -> None:
    case = golden("prompt_encoder", "grid")
    case.check(position=case.run(lambda m: m.prompt_encoder.dense_position()))


def test_golden_two_way(golden) -> None:
    case = golden("two_way", "three")
    tokens, image, position = (case.inputs[name] for name in ("tokens", "image", "position"))
    tokens, image = case.run(
        lambda m, *inputs: m.mask_decoder.transformer(*inputs),
        tokens,
        image.reshape(3, -1, image.shape[-1]),
        position.reshape(-1, position.shape[-1]),
        np.ones(tokens.shape[:2], bool),
    )
    case.check(tokens=tokens, image=image)


def _decode(case) -> Masks:
    x = case.inputs
    tokens = PromptTokens(
        sparse=jnp.asarray(x["sparse"]),
        valid=jnp.ones(x["sparse"].shape[:2], bool),
        dense=jnp.asarray(x["dense"]),
    )
    high_res = (x["high_res0"][0], x["high_res1"][0])
    return case.run(lambda m, *a: m.decode_masks(*a), x["embed"][0], high_res, tokens)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_golden_mask_decoder(golden, platform: str) -> None:
    case = golden("mask_decoder", "all")
    with tracing_for(platform):
        masks = _decode(case)
    case.check(
        logits=masks.logits, iou=masks.iou, token=masks.token, object_logit=masks.object_logit
    )


def test_golden_padding_changes_nothing(golden) -> None:
    """The same recorded outputs with two more tokens that are only padding."""
    case = golden("mask_decoder", "all")
    x = case.inputs
    tokens = PromptTokens(
        sparse=jnp.pad(x["sparse"], ((0, 0), (0, 2), (0, 0)), constant_values=3.0),
        valid=jnp.arange(6)[None] < jnp.full((3, 1), 4),
        dense=jnp.asarray(x["dense"]),
    )
    high_res = (x["high_res0"][0], x["high_res1"][0])
    masks = case.run(lambda m, *a: m.decode_masks(*a), x["embed"][0], high_res, tokens)
    case.check(
        logits=masks.logits, iou=masks.iou, token=masks.token, object_logit=masks.object_logit
    )


@pytest.mark.parametrize("name", ["multimask", "single", "some_fall_back", "all_fall_back"])
def test_golden_select_masks(golden, name: str) -> None:
    case = golden("select_masks", name)
    masks = _decode(golden("mask_decoder", "all"))
    chosen = select_masks(case.model.config.decoder, masks, multimask=case.extra["multimask"])
    case.check(first_row=chosen.logits[:, :, :1], iou=chosen.iou, token=chosen.token)


def test_golden_fallback_differs_by_prompt(golden) -> None:
    """The recorded case is worth having: one prompt stays with its single mask, others do not."""
    single, some, every = (
        golden("select_masks", name).outputs["iou"][:, 0]
        for name in ("single", "some_fall_back", "all_fall_back")
    )
    assert (some == single).any() and (some == every).any()
    assert not (single == every).any()
