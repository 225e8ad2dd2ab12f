"""Masks of one image or many: pure functions of a model, an image and prompts.

    features = encode_image(model, images)          # once per image
    masks = predict(model, features, prompts, multimask=True)   # once per click

All of them jit, and nothing here depends on a value. `sam_jax.ImagePredictor` is the stateful face.
Upstream: sam2/sam2_image_predictor.py, SAM2ImagePredictor; sam2/modeling/sam/mask_decoder.py.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from sam_jax.config import DecoderConfig
from sam_jax.ops.formulation import for_cpu
from sam_jax.ops.masks import stability_score
from sam_jax.types import ImageFeatures, Masks, Model, Prompts, PromptTokens


def apply(model: Model, method: str, *inputs: Any) -> Any:
    """`module.method(*inputs)` with the model's parameters and keys."""
    return model.module.apply({"params": model.params}, *inputs, method=method, rngs=model.rngs)


def encode_image(model: Model, images: Shaped[Array, "..."]) -> ImageFeatures:
    """Features of RGB images in 0..1 that were resized to the model's input size.

    Raises:
      ValueError: another size, layout or dtype.
    """
    shape = (side := model.config.image_size, side, 3)
    if images.shape[1:] != shape or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"images must be floating point in 0..1, [b, {side}, {side}, 3], got {images.dtype} "
            f"{list(images.shape)}; sam_jax.io.images.to_model_input makes them from photos"
        )
    return apply(model, "encode_image", images)


def encode_prompts(model: Model, prompts: Prompts) -> PromptTokens:
    """Tokens and dense map of each prompt."""
    return apply(model, "encode_prompts", prompts)


def decode_masks(model: Model, features: ImageFeatures, tokens: PromptTokens) -> Masks:
    """All candidate masks (m = 4: the single-mask token, then the three of an ambiguous prompt).

    Args:
      features: of b images.
      tokens: of n = b * o prompts: o for the first image, then o for the second, ...
    """
    embed = apply(model, "without_memory", features.embed)
    b, n = embed.shape[0], tokens.sparse.shape[0]
    if n % b:
        raise ValueError(f"{n} prompts do not divide among {b} images")
    if tokens.dense.shape[0] == 1:  # one mask map for all: stays one
        dense = jnp.broadcast_to(tokens.dense, (b, *tokens.dense.shape[1:]))
        tokens = replace(tokens, dense=dense)
    size = _group_size(n // b, b)

    def images(group: PromptTokens) -> Masks:
        decode = partial(apply, model, "decode_masks")
        if b > 1:
            return jax.vmap(decode)(embed, features.high_res, group)
        # Batch axes of one that vmap adds inside the products cost a fifth of the time on CPU.
        return jax.tree.map(
            lambda x: x[None],
            decode(*jax.tree.map(lambda x: x[0], (embed, features.high_res, group))),
        )

    per_image = jax.tree.map(lambda x: x.reshape(b, -1, *x.shape[1:]), tokens)
    if size == n // b:
        masks = images(per_image)  # [b o ...]
    else:
        # [groups b size ...]; a map shared by all prompts of an image is not cut.
        def cut(x: Array) -> Array:
            shared = x.shape[1] == 1
            groups = n // b // size
            x = x.reshape(b, 1 if shared else groups, -1, *x.shape[2:]).swapaxes(0, 1)
            return jnp.broadcast_to(x, (groups, *x.shape[1:])) if shared else x

        masks = jax.lax.map(images, jax.tree.map(cut, per_image))
        masks = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(b, -1, *x.shape[3:]), masks)
    return jax.tree.map(lambda x: x.reshape(n, *x.shape[2:]), masks)


def _group_size(prompts: int, images: int) -> int:
    """How many prompts of each image to decode at once.

    On CPU a few prompts fill the caches (64 at once take 2.5 times as long as 16 groups of 4);
    accelerators want them all, until the upscaled maps fill the memory.
    """
    limit = max(1, (4 if for_cpu() else 64) // images)
    return max(size for size in range(1, prompts + 1) if prompts % size == 0 and size <= limit)


def select_masks(config: DecoderConfig, masks: Masks, *, multimask: bool) -> Masks:
    """The masks a caller asked for: three (ambiguous prompt) or one.

    With `config.stability_fallback`, a single mask whose area depends too much on the threshold
    gives way to the best of the three, mask and IoU; its token stays. Upstream:
    MaskDecoder._dynamic_multimask_via_stability.
    """
    single, multi = (
        replace(masks, logits=masks.logits[:, s], iou=masks.iou[:, s], token=masks.token[:, s])
        for s in (slice(0, 1), slice(1, None))
    )
    if multimask:
        return multi
    if not config.stability_fallback:
        return single
    best = multi.iou.argmax(1)[:, None]
    stable = (
        stability_score(single.logits, threshold=0.0, offset=config.stability_delta)
        >= config.stability_threshold
    )  # [n 1]
    best_logits = jnp.take_along_axis(multi.logits, best[:, :, None, None], 1)
    return replace(
        single,
        logits=jnp.where(stable[:, :, None, None], single.logits, best_logits),
        iou=jnp.where(stable, single.iou, jnp.take_along_axis(multi.iou, best, 1)),
    )


def predict(model: Model, features: ImageFeatures, prompts: Prompts, *, multimask: bool) -> Masks:
    """Masks of prompts on encoded images.

    Args:
      features: of b images.
      prompts: n = b * o, o for each image in turn.
      multimask: static; three candidates for each prompt, or the single best guess.
    """
    masks = decode_masks(model, features, encode_prompts(model, prompts))
    return select_masks(model.config.decoder, masks, multimask=multimask)
