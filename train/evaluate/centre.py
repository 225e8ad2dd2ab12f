"""Where a careful user clicks: in the middle of the largest error.

The plain reference, on the host; `train.clicks` has it for training.
Upstream: sam2/modeling/sam2_utils.py, sample_one_point_from_error_center; RITM, Clicker.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt

from sam_jax.types import BACKGROUND, FOREGROUND


def centre_of_error(
    masks: Bool[np.ndarray, "n h w"], predicted: Bool[np.ndarray, "n h w"]
) -> tuple[Float[np.ndarray, "n 2"], Int[np.ndarray, " n"]]:
    """The pixel that is farthest from the border of the error it is in, of each object.

    Pixels outside the picture are right by definition. Of equals, the first from the top and then
    from the left. Without any prediction this is the middle of the object.

    Returns:
      xy of the pixels, and FOREGROUND where the largest error is a missing part. Where there is no
      error, (0, 0) and BACKGROUND.
    """
    points = np.zeros((len(masks), 2), np.float32)
    labels = np.full(len(masks), BACKGROUND, np.int32)
    for i, (mask, found) in enumerate(zip(masks, predicted, strict=True)):
        missing, wrong = _deepest(mask & ~found), _deepest(found & ~mask)
        depth, points[i] = max(wrong, missing, key=lambda spot: spot[0])  # wrong if equal
        labels[i] = FOREGROUND if depth > wrong[0] else BACKGROUND
    return points, labels


def _deepest(region: Bool[np.ndarray, "h w"]) -> tuple[float, tuple[int, int]]:
    """Largest distance to a pixel outside the region, and where."""
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0.0, (0, 0)
    top, left = rows[0], columns[0]
    depth = distance_transform_edt(np.pad(region[top : rows[-1] + 1, left : columns[-1] + 1], 1))
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return float(depth[y, x]), (int(left + x - 1), int(top + y - 1))


def bounding_box(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 4"]:
    """Left, top, right and bottom pixel of a mask that is not empty; at least one pixel apart."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    left, top = columns[0], rows[0]
    box = (left, top, max(columns[-1], left + 1), max(rows[-1], top + 1))
    return np.array(box, np.float32)
