"""One training step: prompt, correct once, descend; the state and the optimiser."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from sam_jax.image import apply, encode_image, encode_prompts
from sam_jax.models import init_params
from sam_jax.ops.resize import bilinear
from sam_jax.types import ImageFeatures, Masks, Model, Prompts
from train.config import Run, TrainConfig
from train.losses import Losses, prediction_losses
from train.prompts import MAX_CLICKS, correct, first_prompts, naive_masks

# What takes part in answering prompts on images; the memory keeps its initial values.
_TRAINED = ("image_encoder", "prompt_encoder", "mask_decoder", "no_mem_embed")
_ATTRACTION = 6.0  # makes the attraction of a position to itself about 3 before the softmax
_ANSWER = 4.0  # of the tokens to the image, against what the image shows
_CONSTANT = "positional_encoding_gaussian_matrix"  # a buffer upstream, not a parameter


@struct.dataclass
class TrainState:
    """Attributes:
    params, ema: parameter trees; `ema` is the average that is shipped.
    optimizer: optax state.
    step: steps taken.
    """

    params: Any
    ema: Any
    optimizer: Any
    step: Array

    def descend(
        self, optimizer: optax.GradientTransformation, grads: Any, decay: float
    ) -> "TrainState":
        """One step along the gradients; `decay` is the average's, smaller in the first steps.

        What does not move keeps its exact value in the average, too.
        """
        updates, optimizer_state = optimizer.update(grads, self.optimizer, self.params)
        params = optax.apply_updates(self.params, updates)
        keep = jnp.minimum(decay, (1 + self.step) / (10 + self.step))
        ema = jax.tree.map(lambda e, p: e + (1 - keep) * (p - e), self.ema, params)
        return TrainState(params, ema, optimizer_state, self.step + 1)


def adamw(config: Run) -> optax.GradientTransformation:
    """AdamW with warm-up, cosine and clipped gradients."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        config.warmup,
        config.steps,
        end_value=0.01 * config.learning_rate,
    )

    def decayed(params: Any) -> Any:
        return jax.tree.map(lambda x: x.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        # b2 0.98: the large gradients of the first steps are forgotten in time for the small ones.
        optax.adamw(schedule, b2=0.98, weight_decay=config.weight_decay, mask=decayed),
    )


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """AdamW for what is trained, nothing for the rest."""

    def label(path: Any, _: Array) -> str:
        names = [entry.key for entry in path]
        return "trained" if names[0] in _TRAINED and names[-1] != _CONSTANT else "frozen"

    return optax.multi_transform(
        {"trained": adamw(config), "frozen": optax.set_to_zero()},
        lambda params: jax.tree_util.tree_map_with_path(label, params),
    )


def initial_params(module: nn.Module, key: PRNGKeyArray) -> Any:
    """Parameters to start from, so that a click has an effect near it from the first step on.

    Tokens and prompt embeddings are as large as PyTorch's nn.Embedding: the Fourier code of a click
    does not drown them. Where tokens and image read each other, keys begin as queries times a gain,
    so that equal positions attract. With independent queries and keys, hundreds of steps pass
    before an answer depends on the prompt.
    """
    params = init_params(module, key)
    for part in ("prompt_encoder", "mask_decoder"):
        for name, x in params[part].items():
            if name != "no_mask_embed" and name.rstrip("_0123").endswith(
                ("_token", "_tokens", "_embed", "_embeddings")
            ):
                params[part][name] = x / x.std()
    transformer = params["mask_decoder"]["transformer"]
    readers = [transformer["final_attn_token_to_image"]]
    for name, layer in transformer.items():
        if name.startswith("layers_"):
            readers += [layer["cross_attn_token_to_image"], layer["cross_attn_image_to_token"]]
            layer["cross_attn_image_to_token"]["out_proj"]["kernel"] *= _ANSWER
    for attention in readers:
        attention["k_proj"]["kernel"] = _ATTRACTION * attention["q_proj"]["kernel"]
    return params


def init_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    ema = jax.tree.map(jnp.copy, params)  # its own memory: a step gives the old state away
    return TrainState(params, ema, optimizer.init(params), jnp.zeros((), jnp.int32))


def decode(model: Model, features: ImageFeatures, prompts: Prompts) -> Masks:
    """All four masks of n = b * o prompts, at once.

    `sam_jax.image.decode_masks` does the same in small groups on CPU, which is quicker for answers
    and takes twice as long for their gradients.
    """
    embed = apply(model, "without_memory", features.embed)
    tokens = encode_prompts(model, prompts)
    per_image = jax.tree.map(lambda x: x.reshape(embed.shape[0], -1, *x.shape[1:]), tokens)
    masks = jax.vmap(partial(apply, model, "decode_masks"))(embed, features.high_res, per_image)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), masks)


def best_mask(masks: Masks) -> Float[Array, "n hm wm"]:
    """Logits of the mask whose predicted IoU is highest, of the three."""
    best = masks.iou[:, 1:].argmax(1)[:, None, None, None]
    return jnp.take_along_axis(masks.logits[:, 1:], best, 1)[:, 0]


def make_step(
    module: nn.Module, optimizer: optax.GradientTransformation, config: TrainConfig
) -> Callable[..., tuple[TrainState, Losses]]:
    """`step(state, key, images, masks) -> (state, losses)`, jitted; the old state is given up.

    images [b H W 3] uint8, masks [b*o H W] bool, o of each image in turn. The losses are means over
    the two rounds.
    """
    mask_size = module.config.mask_size  # type: ignore[unresolved-attribute]
    loss_size = config.loss_scale * mask_size

    def loss(
        params: Any,
        balance: Array,
        locating: Array,
        key: PRNGKeyArray,
        images: UInt8[Array, "b H W 3"],
        masks: Bool[Array, "n H W"],
    ) -> tuple[Array, Losses]:
        model = Model(params=params, module=module)
        features = encode_image(model, images.astype(jnp.float32) / 255)
        stride = masks.shape[1] // loss_size
        target = masks.reshape(-1, loss_size, stride, loss_size, stride).mean((2, 4)) > 0.5
        keys = jax.random.split(key, config.rounds)
        prompts = first_prompts(keys[0], masks, mask_size, slots=config.rounds)
        rounds = []
        for i in range(config.rounds):
            answer = decode(model, features, prompts)
            fine = bilinear(answer.logits, loss_size, loss_size)
            wanted = jnp.where(locating, naive_masks(prompts, masks.shape[1], loss_size), target)
            rounds.append(prediction_losses(answer, fine, wanted))
            if i + 1 < config.rounds:
                logits = jax.lax.stop_gradient(best_mask(answer))
                prompts = correct(
                    keys[i + 1],
                    prompts,
                    MAX_CLICKS + i,
                    masks=masks,
                    predicted=bilinear(logits, *masks.shape[1:]) > 0,
                    logits=logits,
                )
        losses = jax.tree.map(lambda *x: sum(x) / config.rounds, *rounds)
        return losses.total(balance), losses

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState, key: PRNGKeyArray, images: Array, masks: Array
    ) -> tuple[TrainState, Losses]:
        key = jax.random.fold_in(key, state.step)
        balance = jnp.clip(1 - state.step / max(config.balance_steps, 1), 0, 1)
        grads, losses = jax.grad(loss, has_aux=True)(
            state.params, balance, state.step < config.locate_steps, key, images, masks
        )
        return state.descend(optimizer, grads, config.ema), losses

    return step
