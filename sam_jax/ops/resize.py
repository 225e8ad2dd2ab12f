"""Bilinear and bicubic resizing with PyTorch's conventions, as products with small matrices.

`jax.image.resize` differs where it matters: its cubic kernel has a = -0.5 (PyTorch -0.75) and
renormalises at the border (PyTorch repeats the edge pixel).
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_CUBIC_A = -0.75


@functools.lru_cache(maxsize=64)
def bicubic_matrix(size_in: int, size_out: int) -> np.ndarray:
    """[size_out, size_in] weights of torch's bicubic (align_corners False, no antialias)."""
    centre = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    base = np.floor(centre).astype(int)
    weights = np.zeros((size_out, size_in))
    for tap in range(-1, 3):
        distance = np.abs(centre - base - tap)
        near = ((_CUBIC_A + 2) * distance - (_CUBIC_A + 3)) * distance**2 + 1
        far = _CUBIC_A * (((distance - 5) * distance + 8) * distance - 4)
        column = np.clip(base + tap, 0, size_in - 1)
        np.add.at(weights, (np.arange(size_out), column), np.where(distance <= 1, near, far))
    return weights.astype(np.float32)


@functools.lru_cache(maxsize=256)
def bilinear_matrix(size_in: int, size_out: int, antialias: bool = False) -> np.ndarray:
    """[size_out, size_in] weights of torch's bilinear (align_corners False).

    With `antialias` the triangle widens by the reduction factor, as torchvision's Resize does.
    """
    scale = size_in / size_out
    centre = (np.arange(size_out) + 0.5) * scale - 0.5
    if antialias:
        reach = max(scale, 1.0)
        weights = np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(size_in)) / reach)
        weights /= weights.sum(1, keepdims=True)
    else:
        centre = np.clip(centre, 0, size_in - 1)
        low = np.floor(centre).astype(int)
        fraction = centre - low
        weights = np.zeros((size_out, size_in))
        np.add.at(weights, (np.arange(size_out), low), 1 - fraction)
        np.add.at(weights, (np.arange(size_out), np.minimum(low + 1, size_in - 1)), fraction)
    return weights.astype(np.float32)


def bicubic(x: Float[Array, "b h w c"], height: int, width: int) -> Float[Array, "b H W c"]:
    """torch.nn.functional.interpolate(mode="bicubic")."""
    rows = bicubic_matrix(x.shape[1], height)
    columns = bicubic_matrix(x.shape[2], width)
    return jnp.einsum("bhwc,Hh,Ww->bHWc", x, rows, columns, precision="highest")


def bilinear(
    x: Float[Array, "*b h w"], height: int, width: int, *, antialias: bool = False
) -> Float[Array, "*b H W"]:
    """torch.nn.functional.interpolate(mode="bilinear", antialias=antialias) over the last axes."""
    rows = bilinear_matrix(x.shape[-2], height, antialias)
    columns = bilinear_matrix(x.shape[-1], width, antialias)
    return jnp.einsum("...hw,Hh,Ww->...HW", x, rows, columns, precision="highest")
