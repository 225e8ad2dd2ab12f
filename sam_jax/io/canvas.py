"""How a picture lies on the square model input, and the way back.

The one difference in geometry between the families: SAM 2 squashes a picture to the square, SAM 1
keeps its shape and leaves the rest of the square in the mean colour. A config's `keep_aspect` says
which.
Upstream: sam2/utils/transforms.py; segment_anything/utils/transforms.py and modeling/sam.py.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image

from sam_jax.io.images import as_rgb, to_model_input, upsample_logits
from sam_jax.ops.colour import MEAN


@dataclass(frozen=True)
class Canvas:
    """A picture on the model input: in its upper left corner, or all over it.

    Attributes:
      height, width: of the picture, pixels.
      side: of the model input, pixels.
      keep_aspect: the longer side fills the square; else both do.
    """

    height: int
    width: int
    side: int
    keep_aspect: bool

    @cached_property
    def covered(self) -> tuple[int, int]:
        """Rows and columns of the model input that show the picture."""
        if not self.keep_aspect:
            return self.side, self.side
        scale = self.side / max(self.height, self.width)
        rows, columns = (int(length * scale + 0.5) for length in (self.height, self.width))
        return max(rows, 1), max(columns, 1)

    def paint(self, image: Any) -> Float32[np.ndarray, "side side 3"]:
        """The model input, before normalisation: values in 0..1.

        SAM 1's is resized by Pillow on 8-bit values, as upstream resizes it, SAM 2's on floats.

        Args:
          image: as for `sam_jax.io.images.as_rgb`, of this height and width.
        """
        if not self.keep_aspect:
            return to_model_input(image, self.side)
        rows, columns = self.covered
        picture = Image.fromarray(as_rgb(image)).resize((columns, rows), Image.Resampling.BILINEAR)
        out = np.empty((self.side, self.side, 3), np.float32)
        out[:] = MEAN  # 0 once normalised
        out[:rows, :columns] = np.asarray(picture, np.float32) / 255
        return out

    def to_input(self, xy: Float[np.ndarray, "*p 2"]) -> Float32[np.ndarray, "*p 2"]:
        """Places in 0..1 of the picture's width and height -> pixels of the model input."""
        return (xy * self.covered[::-1]).astype(np.float32)

    def to_picture(
        self, low: Float[np.ndarray, "*batch hm wm"], size: tuple[int, int] | None = None
    ) -> Float32[np.ndarray, "*batch height width"]:
        """Low-resolution logits at the picture's size; SAM 1 goes by way of the model input's.

        Args:
          size: another height and width, for the picture shrunk or enlarged to them.
        """
        height, width = size or (self.height, self.width)
        if not self.keep_aspect:
            return upsample_logits(low, height, width)
        rows, columns = self.covered
        flat = low.reshape(-1, *low.shape[-2:])
        out = np.empty((len(flat), height, width), np.float32)
        for mask, target in zip(flat, out, strict=True):  # one by one: 4 MB each at that size
            inside = upsample_logits(mask, self.side, self.side)[:rows, :columns]
            target[:] = upsample_logits(inside, height, width)
        return out.reshape(*low.shape[:-2], height, width)
