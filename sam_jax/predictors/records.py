"""From low-resolution masks to what `AutomaticMaskGenerator` returns. Numpy, on the host.

One mask at a time is at the picture's size, before it is what the caller asked for.
Upstream: sam2/automatic_mask_generator.py and sam2/utils/amg.py.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax.config import Config
from sam_jax.ops import rle
from sam_jax.predictors.crops import Crop, canvas_of

Record = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A mask found in a crop.

    Attributes:
      logits: at low resolution.
      point: xy in pixels of the picture, where it was asked for.
      box: XYXY in pixels of the picture, the last column and row included.
    """

    crop: Crop
    logits: Float[np.ndarray, "hm wm"]
    iou: float
    stability: float
    point: tuple[float, float]
    box: Int[np.ndarray, " 4"]

    def mask(self, config: Config, threshold: float | int) -> Bool[np.ndarray, "h w"]:
        """At the picture's size."""
        logits = canvas_of(self.crop, config).to_picture(self.logits)
        return self.crop.in_whole(logits > threshold)


def record_of(candidate: Candidate, mask: Bool[np.ndarray, "h w"], mode: str) -> Record:
    """A record with the official keys and units."""
    code = rle.encode(mask, compress=mode == "coco_rle")
    left, top, right, bottom = box_of(mask)  # the last pixel's index: one pixel is 0 wide
    x0, y0, x1, y1 = candidate.crop.box
    return {
        "segmentation": mask if mode == "binary_mask" else code,
        "area": rle.area(code),
        "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
        "predicted_iou": candidate.iou,
        "point_coords": [list(candidate.point)],
        "stability_score": candidate.stability,
        "crop_box": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
    }


def box_of(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """XYXY, the last column and row included; zeros for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def without_small_regions(
    mask: Bool[np.ndarray, "h w"], area: int
) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """The mask with holes and islands of fewer than `area` pixels removed, and whether any was.

    Of a mask that has small islands only, the largest stays. Upstream: segment_anything/utils/
    amg.py, remove_small_regions.
    """
    filled, had_holes = _switch_small(mask, area, value=False)
    clean, had_islands = _switch_small(filled, area, value=True)
    return clean, had_holes or had_islands


def _switch_small(
    mask: Bool[np.ndarray, "h w"], area: int, *, value: bool
) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """The components of `value` with fewer than `area` pixels get the other value."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask == value, np.ones((3, 3), int))
    sizes = np.bincount(labels.ravel())
    small = sizes < area
    small[0] = False  # all that has the other value
    if not small.any():
        return mask, False
    if value and small[1:].all():
        small[1 + int(np.argmax(sizes[1:]))] = False
    return mask ^ small[labels], True
