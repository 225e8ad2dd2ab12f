"""Quick gradients are gradients of the same sums."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.models.layers import Linear, Upsample2x
from sam_jax.models.memory_attention import RopeAttention
from sam_jax.models.memory_encoder import DepthwiseConv
from sam_jax.ops.position import rope_tables
from sam_jax.types import MemoryTokens, Model
from train.config import LossWeights, Prompting
from train.quick import quick_gradients
from train.rollout import rollout
from train.step import encode
from train.types import Batch


def _random(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _distance(found: Any, wanted: Any) -> float:
    """Of two trees of arrays, relative to the second one's norm."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True))
    error = sum(float(jnp.sum((a - b) ** 2)) for a, b in pairs)
    return (error / sum(float(jnp.sum(b**2)) for _, b in pairs)) ** 0.5


def _agree(
    loss: Callable[..., jax.Array], *args: Any, frames: int = 8, limit: float = 1e-5
) -> None:
    """Value and gradients of all arguments, with and without, after a sum with random weights.

    Args:
      frames: of clips whose memory the arguments may be.
    """
    answer = jax.eval_shape(loss, *args)
    weights = _random(9, *answer.shape)

    def both(*args: Any) -> tuple[jax.Array, jax.Array]:
        y = loss(*args)
        return (y * weights).sum(), y

    places = tuple(range(len(args)))
    (_, plain), wanted = jax.jit(jax.value_and_grad(both, places, has_aux=True))(*args)
    with quick_gradients(frames):
        # Another function: the traces of the first one are remembered.
        again = partial(both)
        (_, quick), found = jax.jit(jax.value_and_grad(again, places, has_aux=True))(*args)
    assert quick.dtype == plain.dtype
    assert _distance(found, wanted) < limit
    assert _distance(quick, plain) < limit


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (DepthwiseConv(5), (2, 9, 6, 5)),
        (nn.Conv(6, (3, 3), strides=2, padding=1), (2, 8, 12, 3)),
        (nn.Conv(6, (7, 7), strides=4, padding=3), (2, 16, 24, 3)),
        (nn.Conv(6, (2, 2), strides=2, padding=0), (2, 8, 6, 3)),
        (Upsample2x(6, 4), (2, 3, 5, 6)),
        (Linear(6, 4), (2, 3, 5, 6)),
        (Linear(6, 4, conv=True), (2, 3, 5, 6)),
    ],
)
def test_modules_give_what_they_give_otherwise(
    module: nn.Module, shape: tuple[int, ...], dtype: Any, random_params: Callable[..., Any]
) -> None:
    """In bfloat16 as well, where rounding is all the difference."""
    if isinstance(module, nn.Conv):
        module = module.clone(dtype=dtype)
    x = _random(0, *shape).astype(dtype)
    params = random_params(jax.eval_shape(module.init, jax.random.key(0), x)["params"])
    limit = 1e-5 if dtype == jnp.float32 else 2e-2
    _agree(lambda params, x: module.apply({"params": params}, x), params, x, limit=limit)


def test_a_mapped_depthwise_convolution_has_its_gradients(
    random_params: Callable[..., Any],
) -> None:
    """As it is used: mapped over the clips, the kernel common to all."""
    module, x = DepthwiseConv(5), _random(0, 3, 2, 9, 6, 5)
    params = random_params(jax.eval_shape(module.init, jax.random.key(0), x[0])["params"])
    _agree(lambda params, x: jax.vmap(lambda x: module.apply({"params": params}, x))(x), params, x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_reading_the_memory_passes_over_empty_slots(
    dtype: Any, random_params: Callable[..., Any]
) -> None:
    """The second object has one map and one pointer; nothing comes from what the others hold."""
    n, slots, side, dim, e, pointers = 2, 3, 4, 16, 8, 5
    module = RopeAttention(dim, e)
    tables = rope_tables(side, side, dim)
    memory = MemoryTokens(
        maps=_random(1, n, slots, side * side, e),
        maps_pe=_random(2, n, slots, side * side, e),
        maps_valid=jnp.array([[True] * slots, [True, False, False]]),
        pointers=_random(3, n, pointers, e),
        pointers_pe=_random(4, n, pointers, e),
        pointers_valid=jnp.array([[True] * pointers, [False, True, False, False, False]]),
    )
    x = _random(0, n, side * side, dim)

    def read(params: Any, x: jax.Array, maps: jax.Array, pointers: jax.Array) -> jax.Array:
        held = memory.replace(maps=maps, pointers=pointers)
        return module.apply({"params": params}, x, held, tables, method="to_memory")

    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), x, memory, tables, method="to_memory")
    )
    params = jax.tree.map(jnp.asarray, random_params(shapes["params"]))
    memory, x = jax.tree.map(lambda a: a if a.dtype == bool else a.astype(dtype), (memory, x))
    limit = 1e-5 if dtype == jnp.float32 else 2e-2
    _agree(read, params, x, memory.maps, memory.pointers, limit=limit)
    with quick_gradients(slots + 1):
        of_maps = jax.grad(lambda maps: (read(params, x, maps, memory.pointers) ** 2).sum())(
            memory.maps
        )
    assert float(jnp.abs(of_maps[1, 1:]).max()) == 0
    assert float(jnp.abs(of_maps[1, 0]).max()) > 0


def test_a_short_clip_leaves_out_slots_that_hold_nothing(
    random_params: Callable[..., Any],
) -> None:
    """Of three slots two are read, other ones for each object."""
    n, slots, side, dim, e = 2, 3, 4, 16, 8
    module, x = RopeAttention(dim, e), _random(0, n, side * side, dim)
    tables = rope_tables(side, side, dim)
    memory = MemoryTokens(
        maps=_random(1, n, slots, side * side, e),
        maps_pe=_random(2, n, slots, side * side, e),
        maps_valid=jnp.array([[True, False, True], [False, False, True]]),
        pointers=_random(3, n, 2, e),
        pointers_pe=_random(4, n, 2, e),
        pointers_valid=jnp.ones((n, 2), bool),
    )
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), x, memory, tables, method="to_memory")
    )
    params = jax.tree.map(jnp.asarray, random_params(shapes["params"]))

    def read(params: Any, x: jax.Array, maps: jax.Array, maps_pe: jax.Array) -> jax.Array:
        held = memory.replace(maps=maps, maps_pe=maps_pe)
        return module.apply({"params": params}, x, held, tables, method="to_memory")

    _agree(read, params, x, memory.maps, memory.maps_pe, frames=3)


def test_a_clip_costs_the_same_and_descends_the_same_way(
    small_tracker: Callable[..., Model], drifting: Callable[..., np.ndarray]
) -> None:
    """The whole rollout: 2 frames of 2 objects, shown by clicks, corrected once."""
    model, size = small_tracker(), 96
    masks = np.zeros((2, 2, size, size), bool)
    for f in range(2):
        masks[f, 0, 15 + 3 * f : 45 + 3 * f, 22:75] = True
        masks[f, 1, 56:82, 8 + 2 * f : 34 + 2 * f] = True
    images = jnp.asarray(drifting(2)[:, None])
    batch = Batch(images, jnp.asarray(masks), jnp.ones(2, bool))
    weights = LossWeights(stride=4)
    prompting = Prompting(point_share=1.0, first_frames=1, corrected_frames=1, corrections=1)

    def loss(params: Any) -> jax.Array:
        tuned = Model(params=params, module=model.module)
        losses = rollout(
            tuned,
            encode(tuned, batch.images, jax.random.key(1)),
            batch,
            jax.random.key(2),
            prompting=prompting,
            weights=weights,
            remat=False,
            locating=jnp.array(False),
        )
        return losses.total(weights)

    def run() -> tuple[jax.Array, Any]:
        lowered = jax.jit(jax.value_and_grad(partial(loss))).lower(model.params)
        # Half the time to compile.
        fast = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
        return fast(model.params)

    plain, wanted = run()
    with quick_gradients(frames=2):
        quick, found = run()
    assert float(quick) == pytest.approx(float(plain), rel=1e-5)
    # Seen: 1.7e-4. Memories are rounded to bfloat16, in the two ways to different neighbours.
    assert _distance(found, wanted) < 1e-3
