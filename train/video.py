"""Training a tracker: show an object on the first frame of a clip, follow it, descend.

The tracker is the one that users run: the pieces of `sam_jax.video.step` under one scan over the
frames, memory bank and all, differentiated through. Only the answers are kept as the decoder made
them, all masks and before an absent object's are erased, because the losses want them so.
The image encoder stays as it is: a clip is encoded once, without a gradient.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from sam_jax import memory as banks
from sam_jax import video
from sam_jax.frame import NO_OBJECT, TrackOptions, encode_frames, fill_holes, remember, see
from sam_jax.image import apply
from sam_jax.models import init_params
from sam_jax.types import (
    NOT_A_POINT,
    ImageFeatures,
    Masks,
    Model,
    ObjectAnswer,
    Prompts,
    Recall,
    VideoState,
)
from train.config import VideoConfig
from train.losses import Losses, prediction_losses
from train.prompts import first_prompts
from train.quick import quick_gradients
from train.step import TrainState, adamw

OPTIONS = TrackOptions(one_by_one=False)
MEMORY = (
    "memory_attention",
    "memory_encoder",
    "maskmem_tpos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "obj_ptr_proj",
    "obj_ptr_tpos_proj",
    "mask_downsample",
)
_HIGH_RES = ("conv_s0", "conv_s1")  # in the decoder's tree, but the encoder's last layers
_PLACE = 2.0  # bias of queries and keys to the memory, which turn: what is near attracts
_EMBED_SCALE = 1.6  # standard deviation of the image embedding, which the memory must keep
_ABSENT = 5.0  # weight of an absent object in the loss of the object logit: one in ten is
_GIVEN_MASK = 0.5  # how many first frames come with their mask; the rest have boxes and clicks


def make_optimizer(config: VideoConfig) -> optax.GradientTransformation:
    """AdamW for what only video uses, a slower one for the decoder, nothing for the rest."""

    def label(path: Any, _: Array) -> str:
        names = [entry.key for entry in path]
        if names[0] in MEMORY:
            return "frozen" if "fuser" in names else "memory"
        decoder = names[0] == "mask_decoder" and names[1] not in _HIGH_RES
        return "decoder" if decoder and config.decoder_rate else "frozen"

    return optax.multi_transform(
        {
            "memory": adamw(config),
            "decoder": adamw(
                replace(config, learning_rate=config.decoder_rate * config.learning_rate)
            ),
            "frozen": optax.set_to_zero(),
        },
        lambda params: jax.tree_util.tree_map_with_path(label, params),
    )


def initial_params(module: nn.Module, trained: Any, key: PRNGKeyArray) -> Any:
    """Parameters of an image model, with new ones for the memory, so that it starts close to use.

    Queries and keys of the attention to the memory begin with equal biases. They are turned by
    their grid position, so that every place at first reads what was remembered about it and its
    neighbours. The last norm begins with the scale of the embedding that the decoder knows.

    Args:
      trained: parameters of a model that answers prompts on images.
    """
    fresh = init_params(module, key)
    params = {name: fresh[name] if name in MEMORY else trained[name] for name in trained}
    attention = params["memory_attention"]
    for name, layer in attention.items():
        if name.startswith("layers_"):
            for projection in ("q_proj", "k_proj"):
                layer["cross_attn_image"][projection]["bias"] += _PLACE
    attention["norm"]["scale"] *= _EMBED_SCALE
    attention["norm"]["bias"] += trained["no_mem_embed"].reshape(-1)
    return params


def encode_clip(model: Model, images: UInt8[Array, "t b H W 3"]) -> ImageFeatures:
    """Features of all frames, leaves with leading t and b; without a gradient."""
    features = jax.lax.map(partial(encode_frames, model), images)
    return jax.lax.stop_gradient(features)


def follow(
    model: Model,
    features: ImageFeatures,
    masks: Bool[Array, "n H W"],
    prompts: Prompts,
    given: Bool[Array, " n"],
) -> tuple[Masks, Masks]:
    """Show objects on the first frame, track them on the others.

    Args:
      features: of a clip, as from `encode_clip`.
      masks: on the first frame, at the model input's size.
      prompts: for the first frame.
      given: objects that are shown by their mask; the rest by the prompt.

    Returns:
      All masks of all objects: of the prompts on the first frame [n ...], and on every frame after
      it [t-1 n ...].
    """
    first = jax.tree.map(lambda x: x[0], features)
    state = _short_state(model, masks.shape[0], frames=features.embed.shape[0])
    state, _ = video.prompt_masks(
        model, state, first, masks.astype(jnp.float32), given, options=OPTIONS
    )

    def show(features: ImageFeatures, prompts: Prompts) -> tuple:
        plain = apply(model, "without_memory", features.embed)
        found = apply(
            model,
            "decode_masks",
            plain,
            features.high_res,
            apply(model, "encode_prompts", prompts),
        )
        # One click is ambiguous, boxes and several clicks are not; see `sam_jax.frame.decode`.
        ambiguous = (prompts.labels >= 0).sum(1) == 1
        answer = _answer(model, found, ambiguous)
        logits = fill_holes(jax.lax.stop_gradient(answer.logits), OPTIONS)
        shown = jnp.ones_like(ambiguous)
        return found, remember(model, features, logits, answer, shown, OPTIONS)

    prompted, memory = _by_image(show, first, prompts)
    bank = banks.write(state.bank, memory, state.frame, prompted=~given, keep=~given)
    state = replace(state, bank=bank, frame=state.frame + 1)

    def frame(state: VideoState, features: ImageFeatures) -> tuple[VideoState, Masks]:
        def track(features: ImageFeatures, objects: tuple) -> tuple:
            bank, recall = objects
            n = bank.num_prompted.shape[0]
            embed = see(model, features, bank, recall, jnp.ones(n, bool))
            nothing = Prompts(
                points=jnp.zeros((n, 2, 2)),
                labels=jnp.full((n, 2), NOT_A_POINT),
                mask=prompts.mask[:0],
                has_mask=prompts.has_mask[:0],
            )
            tokens = apply(model, "encode_prompts", nothing)
            found = apply(model, "decode_masks", embed, features.high_res, tokens)
            answer = _answer(model, found, jnp.ones(n, bool))
            shown = jnp.zeros(n, bool)
            return found, remember(model, features, answer.logits, answer, shown, OPTIONS)

        found, memory = _by_image(track, features, (state.bank, _recall(model, state)))
        always = jnp.ones_like(given)
        bank = banks.write(state.bank, memory, state.frame, prompted=~always, keep=always)
        return replace(state, bank=bank, frame=state.frame + 1), found

    _, tracked = jax.lax.scan(frame, state, jax.tree.map(lambda x: x[1:], features))
    return prompted, tracked


def _short_state(model: Model, n: int, frames: int) -> VideoState:
    """`video.init_state` with room for one clip: empty slots cost as much as full ones."""
    state = video.init_state(model, n, prompted=1, options=OPTIONS)
    slots = min(frames - 1, state.bank.frame.shape[1])
    bank = replace(
        state.bank, features=state.bank.features[:, :slots], frame=state.bank.frame[:, :slots]
    )
    return replace(state, bank=bank)


def _recall(model: Model, state: VideoState) -> Recall:
    """`video.recall` from a short bank: the prompted frame's row is still the table's last."""
    recall = video.recall(state, OPTIONS)
    last = model.config.memory.num_maskmem - 1
    return replace(recall, time=recall.time.at[:, 0].set(last))


def _by_image(function: Callable, features: ImageFeatures, objects: Any) -> Any:
    """`function(features of one image, its objects)` for all images."""
    b = features.embed.shape[0]

    def split(x: Array) -> Array:
        return x.reshape(b, x.shape[0] // b, *x.shape[1:])

    result = jax.vmap(function)(features, jax.tree.map(split, objects))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), result)


def _answer(model: Model, masks: Masks, ambiguous: Bool[Array, " n"]) -> ObjectAnswer:
    """The mask that is handed on: of ambiguous prompts the best of three, else the single one.

    As `sam_jax.frame.decode` chooses, but for the single mask's stability, which is left out.
    """
    best = jnp.where(ambiguous, 1 + masks.iou[:, 1:].argmax(1), 0)

    def choose(x: Array) -> Array:
        return jnp.take_along_axis(x, best.reshape(-1, *[1] * (x.ndim - 1)), 1)[:, 0]

    present = masks.object_logit > 0
    return ObjectAnswer(
        logits=jnp.where(present[:, None, None], choose(masks.logits), NO_OBJECT),
        iou=choose(masks.iou),
        object_logit=masks.object_logit,
        pointer=apply(model, "object_pointer", choose(masks.token), present),
    )


def shrink(masks: Bool[Array, "... H W"], size: int) -> Bool[Array, "... hm wm"]:
    """Masks at the size of logits: pixels that are covered by more than half."""
    stride = masks.shape[-1] // size
    tiles = masks.reshape(*masks.shape[:-2], size, stride, size, stride)
    return tiles.mean((-3, -1)) > 0.5


def _object_loss(
    logits: Float[Array, "t n"], targets: Bool[Array, "t n h w"]
) -> Float[Array, " t"]:
    """How wrong object logits are, absent objects weighing more."""
    present = targets.any((-2, -1))
    error = jax.nn.softplus(jnp.where(present, -logits, logits))
    return (jnp.where(present, 1, _ABSENT) * error).mean(1)


def make_step(
    module: nn.Module, optimizer: optax.GradientTransformation, config: VideoConfig
) -> Callable[..., tuple[TrainState, Losses]]:
    """`step(state, key, images, masks) -> (state, losses)`, jitted; the old state is given up.

    images [t b H W 3] uint8, masks [t b*o H W] bool, o of each clip in turn. The losses are means
    over the frames: of tracked objects, and of the prompts on the first frame.
    """
    size = module.config.mask_size  # type: ignore[unresolved-attribute]

    def loss(
        params: Any,
        features: ImageFeatures,
        balance: Array,
        key: PRNGKeyArray,
        masks: Bool[Array, "t n H W"],
    ) -> tuple[Array, Losses]:
        model = Model(params=params, module=module)
        prompt_key, given_key = jax.random.split(key)
        prompts = first_prompts(prompt_key, masks[0], size, slots=1)
        given = jax.random.uniform(given_key, masks.shape[1:2]) < _GIVEN_MASK
        targets = shrink(masks, size)
        with quick_gradients():
            prompted, tracked = follow(model, features, masks[0], prompts, given)
        every = jax.vmap(lambda masks, target: prediction_losses(masks, masks.logits, target))(
            tracked, targets[1:]
        )
        shown = prediction_losses(prompted, prompted.logits, targets[0])
        every = replace(every, object=_object_loss(tracked.object_logit, targets[1:]))
        t = masks.shape[0]
        losses = jax.tree.map(lambda x, y: (x.sum() + y) / t, every, shown)
        return losses.total(balance), losses

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState, key: PRNGKeyArray, images: Array, masks: Array
    ) -> tuple[TrainState, Losses]:
        key = jax.random.fold_in(key, state.step)
        balance = jnp.clip(1 - state.step / max(config.balance_steps, 1), 0, 1)
        features = encode_clip(Model(params=state.params, module=module), images)
        grads, losses = jax.grad(loss, has_aux=True)(state.params, features, balance, key, masks)
        return state.descend(optimizer, grads, config.ema), losses

    return step
