"""Masks on their way to and from the page: runs of pixels, at the size at which it draws."""

from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from sam_jax.ops import rle

SHOWN_MASK = 1024  # longer side of masks on the page, pixels


def display_size(height: int, width: int, longest: int = SHOWN_MASK) -> tuple[int, int]:
    """Height and width of a picture shrunk so that no side is longer than `longest`."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def runs(mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    """`{"size": [h, w], "counts": [...]}`, COCO's runs column by column, not compressed."""
    return rle.encode(mask, compress=False)


def shrunk(mask: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> Bool[np.ndarray, "hs ws"]:
    """A mask at another size, the nearest pixel of each."""
    height, width = size
    if mask.shape == size:
        return mask
    picture = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(picture, bool)
