"""Which parts of a picture are looked at, on which points, and how masks get back to its pixels.

Upstream: sam2/utils/amg.py, generate_crop_boxes and build_all_layer_point_grids.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from sam_jax.config import Config
from sam_jax.everything import PADDING
from sam_jax.io.canvas import Canvas
from sam_jax.io.images import bilinear_taps
from sam_jax.types import PictureView


@dataclass(frozen=True)
class Crop:
    """A part of a picture.

    Attributes:
      box: XYXY in pixels of the picture.
      layer: 0 is the whole picture, layer i has 4**i parts.
      whole: height and width of the picture.
    """

    box: tuple[int, int, int, int]
    layer: int
    whole: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0

    def pixels(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "y x 3"]:
        x0, y0, x1, y1 = self.box
        return image[y0:y1, x0:x1]

    def in_whole(self, mask: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "h w"]:
        """The mask of this part as one of the picture."""
        if self.size == self.whole:
            return mask
        x0, y0, x1, y1 = self.box
        full = np.zeros(self.whole, bool)
        full[y0:y1, x0:x1] = mask
        return full


def crops_of(height: int, width: int, layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole picture, then 4 parts, 16 parts, ... that overlap, column by column."""
    whole = (height, width)
    crops = [Crop((0, 0, width, height), 0, whole)]
    for layer in range(1, layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / n))
        w, h = (math.ceil((overlap * (n - 1) + side) / n) for side in (width, height))
        for i, j in product(range(n), range(n)):
            x0, y0 = i * (w - overlap), j * (h - overlap)
            if x0 < width and y0 < height:  # upstream fails on pictures of a few pixels
                box = (x0, y0, min(x0 + w, width), min(y0 + h, height))
                crops.append(Crop(box, layer, whole))
    return crops


def point_grid(per_side: int) -> Float[np.ndarray, "p 2"]:
    """xy of the centres of a grid's cells in 0..1, row by row."""
    centre = 1 / (2 * per_side)
    line = np.linspace(centre, 1 - centre, per_side)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def canvas_of(crop: Crop, config: Config) -> Canvas:
    """How the crop lies on the model input."""
    return Canvas(*crop.size, config.image_size, config.keep_aspect)


def view_of(crops: Sequence[Crop], config: Config) -> PictureView:
    """The crops as one padded batch, for `sam_jax.everything.find_masks`."""
    height, width = (
        -(-max(crop.size[axis] for crop in crops) // PADDING) * PADDING for axis in (0, 1)
    )
    rows, columns = [], []
    for crop in crops:
        covered = canvas_of(crop, config).covered
        rows.append(_taps(config, covered[0], crop.size[0]))
        columns.append(_matrix(*_taps(config, covered[1], crop.size[1]), config.mask_size))

    def padded(values: np.ndarray, length: int) -> np.ndarray:
        return np.pad(values, ((0, length - len(values)), (0, 0)))

    return PictureView(
        rows=jnp.stack([padded(index, height) for index, _ in rows]),
        row_weights=jnp.stack([padded(weight, height) for _, weight in rows]),
        columns=jnp.stack([padded(matrix, width) for matrix in columns]),
        size=jnp.array([crop.size for crop in crops], jnp.int32),
        crop=jnp.array([crop.box for crop in crops], jnp.int32),
        whole=jnp.array([(0, 0, *crop.whole[::-1]) for crop in crops], jnp.int32),
    )


def _taps(
    config: Config, covered: int, length: int
) -> tuple[Int32[np.ndarray, "n r"], Float32[np.ndarray, "n r"]]:
    """Along one axis, the mask samples that each pixel is mixed from, and their weights.

    A mask is resized once to a picture that was squashed. Where the shape was kept, it is resized
    to the model input, cut to the `covered` part, and resized again: in one step here.
    """
    if not config.keep_aspect:
        return _pair(config.mask_size, length)
    first_index, first_weight = _pair(config.mask_size, config.image_size)
    index, weight = _pair(covered, length)
    both = weight[:, :, None] * first_weight[index]  # [n 2 2]
    return first_index[index].reshape(length, 4), both.reshape(length, 4)


def _pair(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    first, second, fraction = bilinear_taps(n_in, n_out)
    return np.stack([first, second], axis=1), np.stack([1 - fraction, fraction], axis=1)


def _matrix(index: np.ndarray, weight: np.ndarray, n_in: int) -> Float32[np.ndarray, "n n_in"]:
    """Taps as weights of all samples."""
    matrix = np.zeros((len(index), n_in), np.float32)
    np.add.at(matrix, (np.arange(len(index))[:, None], index), weight)
    return matrix
