"""AdamW with the official parameter groups, on a flat dict path -> array.

Upstream: training/optimizer.py and `optim` of sam2.1_hiera_b+_MOSE_finetune.yaml. Its groups are
one tree of peak rates here, and all follow one schedule.

Not upstream's: gradients of several batches (`Recipe.accumulate`) are averaged, as upstream's are
over devices, and parameters move after the last of them. Steps of a recipe are batches still.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sam_jax.config import Config, SamConfig
from train.config import Optimizer, Recipe

# Upstream exempts biases and torch.nn.LayerNorm. Norms of convolutions are a class of their own
# there, LayerNorm2d, and so are decayed: those of the mask stems, the upscaling and the memory.
# No code was published of SAM 1's training; of its encoder, norms and position tables are exempt as
# in ViTDet (arXiv 2203.16527), on which it is built.
_UNDECAYED = re.compile(
    r"bias"
    r"|^image_encoder/(trunk/)?blocks_\d+/norm\d/scale$"
    r"|^image_encoder/(neck_\d/scale|pos_embed|blocks_\d+/attn/rel_pos_[hw])$"
    r"|^mask_decoder/transformer/.*norm\w*/scale$"
    r"|^memory_attention/.*norm\d?/scale$"
    r"|^text_encoder/.*norm\d?/scale$"
)
_LAYER = re.compile(
    r"^image_encoder/(?:trunk/)?blocks_(\d+)/"
    r"|^image_encoder/(?:(?:trunk/)?patch_embed/|pos_embed$)"
)


def make_optimizer(
    recipe: Recipe, config: Config, params: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Gradients of the loss -> updates to add to `params`.

    Args:
      config: the model, whose number of blocks the layer-wise decay counts from.
      params: what is trained, path -> anything.

    Raises:
      ValueError: numbers of the schedule that cannot be meant.
    """
    o = recipe.optimizer
    rates, shape = learning_rates(o, config, params), schedule(o, recipe.steps)
    optimizer = optax.chain(
        optax.clip_by_global_norm(o.clip),
        optax.scale_by_adam(*o.betas),
        optax.add_decayed_weights(o.weight_decay, mask={path: is_decayed(path) for path in params}),
        optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, rates)),
        optax.scale_by_learning_rate(lambda moves: shape(moves * recipe.accumulate)),
    )
    if recipe.accumulate > 1:
        return optax.MultiSteps(optimizer, recipe.accumulate).gradient_transformation()
    return optimizer


def is_decayed(path: str) -> bool:
    """Whether weight decay pulls on a parameter; on its low-rank additions, as on itself."""
    return not _UNDECAYED.search(path)


def learning_rates(optimizer: Optimizer, config: Config, paths: Iterable[str]) -> dict[str, float]:
    """The peak learning rate of each parameter.

    Upstream: layer_decay_param_modifier, and get_layer_id of Hiera. Hiera's position tables come
    before the first layer, but are exempt from the decay; SAM 1's is not, as in ViTDet.
    """
    depth = config.encoder.depth if isinstance(config, SamConfig) else config.trunk.depth
    encoder = optimizer.encoder_rate
    encoder = optimizer.learning_rate if encoder is None else encoder

    words = optimizer.learning_rate if optimizer.words_rate is None else optimizer.words_rate

    def rate(path: str) -> float:
        if path.startswith("text_encoder/"):
            return words
        if not path.startswith("image_encoder/"):
            return optimizer.learning_rate
        layer = _LAYER.match(path)
        if layer is None:
            return encoder
        index = int(layer[1]) + 1 if layer[1] else 0
        return encoder * optimizer.layer_decay ** (depth + 1 - index)

    return {path: rate(path) for path in paths}


def schedule(optimizer: Optimizer, steps: int) -> optax.Schedule:
    """What peak learning rates are multiplied by at a step, counted from 0.

    "cosine" without warm-up is fvcore's CosineParamScheduler of the part that was done before the
    step. "rsqrt" is 1 up to the end of warm-up, from where it falls as sqrt(warmup / step).

    Raises:
      ValueError: more warm-up and cool-down than steps, none where the schedule needs it, or drops
        that are not between 0 and 1.
    """
    o, end = optimizer, steps - optimizer.cooldown
    if o.cooldown and o.schedule != "rsqrt":
        raise ValueError(f"cooldown={o.cooldown} is for the schedule 'rsqrt', not {o.schedule!r}")
    if not 0 <= o.warmup <= end:
        raise ValueError(
            f"warmup={o.warmup} and cooldown={o.cooldown} do not fit into {steps} steps"
        )
    if o.schedule == "rsqrt" and not o.warmup:
        raise ValueError("the schedule 'rsqrt' falls from the end of its warm-up: set warmup")
    if any(not 0 < drop < 1 for drop in o.drops):
        raise ValueError(f"drops={o.drops} must be parts of all steps, between 0 and 1")
    rest = max(steps - o.warmup, 1)
    shapes = {
        "constant": optax.constant_schedule(1.0),
        "cosine": optax.cosine_decay_schedule(1.0, rest, alpha=o.final),
        "step": optax.piecewise_constant_schedule(
            1.0, {round(drop * steps) - o.warmup: 0.1 for drop in o.drops}
        ),
        "rsqrt": _rsqrt(o.warmup, end - o.warmup, o.cooldown),
    }
    rise = optax.linear_schedule(0.0, 1.0, max(o.warmup, 1))
    return optax.join_schedules([rise, shapes[o.schedule]], [o.warmup])


def _rsqrt(timescale: int, end: int, cooldown: int) -> optax.Schedule:
    """sqrt(timescale / (timescale + step)), from `end` on falling to nothing over `cooldown`."""

    def shape(step: Any) -> Any:
        fall = jnp.clip(1 - (step - end) / max(cooldown, 1), 0, 1)
        return jnp.sqrt(timescale / (timescale + step)) * jnp.where(step < end, 1, fall)

    return shape
