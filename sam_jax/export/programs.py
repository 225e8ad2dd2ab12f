"""The functions that are exported: flat dicts of arrays in and out.

Who calls them knows neither flax nor our structs; see `sam_jax.export.arrays`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from sam_jax import video
from sam_jax.checkpoint.strict import unflatten
from sam_jax.config import Config, Sam2Config
from sam_jax.export.arrays import (
    Arrays,
    Shapes,
    feature_shapes,
    prompt_shapes,
    read_features,
    read_prompts,
    read_state,
    state_shapes,
    write_features,
    write_state,
)
from sam_jax.image import apply, decode_masks, encode_image, encode_prompts, select_masks
from sam_jax.predictors.text import score_texts
from sam_jax.types import FrameInput, FrameOutput, ImageFeatures, Model, VideoState

NAMES = ("encoder", "decoder", "segment", "track-step", "track-masks", "text")


@dataclass(frozen=True)
class Program:
    """One function, and what it takes.

    Attributes:
      function: (weights, inputs) -> outputs, or (weights, state, inputs) -> (state, outputs).
      inputs: name -> shape and dtype.
      state: likewise; empty where the function has none.
      fills: what each array of the state is filled with before an object is known.
    """

    function: Callable[..., Any]
    inputs: Shapes
    state: Shapes = field(default_factory=dict)
    fills: dict[str, int] = field(default_factory=dict)


def programs(module: nn.Module) -> dict[str, Program]:
    """What a model can do, by name; some of `NAMES`."""
    config: Config = module.config  # type: ignore[unresolved-attribute]
    side = config.image_size
    images: Shapes = {"images": (f"b, {side}, {side}, 3", jnp.float32)}
    features = feature_shapes(config, module.dtype)  # type: ignore[unresolved-attribute]
    prompts = prompt_shapes(config, mask=True)

    def model(weights: Arrays) -> Model:
        return Model(unflatten(weights), module)

    def encoder(weights: Arrays, inputs: Arrays) -> Arrays:
        return write_features(encode_image(model(weights), inputs["images"]))

    def decoder(weights: Arrays, inputs: Arrays) -> Arrays:
        return _decode(model(weights), read_features(inputs), inputs)

    def segment(weights: Arrays, inputs: Arrays) -> Arrays:
        return _decode(model(weights), encode_image(model(weights), inputs["images"]), inputs)

    def text(weights: Arrays, inputs: Arrays) -> Arrays:
        return {"text": apply(model(weights), "encode_text", inputs["tokens"])}

    found = {
        "encoder": Program(encoder, images),
        "decoder": Program(decoder, features | prompts),
        "segment": Program(segment, images | prompts),
    }
    if isinstance(config, Sam2Config):
        found |= _trackers(module, model, features)
    if config.words is not None:
        found["text"] = Program(text, {"tokens": (f"n, {config.words.context}", jnp.int32)})
    return found


def _decode(model: Model, features: ImageFeatures, inputs: Arrays) -> Arrays:
    """Both answers to each prompt, as `sam_jax.ImagePredictor` gives them."""
    config, b = model.config, features.embed.shape[0]
    prompts = read_prompts(config, inputs)
    masks = decode_masks(model, features, encode_prompts(model, prompts))
    found = {"object_logit": masks.object_logit}
    for name, multimask in (("multi", True), ("single", False)):
        some = select_masks(config.decoder, masks, multimask=multimask)
        some = score_texts(config.decoder, some, prompts)
        found |= {f"{name}_logits": some.logits, f"{name}_iou": some.iou}
    for name in ("single_logits", "single_iou"):
        found[name] = found[name][:, 0]
    return {name: x.reshape(b, -1, *x.shape[1:]) for name, x in found.items()}


def _trackers(
    module: nn.Module, model: Callable[[Arrays], Model], features: Shapes
) -> dict[str, Program]:
    config: Sam2Config = module.config  # type: ignore[unresolved-attribute]
    side = config.image_size
    asked: Shapes = {name: ("b, o", jnp.bool) for name in ("prompted", "correcting")}
    masks: Shapes = {
        "masks": (f"b, o, {side}, {side}", jnp.float32),
        "given": ("b, o", jnp.bool),
    }

    def track_step(weights: Arrays, state: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
        frame = FrameInput(
            features=read_features(inputs),
            prompts=read_prompts(config, inputs),
            prompted=inputs["prompted"].reshape(-1),
            correcting=inputs["correcting"].reshape(-1),
        )
        return tracked(inputs, *video.step(model(weights), read_state(state), frame))

    def track_masks(weights: Arrays, state: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
        flat = inputs["masks"].reshape(-1, side, side)
        given, features = inputs["given"].reshape(-1), read_features(inputs)
        answer = video.prompt_masks(model(weights), read_state(state), features, flat, given)
        return tracked(inputs, *answer)

    def tracked(inputs: Arrays, state: VideoState, output: FrameOutput) -> tuple[Arrays, Arrays]:
        b = inputs["embed"].shape[0]
        answers = {name: x.reshape(b, -1, *x.shape[1:]) for name, x in vars(output).items()}
        return write_state(state, b), answers

    state, fills = state_shapes(module)
    steps = features | prompt_shapes(config, mask=False) | asked
    return {
        "track-step": Program(track_step, steps, state, fills),
        "track-masks": Program(track_masks, features | masks, state, fills),
    }
