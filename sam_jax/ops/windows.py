"""Cutting a feature map into square windows and putting it together again.

Upstream: sam2/modeling/backbones/utils.py, window_partition and window_unpartition.
"""

import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float


def partition(
    x: Float[Array, "b h w c"], side: int, fill: Float[Array, " c"] | None = None
) -> Float[Array, "n side side c"]:
    """Windows of `side` x `side` tokens, row by row; padded right and below with `fill` (0)."""
    b, h, w, c = x.shape
    pad_h, pad_w = -h % side, -w % side
    if pad_h or pad_w:
        shape = (b, h + pad_h, w + pad_w, c)
        canvas = jnp.zeros(shape, x.dtype) if fill is None else jnp.broadcast_to(fill, shape)
        x = canvas.astype(x.dtype).at[:, :h, :w].set(x)
    return rearrange(x, "b (y i) (x j) c -> (b y x) i j c", i=side, j=side)


def unpartition(
    windows: Float[Array, "n rows columns c"], height: int, width: int
) -> Float[Array, "b h w c"]:
    """Inverse of `partition`: the [b height width c] map, padding cropped. A whole map stays."""
    if windows.shape[1:3] == (height, width):
        return windows
    side = windows.shape[1]
    rows, columns = -(-height // side), -(-width // side)
    x = rearrange(windows, "(b y x) i j c -> b (y i) (x j) c", y=rows, x=columns)
    return x[:, :height, :width]
