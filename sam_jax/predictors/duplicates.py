"""Which of many boxes to keep where they are duplicates, for what the host knows of masks."""

import jax
import numpy as np
from jaxtyping import Int

from sam_jax.ops.masks import nms

_nms = jax.jit(nms)
_BOXES = 256  # numbers of boxes are rounded up to multiples of this


def without_duplicates(
    boxes: Int[np.ndarray, "n 4"], rank: np.ndarray, overlap: float | int
) -> Int[np.ndarray, " k"]:
    """Indices of the boxes to keep, those of the lowest rank first.

    Args:
      overlap: of two boxes whose IoU is above, the one of the lower rank stays.
    """
    order = np.argsort(rank, kind="stable")
    count = len(order)
    padded = np.zeros((-(-count // _BOXES) * _BOXES, 4), np.int32)
    padded[:count] = boxes[order]
    keep = _nms(padded, np.arange(len(padded)) < count, strict_limit(overlap))
    return order[np.asarray(keep)[:count]]


def strict_limit(threshold: float | int) -> np.float32:
    """The number above which exactly those float32 lie that are above `threshold`.

    torchvision compares in float64: an IoU of 0.6 in float32 is above a threshold of 0.6.
    """
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-1)) if float(rounded) > threshold else rounded
