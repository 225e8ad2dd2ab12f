"""Changes of a clip before training, in the official order.

Upstream: training/dataset/transforms.py and the list in sam2.1_hiera_b+_MOSE_finetune.yaml.
Geometry is the same for all frames. Random numbers are drawn whether they are used or not, so that
a clip's later changes do not depend on its earlier ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageEnhance, ImageOps

from sam_jax.io.canvas import Canvas
from train.config import Augment

_FILL = (123, 116, 103)  # outside of a turned picture: the mean of ImageNet, as upstream has it
_MEAN = (124, 116, 104)  # outside of one that is not square: the same, rounded
_NEAREST, _BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR
_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)

_Change = Callable[[Image.Image], Image.Image]


def augment(
    images: UInt8[np.ndarray, "t h w 3"],
    masks: Bool[np.ndarray, "t o h w"],
    *,
    size: int,
    options: Augment,
    rng: np.random.Generator,
    keep_aspect: bool = False,
) -> tuple[UInt8[np.ndarray, "t H W 3"], Bool[np.ndarray, "t o H W"]]:
    """A clip at the model input's size, changed at random.

    Args:
      size: side of the square it becomes; its own shape is not kept, as upstream.
      keep_aspect: it is, in the upper left corner, as SAM 1 sees pictures. The rest has the mean
        colour in 8 bits, half a level away from what `sam_jax.io.canvas` fills it with.

    Returns:
      Images and masks. A very small object may have no pixel left, also in the first frame.
    """
    pictures = [Image.fromarray(image) for image in images]
    shapes = [[Image.fromarray(mask.view(np.uint8) * 255) for mask in frame] for frame in masks]
    if rng.random() < options.flip:
        pictures, shapes = _apply(pictures, shapes, ImageOps.mirror, ImageOps.mirror)
    pictures, shapes = _turn(pictures, shapes, options, rng)
    width, height = pictures[0].size
    canvas = Canvas(height, width, size, keep_aspect)
    pictures, shapes = _apply(
        pictures,
        shapes,
        lambda image: _place(image, canvas, _MEAN),
        # Pillow's bilinear averages where it shrinks; upstream's masks are rounded likewise.
        lambda mask: _place(mask, canvas, 0),
    )
    shared = _jitter(options.brightness, options.contrast, options.saturation, rng)
    pictures = [shared(image) for image in pictures]
    if rng.random() < options.grey:
        pictures = [image.convert("L").convert("RGB") for image in pictures]
    frame_amounts = options.frame_brightness, options.frame_contrast, options.frame_saturation
    pictures = [_jitter(*frame_amounts, rng)(image) for image in pictures]
    if rng.random() < options.mosaic:
        row, column = rng.integers(2, size=2)
        pictures, shapes = _apply(
            pictures,
            shapes,
            lambda image: _quarters(image, [(0, 0), (0, 1), (1, 0), (1, 1)]),
            lambda mask: _quarters(mask, [(row, column)]),
        )
    changed = np.zeros((*masks.shape[:2], size, size), bool)
    for i, frame in enumerate(shapes):
        for j, mask in enumerate(frame):
            changed[i, j] = np.asarray(mask) > 128  # half covered is not in, as upstream
    return np.stack([np.asarray(image) for image in pictures]), changed


def _place(image: Image.Image, canvas: Canvas, fill: Any) -> Image.Image:
    """The picture at the model input's size."""
    rows, columns = canvas.covered
    resized = image.resize((columns, rows), _BILINEAR)
    if rows == columns:
        return resized
    whole = Image.new(image.mode, (canvas.side, canvas.side), fill)
    whole.paste(resized)
    return whole


def _apply(
    pictures: list[Image.Image],
    shapes: list[list[Image.Image]],
    of_picture: _Change,
    of_mask: _Change,
) -> tuple[list[Image.Image], list[list[Image.Image]]]:
    return (
        [of_picture(image) for image in pictures],
        [[of_mask(mask) for mask in frame] for frame in shapes],
    )


def _turn(
    pictures: list[Image.Image],
    shapes: list[list[Image.Image]],
    options: Augment,
    rng: np.random.Generator,
) -> tuple[list[Image.Image], list[list[Image.Image]]]:
    """Rotation and shear, unless an object of the first frame would leave the picture."""
    angle = rng.uniform(-options.rotation, options.rotation)
    shear = rng.uniform(-options.shear, options.shear)
    if options.rotation == options.shear == 0:
        return pictures, shapes
    size = pictures[0].size
    matrix = _inverse_affine(np.radians(angle), np.radians(shear), size)

    def turn_mask(mask: Image.Image) -> Image.Image:
        return mask.transform(size, Image.Transform.AFFINE, matrix, _NEAREST)

    if not all(turn_mask(mask).getbbox() for mask in shapes[0]):
        return pictures, shapes
    return _apply(
        pictures,
        shapes,
        lambda image: image.transform(
            size, Image.Transform.AFFINE, matrix, _BILINEAR, fillcolor=_FILL
        ),
        turn_mask,
    )


def _inverse_affine(angle: float, shear: float, size: tuple[int, int]) -> tuple[float, ...]:
    """From pixels of the result to those of the source, about the middle.

    Upstream: torchvision, _get_inverse_affine_matrix.

    Args:
      angle: clockwise, radians.
      shear: along x, radians.
      size: width and height, pixels.
    """
    cos, sin, tan = np.cos(angle), np.sin(angle), np.tan(shear)
    forward = np.array([[cos, -cos * tan - sin], [sin, -sin * tan + cos]])
    inverse = np.linalg.inv(forward)
    middle = np.array(size) / 2
    shift = middle - inverse @ middle
    return (*inverse[0].tolist(), float(shift[0]), *inverse[1].tolist(), float(shift[1]))


def _jitter(
    brightness: float, contrast: float, saturation: float, rng: np.random.Generator
) -> _Change:
    """Draws the changes of colour, and their order."""
    amounts = np.array([brightness, contrast, saturation])
    factors = rng.uniform(np.maximum(0, 1 - amounts), 1 + amounts)
    order = rng.permutation(3)

    def change(image: Image.Image) -> Image.Image:
        for i in order:
            if amounts[i]:
                image = _ENHANCERS[i](image).enhance(factors[i])
        return image

    return change


def _quarters(image: Image.Image, places: list[tuple[int, int]]) -> Image.Image:
    """The picture, shrunk, at some of the (row, column) places of four; the rest is 0."""
    width, height = image.size
    result = Image.new(image.mode, image.size)
    for row, column in places:
        left, top = column * width // 2, row * height // 2
        right, bottom = (column + 1) * width // 2, (row + 1) * height // 2
        small = image.resize((right - left, bottom - top), _BILINEAR)
        result.paste(small, (left, top))
    return result
