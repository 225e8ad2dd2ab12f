"""Pictures in, and resizing on the host.

Everything here is numpy and Pillow: a picture is decoded on the host anyway, and resizing it there
keeps every image size out of the compiled program.
"""

import functools
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 200_000_000  # the largest phone sensors; 600 MB as RGB
_GUARD = threading.Lock()


def read_image(
    source: Any, *, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image file to RGB.

    - EXIF orientation is applied: coordinates mean what people see in a viewer. (The official
      notebooks do not apply it; their coordinates of a rotated photo are those of the sensor.)
    - Transparency is dropped, not composited, as `Image.convert("RGB")` in the official notebooks.
    - 16-bit greyscale is scaled to 8 bits (65535 -> 255); Pillow itself would clip at 255.
    - Of an animation, the first frame.

    Args:
      source: a path (str or PathLike), or a file opened in binary mode.
      max_pixels: refuse larger pictures, by their header, before any memory is spent.
      formats: names of Pillow's decoders that may be tried, such as JPEG; None: all that it has.

    Raises:
      OSError: the file cannot be opened.
      ValueError: empty, not an image, truncated, corrupt, too large, or of a kind that has no
        agreed range of values (32-bit integers or floats); the message names the file.
    """
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            return _read(file, str(source), max_pixels, formats)
    return _read(source, str(getattr(source, "name", "the image")), max_pixels, formats)


def _read(
    file: Any, name: str, max_pixels: int, formats: tuple[str, ...] | None = None
) -> np.ndarray:
    start = file.tell()
    if not file.read(1):
        raise ValueError(f"{name} is empty (0 bytes)")
    file.seek(start)
    try:
        with _without_pillow_limit():
            picture = Image.open(file, formats=formats)
    except UnidentifiedImageError as error:
        known = "a format that Pillow reads" if formats is None else f"one of {', '.join(formats)}"
        raise ValueError(f"{name} is not an image in {known}") from error
    except Exception as error:  # plugins raise whatever they trip over: OSError, struct.error, ...
        raise ValueError(f"{name} cannot be read as an image: {error}") from error
    with picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise ValueError(
                f"{name} has {width} x {height} = {width * height:,} pixels, more than the limit of"
                f" {max_pixels:,}; shrink it (or, in Python, pass max_pixels={width * height})"
            )
        try:
            picture.load()
            return _to_rgb(ImageOps.exif_transpose(picture))
        except Exception as error:
            raise ValueError(
                f"{name} is damaged or of an unsupported kind ({picture.format}, mode"
                f" {picture.mode}): {error}"
            ) from error


@contextmanager
def _without_pillow_limit() -> Generator[None, None, None]:
    """Pillow's own limit is a module global which warns first; ours is an argument and an error."""
    with _GUARD:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _to_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; convert it to 8 bits first")
    if picture.mode == "I" or picture.mode.startswith("I;"):
        values = np.asarray(picture)
        if ((values < 0) | (values > 65535)).any():
            raise ValueError("32-bit pixels have no agreed range; convert it to 8 bits first")
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.mode in ("P", "PA"):  # by way of RGBA, or Pillow warns about palette transparency
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))


def as_rgb(image: Any) -> UInt8[np.ndarray, "h w 3"]:
    """A PIL image or an array as RGB pixels, checked.

    Args:
      image: PIL image of any mode, taken as it is (EXIF orientation is for `read_image`), or a
        uint8 array [h w 3].

    Raises:
      ValueError: another dtype, number of axes or of channels, or no pixels; says how to convert.
    """
    if isinstance(image, Image.Image):
        if 0 in image.size:
            raise ValueError(f"image has no pixels: {image.width} x {image.height}")
        return _to_rgb(image)
    array = np.asarray(image)
    if array.ndim == 2:
        raise ValueError(
            f"image must be [h w 3], got the greyscale shape {array.shape};"
            " repeat it: np.repeat(image[..., None], 3, axis=-1)"
        )
    if array.ndim != 3:
        raise ValueError(f"image must be one [h w 3] array, got shape {array.shape}")
    if 0 in array.shape[:2]:
        raise ValueError(f"image has no pixels: shape {array.shape}")
    if array.shape[-1] == 4:
        raise ValueError(f"image must be [h w 3], got {array.shape}; drop alpha: image[..., :3]")
    if array.shape[-1] != 3:
        hint = "; channels go last: np.moveaxis(image, 0, -1)" if array.shape[0] == 3 else ""
        raise ValueError(f"image must be [h w 3], got shape {array.shape}{hint}")
    if array.dtype != np.uint8:
        raise ValueError(
            f"image must be uint8 in 0..255, got {array.dtype}; if it holds 0..1 use"
            " (image * 255).round().astype(np.uint8), if 0..255 image.astype(np.uint8)"
        )
    return array


def to_model_input(image: Any, size: int) -> Float32[np.ndarray, "size size 3"]:
    """SAM 2's image preprocessing, before normalisation: squash to a square, values in 0..1.

    Bilinear with antialiasing on floats, equal to torchvision's `Resize` on float tensors to 3e-7.
    Pillow filters 32-bit float planes with exactly that kernel, and was the fastest of the exact
    ways measured (sparse and dense products, whole-array floats).

    Args:
      image: as for `as_rgb`.
      size: side of the model input, pixels.
    """
    array = as_rgb(image)
    out = np.empty((size, size, 3), np.float32)
    for channel, plane in enumerate(Image.fromarray(array).split()):
        out[..., channel] = plane.convert("F").resize((size, size), Image.Resampling.BILINEAR)
    out /= 255
    return out


def upsample_logits(
    low: Float[np.ndarray, "*batch hm wm"], height: int, width: int
) -> Float32[np.ndarray, "*batch height width"]:
    """Resizes mask logits, bilinear without antialiasing even when shrinking.

    Equal to torch's `interpolate(mode="bilinear", align_corners=False)` to 1e-5 for logits of +-30.
    Columns go through BLAS (few rows yet), rows through a matrix with two entries per row.
    """
    from scipy import sparse

    *batch, hm, wm = low.shape
    left, right, frac = bilinear_taps(wm, width)
    columns = np.zeros((wm, width), np.float32)
    np.add.at(columns, (left, np.arange(width)), 1 - frac)
    np.add.at(columns, (right, np.arange(width)), frac)
    above, below, frac = bilinear_taps(hm, height)
    rows = sparse.csr_array(
        (
            np.stack([1 - frac, frac], axis=1).ravel(),
            np.stack([above, below], axis=1).ravel(),
            np.arange(0, 2 * height + 1, 2),
        ),
        shape=(height, hm),
    )
    flat = np.asarray(low, np.float32).reshape(-1, hm, wm)
    out = np.empty((len(flat), height, width), np.float32)
    for mask, target in zip(flat, out, strict=True):
        target[:] = rows @ (mask @ columns)
    return out.reshape(*batch, height, width)


@functools.lru_cache(maxsize=64)
def bilinear_taps(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two source indices of every output sample, and the weight of the second."""
    # torch has the ratio in float32 and a fused multiply-add: one rounding, here from float64. Any
    # other arithmetic moves the samples by 1e-5 pixels, which steep logits turn into 1e-3.
    ratio = float(np.float32(n_in) / np.float32(n_out))
    position = np.maximum((np.arange(n_out) + 0.5) * ratio - 0.5, 0).astype(np.float32)
    first = np.minimum(position.astype(np.int32), n_in - 1)
    return first, np.minimum(first + 1, n_in - 1), (position - first).astype(np.float32)
