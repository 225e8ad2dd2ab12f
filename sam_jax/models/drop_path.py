"""Skipped residual branches of an image encoder, in training.

Upstream: `dpr` of Hiera, DropPath in sam2/modeling/sam2_utils.py.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sam_jax.types import Size


def draw_branches(
    module: nn.Module, rate: float, blocks: int, images: Size
) -> Float[Array, "blocks 2 b"] | None:
    """What the two branches of each block are multiplied by: 0, or what makes up for the zeros.

    The chance of a zero rises from nothing in the first block to `rate` in the last. None, and so
    no branch is skipped, where the rate is 0 or the module has no rng "drop_path".
    """
    if not (rate and module.has_rng("drop_path")):
        return None
    stays = 1 - jnp.linspace(0, rate, blocks)[:, None, None]
    kept = jax.random.bernoulli(module.make_rng("drop_path"), stays, (blocks, 2, images))
    return kept / stays


def scale_branch(
    x: Float[Array, "n h w c"], by: Float[Array, " b"] | None
) -> Float[Array, "n h w c"]:
    """Each image's maps, or its windows, times its number."""
    if by is None:
        return x
    return x * jnp.repeat(by, x.shape[0] // by.shape[0])[:, None, None, None].astype(x.dtype)
