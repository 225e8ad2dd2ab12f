"""Rows of prompts.jsonl as what a model takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from sam_jax.batch.prompts import Row
from sam_jax.io import storage
from sam_jax.io.canvas import Canvas
from sam_jax.io.masks import read_mask_picture
from sam_jax.ops import rle
from sam_jax.predictors.prompts import PromptArrays, check_prompts
from sam_jax.predictors.text import TextEncoder, embeddings
from sam_jax.types import Model


@dataclass(frozen=True)
class Asker:
    """The model that is asked, and what its prompts need.

    Attributes:
      folder: of the prompts file, where files of masks are.
      encoder: from phrases to embeddings; None where the model has none.
    """

    model: Model
    folder: str
    encoder: TextEncoder | None = None

    def check(self, row: Row, canvas: Canvas, mask: np.ndarray | None = None) -> PromptArrays:
        """The prompt of one object.

        Args:
          mask: low-resolution logits.

        Raises:
          ValueError: it makes no sense for this picture; the message names the line.
        """
        config = self.model.config
        try:
            return check_prompts(
                np.array(row.points) if row.points else None,
                np.array(row.labels) if row.points else None,
                np.array(row.box) if row.box else None,
                mask,
                canvas=canvas,
                normalize_coords=True,
                config=config,
                text=embeddings(row.text, config.text_dim, self.encoder),
            )
        except ValueError as error:
            raise ValueError(f"prompt in line {row.line}: {error}") from error

    def mask(self, row: Row, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """The mask of a row, which is a file's name or a run-length code.

        Raises:
          ValueError: not a mask, of another size, an empty one, or no such file; the message names
            the line.
        """
        try:
            return _mask_at_size(row.mask, self.folder, size)
        except (OSError, ValueError) as error:
            raise ValueError(f"prompt in line {row.line}: {error}") from error


def _mask_at_size(mask: Any, folder: str, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    if isinstance(mask, str):
        where = storage.join(folder, mask)
        if storage.is_remote(where):
            raise ValueError(
                f"mask {where}: masks are files on disk; give it as a run-length code in the line"
            )
        return read_mask_picture(Path(where), size)
    if mask["size"] != list(size):  # before memory is spent on it
        raise ValueError(f"the mask has the size {mask['size']}, the picture {list(size)}")
    inside = rle.decode(mask)
    if not inside.any():
        raise ValueError("the mask is empty: no pixel is set")
    return inside
