"""A picture with its masks and prompts drawn on it."""

import colorsys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFilter

# Distinct from each other, from foliage and skin, and from the green and red of clicks.
COLORS = (
    (30, 144, 255),  # blue
    (255, 140, 0),  # orange
    (186, 85, 211),  # violet
    (0, 206, 209),  # turquoise
    (255, 105, 180),  # pink
    (240, 220, 70),  # yellow
    (120, 120, 255),  # periwinkle
    (205, 133, 63),  # brown
)
FOREGROUND_COLOR = (34, 197, 94)
BACKGROUND_COLOR = (239, 68, 68)
_RIM = (255, 255, 255)
_GOLDEN = 0.618034  # turns of the hue, which neighbours in a list of any length are apart
_SMOOTH = (
    4  # prompts are drawn this many times larger and shrunk: Pillow draws without antialiasing
)


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "m h w"] | Iterable[Bool[np.ndarray, "h w"]],
    *,
    points: Any = (),
    labels: Any = (),
    boxes: Any = (),
    colors: Sequence[tuple[int, int, int]] = COLORS,
    box_colors: Sequence[tuple[int, int, int]] | None = None,
    alpha: float = 0.45,
) -> UInt8[np.ndarray, "h w 3"]:
    """Tints each mask and outlines it, then draws clicks and boxes; line widths follow the size.

    Args:
      points: xy in pixels [p 2].
      labels: 1 (green) or 0 (red) for each point.
      boxes: XYXY in pixels [k 4].
      colors: of the masks, used in turn.
      box_colors: of the boxes, used in turn; None: box i has the colour of mask i.
      alpha: strength of the tint, 0..1.
    """
    height, width = image.shape[:2]
    stroke = max(2.0, 0.0022 * (height + width))  # pixels; 6.6 on an 1800 x 1200 photo
    result = image.astype(np.float32)
    for index, mask in enumerate(masks):
        color = np.array(colors[index % len(colors)], np.float32)
        rows, cols = _surroundings(mask, margin=3 * int(stroke) + 2)
        view, part = result[rows, cols], mask[rows, cols]
        view[part] += alpha * (color - view[part])
        outer, inner = _contour(part, stroke)
        view += 0.85 * outer[..., None] * (255 - view)
        view += inner[..., None] * (color - view)
    canvas = Image.fromarray((result + 0.5).astype(np.uint8))
    lines = box_colors or colors
    for index, box in enumerate(np.reshape(boxes, (-1, 4))):
        _draw_box(canvas, box, lines[index % len(lines)], stroke)
    for point, label in zip(np.reshape(points, (-1, 2)), np.ravel(labels), strict=True):
        color = FOREGROUND_COLOR if label else BACKGROUND_COLOR
        _draw_disc(canvas, point, color, radius=2.2 * stroke, rim=0.6 * stroke)
    return np.array(canvas)


def many_colors(count: int) -> list[tuple[int, int, int]]:
    """So many different colours, those next to each other in the list most of all."""
    shades = ((0.75, 1.0), (0.55, 0.95), (0.9, 0.8))  # saturation, value
    colors = (colorsys.hsv_to_rgb(_GOLDEN * i % 1, *shades[i % 3]) for i in range(count))
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colors]


def _surroundings(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the mask with a margin: blending only there is quicker."""

    def span(line: np.ndarray) -> slice:
        found = np.flatnonzero(line)
        if len(found) == 0:
            return slice(0, 0)
        return slice(max(0, found[0] - margin), found[-1] + margin + 1)

    return span(mask.any(axis=1)), span(mask.any(axis=0))


def _contour(mask: np.ndarray, stroke: float) -> tuple[np.ndarray, np.ndarray]:
    """Opacity of a thin white rim just outside the mask, and of a coloured line just inside.

    Blurring a straight edge gives the normal distribution of the distance to it, in strokes;
    much faster than a distance transform (0.09 s for 0.75 s), and smooth. A mask cut off by the
    picture's border has no line there, since the filter repeats the last row.
    """
    if mask.size == 0:
        return np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32)
    sharp = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(stroke)), np.float32) / 255
    slope = stroke / 0.37  # from change of the blurred value to pixels, near the edge
    outer = np.clip((blurred - 0.345) * slope + 0.5, 0, 1)  # up to 0.4 strokes outside
    inner = np.clip((0.726 - blurred) * slope + 0.5, 0, 1)  # up to 0.6 strokes inside
    return np.where(mask, 0, outer), np.where(mask, inner, 0)


def _draw_box(canvas: Image.Image, box: np.ndarray, color: tuple[int, ...], stroke: float) -> None:
    draw = ImageDraw.Draw(canvas)
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    corners = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
    wide, narrow = max(3, round(1.2 * stroke)), max(1, round(0.6 * stroke))
    grow = (wide - narrow) // 2
    around = (corners[0] - grow, corners[1] - grow, corners[2] + grow, corners[3] + grow)
    draw.rectangle(around, outline=_RIM, width=wide)
    draw.rectangle(corners, outline=color, width=narrow)


def _draw_disc(
    canvas: Image.Image, point: np.ndarray, color: tuple[int, ...], *, radius: float, rim: float
) -> None:
    reach = int(radius + rim) + 2
    x, y = int(point[0]), int(point[1])
    origin = (x - reach, y - reach)
    side = 2 * reach + 1
    patch = canvas.crop((*origin, origin[0] + side, origin[1] + side))  # black beyond the picture
    patch = patch.resize((side * _SMOOTH, side * _SMOOTH), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(patch)
    center = tuple(
        (float(value) - start) * _SMOOTH for value, start in zip(point, origin, strict=True)
    )
    draw.circle(center, (radius + rim) * _SMOOTH, fill=_RIM)
    draw.circle(center, radius * _SMOOTH, fill=color)
    canvas.paste(patch.resize((side, side), Image.Resampling.BOX), origin)
