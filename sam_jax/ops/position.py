"""Position encodings.

Upstream: sam2/modeling/position_encoding.py.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def fourier_code(xy: Float[Array, "*n 2"], gaussian: Float[Array, "2 f"]) -> Float[Array, "*n 2*f"]:
    """Random Fourier features of xy in 0..1: all sines, then all cosines. float32.

    Upstream: PositionEmbeddingRandom.
    """
    phase = jnp.matmul(2 * xy - 1, gaussian, precision="highest") * (2 * jnp.pi)
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], -1)


def fourier_grid(height: int, width: int, gaussian: Float[Array, "2 f"]) -> Float[Array, "h w 2*f"]:
    """`fourier_code` at the centre of every grid cell.

    The phase is a sum of a term in x and a term in y, so sin(a + b) needs sines of one row and one
    column only: 64 + 64 rows of transcendentals in place of 4096 in every decoder call.
    """
    x = (2 * (jnp.arange(width) + 0.5) / width - 1)[None, :, None] * gaussian[0] * (2 * jnp.pi)
    y = (2 * (jnp.arange(height) + 0.5) / height - 1)[:, None, None] * gaussian[1] * (2 * jnp.pi)
    sin = jnp.sin(x) * jnp.cos(y) + jnp.cos(x) * jnp.sin(y)
    cos = jnp.cos(x) * jnp.cos(y) - jnp.sin(x) * jnp.sin(y)
    return jnp.concatenate([sin, cos], -1)


def sine_grid(height: int, width: int, dim: int) -> Float[np.ndarray, "h w dim"]:
    """2-D sine encoding: y in the first half of the channels, x in the second, sin and cos in turn.

    Positions run 1..size over (size + 1e-6), times 2 pi; temperature 10000. Upstream:
    PositionEmbeddingSine with normalize. A constant, computed in numpy.
    """

    def axis(size: int) -> np.ndarray:
        half = dim // 2
        position = np.arange(1, size + 1) / (size + 1e-6) * 2 * np.pi
        phase = position[:, None] / 10000 ** (2 * (np.arange(half) // 2) / half)
        return np.stack([np.sin(phase[:, 0::2]), np.cos(phase[:, 1::2])], -1).reshape(size, half)

    y = np.broadcast_to(axis(height)[:, None], (height, width, dim // 2))
    x = np.broadcast_to(axis(width)[None], (height, width, dim // 2))
    return np.concatenate([y, x], -1).astype(np.float32)


def sine_line(position: Float[Array, "*n"], dim: int) -> Float[Array, "*n dim"]:
    """1-D sine encoding: all sines, then all cosines; temperature 10000. float32.

    Upstream: sam2_utils.py, get_1d_sine_pe.
    """
    half = dim // 2
    phase = position[..., None] / 10000 ** (2 * (np.arange(half, dtype=np.float32) // 2) / half)
    return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], -1)


def rope_tables(
    height: int, width: int, dim: int
) -> tuple[Float[np.ndarray, "t f"], Float[np.ndarray, "t f"]]:
    """Cosines and sines of axial rotary encoding for a row-major grid.

    The first half of the `dim / 2` channel pairs turns with x, the second half with y; theta 10000.
    Upstream: compute_axial_cis.
    """
    frequency = 1 / 10000 ** (np.arange(0, dim, 4) / dim)
    index = np.arange(height * width)
    phase = np.concatenate(
        [np.outer(index % width, frequency), np.outer(index // width, frequency)], -1
    )
    return np.cos(phase).astype(np.float32), np.sin(phase).astype(np.float32)


def rotate(
    x: Float[Array, "*b t d"],
    cos: Float[Array | np.ndarray, "t f"],
    sin: Float[Array | np.ndarray, "t f"],
) -> Float[Array, "*b t d"]:
    """Turn neighbouring channel pairs by the table's angles. Upstream: apply_rotary_enc."""
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
    a, b = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([a * cos - b * sin, a * sin + b * cos], -1)
    return turned.reshape(x.shape).astype(x.dtype)
