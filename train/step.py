"""One training step: answer a simulated user, descend; the state that goes from step to step."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from sam_jax.types import ImageFeatures, Model
from train.config import Recipe
from train.losses import Losses
from train.placement import state_shardings, whole
from train.quick import quick_gradients
from train.rollout import rollout
from train.trainable import join
from train.types import Batch

Flat = dict[str, Array]  # parameters by path


@struct.dataclass
class TrainState:
    """Attributes:
    trained, fixed: parameters that move and that do not; see `train.trainable`.
    ema: average of `trained`; empty where the recipe wants none.
    optimizer: optax state.
    step: steps taken.
    """

    trained: Flat
    fixed: Flat
    ema: Flat
    optimizer: Any
    step: Array


@struct.dataclass
class Metrics:
    """Of one step.

    Attributes:
      total: what was descended.
      gradient: global norm before it was clipped.
    """

    losses: Losses
    total: Array
    gradient: Array


def init_state(
    trained: Flat, fixed: Flat, optimizer: optax.GradientTransformation, recipe: Recipe
) -> TrainState:
    """The state before the first step."""
    # Its own memory: a step gives the old state away.
    ema = {} if recipe.ema is None else jax.tree.map(jnp.copy, trained)
    return TrainState(trained, fixed, ema, optimizer.init(trained), jnp.zeros((), jnp.int32))


def make_step(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    recipe: Recipe,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, PRNGKeyArray, Batch], tuple[TrainState, Metrics]]:
    """`step(state, key, batch) -> (state, metrics)`, to be jitted: a pure function.

    The key is the run's; each step draws from it by its number.

    Args:
      mesh: that it runs on, if on several devices. Parameters that are spread over it are gathered
        once in a step, and their gradients spread in the same way.
    """

    def loss(
        trained: Flat, fixed: Flat, step: Array, key: PRNGKeyArray, batch: Batch
    ) -> tuple[Array, Losses]:
        if mesh is not None:
            # Else the compiler may cut activations as it finds parameters cut, and in loops.
            trained, fixed = jax.lax.with_sharding_constraint((trained, fixed), whole(mesh))
        model = Model(params=join(trained, fixed, recipe.lora), module=module)
        frames = batch.images.shape[0]
        stream = recipe.images if frames == 1 else recipe.videos
        assert stream is not None
        drop_key, key = jax.random.split(key)
        weights = recipe.losses
        with quick_gradients(frames) if jax.default_backend() == "cpu" else nullcontext():
            losses = rollout(
                model,
                encode(model, batch.images, drop_key),
                batch,
                key,
                prompting=stream.prompts,
                weights=weights,
                remat=recipe.remat != "none",
                locating=step < weights.locate_steps,
            )
        balance = jnp.clip(1 - step / weights.balance_steps, 0, 1) if weights.balance_steps else 0.0
        return losses.total(weights, balance), losses

    def step(state: TrainState, key: PRNGKeyArray, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        (total, losses), grads = jax.value_and_grad(loss, has_aux=True)(
            state.trained, state.fixed, state.step, key, batch
        )
        if mesh is not None:
            grads = jax.lax.with_sharding_constraint(grads, state_shardings(mesh, grads))
        metrics = Metrics(losses, total, optax.tree.norm(grads))
        updates, optimizer_state = optimizer.update(grads, state.optimizer, state.trained)
        trained = jax.tree.map(jnp.add, state.trained, updates)
        ema = _average(state.ema, trained, state.step, recipe.ema)
        return TrainState(trained, state.fixed, ema, optimizer_state, state.step + 1), metrics

    return step


def encode(
    model: Model, images: UInt8[Array, "t b H W 3"], drop_key: PRNGKeyArray
) -> ImageFeatures:
    """Features of all frames, leaves [t b ...]."""
    t, b = images.shape[:2]
    # Clips first, which are spread over devices: with frames first, all would get all pictures.
    flat = images.swapaxes(0, 1).reshape(b * t, *images.shape[2:]).astype(jnp.float32) / 255
    features = model.module.apply(
        {"params": model.params}, flat, method="encode_image", rngs={"drop_path": drop_key}
    )
    return jax.tree.map(lambda x: x.reshape(b, t, *x.shape[1:]).swapaxes(0, 1), features)


def _average(ema: Flat, trained: Flat, step: Float[Array, ""], decay: float | None) -> Flat:
    """The average after a step; young averages forget faster."""
    if decay is None:
        return ema
    keep = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda e, p: e + (1 - keep) * (p - e), ema, trained)
