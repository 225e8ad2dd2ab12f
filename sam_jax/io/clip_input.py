"""Pictures as CLIP takes them.

Upstream: transformers/models/clip/image_processing_pil_clip.py, CLIPImageProcessorPil: the shorter
side resized, bicubic; the square in the middle; OpenAI's mean and deviation.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image

from sam_jax.io.images import as_rgb

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def to_clip_input(image: Any, size: int) -> Float32[np.ndarray, "size size 3"]:
    """The middle of a picture, uint8 RGB [h w 3] or PIL, at the model's size, normalised.

    Raises:
      ValueError: not such a picture.
    """
    picture = Image.fromarray(as_rgb(image))
    pixels = np.asarray(_middle(picture, size, Image.Resampling.BICUBIC), np.float32)
    return (pixels / np.float32(255) - MEAN) / STD


def to_clip_mask(mask: Bool[np.ndarray, "h w"], size: int) -> Bool[np.ndarray, "size size"]:
    """The same part of a picture's mask: pixels that it covers at all."""
    covered = Image.fromarray(mask.astype(np.float32))
    return np.asarray(_middle(covered, size, Image.Resampling.BOX)) > 0


def _middle(picture: Image.Image, size: int, mixing: Image.Resampling) -> Image.Image:
    width, height = picture.size
    short = min(width, height)
    w, h = (int(size * side / short) for side in (width, height))
    left, top = (w - size) // 2, (h - size) // 2
    return picture.resize((w, h), mixing).crop((left, top, left + size, top + size))
