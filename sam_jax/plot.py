"""Pictures for notebooks: masks, prompts, candidates and timelines, by matplotlib.

Each function draws into the axes it is given, or makes its own, and returns them. Masks look as
`sam-jax` draws them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sam_jax.io.overlay import BACKGROUND_COLOR, COLORS, FOREGROUND_COLOR, overlay

_INCHES = 6.0  # width of a figure
_ROW = 0.32  # inches of an object in a timeline
_PALE = 0.25  # opacity of a bar behind the line of its scores


def show_masks(
    image: UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "n h w"],
    *,
    ids: Sequence[Any] | np.ndarray | None = None,
    ax: Any = None,
) -> Any:
    """The picture with masks tinted and outlined.

    Args:
      ids: of the objects, written on them. An object keeps its colour from frame to frame if its id
        is a whole number.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    ax = _on_picture(ax, image)
    colors = _colors(ids if ids is not None else range(1, len(masks) + 1))
    ax.imshow(overlay(image, masks, colors=colors or COLORS))
    for obj_id, mask in zip(() if ids is None else ids, masks, strict=False):
        if mask.any():
            _write(ax, str(obj_id), *_middle(mask))
    return ax


def show_prompts(
    ax: Any,
    *,
    points: Any = (),
    labels: Any = (),
    boxes: Any = (),
) -> Any:
    """Clicks and boxes on a picture that was drawn before.

    Args:
      ax: matplotlib axes, such as `show_masks` returns.
      points: xy in pixels [p 2].
      labels: 1 (green) or 0 (red) for each point.
      boxes: XYXY in pixels, [4] or [k 4].

    Returns:
      The axes.
    """
    from matplotlib.patches import Rectangle

    for x0, y0, x1, y1 in np.reshape(boxes, (-1, 4)):
        for width, color in ((3.5, "white"), (1.5, _unit(FOREGROUND_COLOR))):
            corner, size = (x0 - 0.5, y0 - 0.5), (x1 - x0, y1 - y0)
            ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=width))
    for (x, y), label in zip(np.reshape(points, (-1, 2)), np.ravel(labels), strict=True):
        color = _unit(FOREGROUND_COLOR if label else BACKGROUND_COLOR)
        ax.plot(x, y, "o", color=color, markersize=9, markeredgecolor="white", markeredgewidth=1.5)
    return ax


def show_candidates(
    image: UInt8[np.ndarray, "h w 3"],
    masks: np.ndarray,
    ious: Float[np.ndarray, " m"],
    *,
    points: Any = (),
    labels: Any = (),
    boxes: Any = (),
) -> Any:
    """The answers to one ambiguous prompt side by side, each under its predicted IoU.

    Args:
      masks: [m h w], 0 and 1 or logits, as `ImagePredictor.predict` returns them.
      points, labels, boxes: what was asked; as for `show_prompts`.

    Returns:
      An array of m axes; the title of the best is bold.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    height, width = image.shape[:2]
    count = len(masks)
    size = (_INCHES * count / 2, _INCHES / 2 * height / width + 0.4)
    figure = _pyplot().figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for i, (panel, mask, iou) in enumerate(zip(panels, masks, ious, strict=True)):
        show_masks(image, np.asarray(mask)[None] > 0, ax=panel)
        show_prompts(panel, points=points, labels=labels, boxes=boxes)
        weight = "bold" if i == int(np.argmax(ious)) else "normal"
        panel.set_title(f"predicted IoU {iou:.2f}", fontsize=10, fontweight=weight)
    return panels


def show_timeline(
    frames: Sequence[Mapping[Any, float]],
    *,
    fps: float | int | None = None,
    ax: Any = None,
) -> Any:
    """A row for each object: a bar where it is seen, in it a line as high as its predicted IoU.

        seen = []
        for frame in frames:
            seen.append(from_tracked(stream.step(frame)).scores_by_id())
        plot.show_timeline(seen)

    Args:
      frames: of each frame, the objects in it and their predicted IoUs. Objects are in the order of
        their first appearance.
      fps: frames a second; time is in seconds then, else in frames.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
      ValueError: no object at all.
    """
    ids = list(dict.fromkeys(obj_id for frame in frames for obj_id in frame))
    if not ids:
        raise ValueError(f"no object is seen in these {len(frames)} frames: nothing to draw")
    if ax is None:
        size = (_INCHES, _ROW * len(ids) + 0.8)
        ax = _pyplot().figure(figsize=size, layout="constrained").subplots()
    unit = 1.0 if fps is None else 1 / fps
    edges = unit * np.arange(len(frames) + 1)
    for row, (obj_id, color) in enumerate(zip(ids, _colors(ids), strict=True)):
        ious = np.array([frame.get(obj_id, np.nan) for frame in frames], float)
        for start, stop in _runs(~np.isnan(ious)):
            span, tint = edges[[start, stop]], _unit(color)
            ax.fill_between(span, row - 0.4, row + 0.4, color=tint, alpha=_PALE, linewidth=0)
        heights = row + 0.4 - 0.8 * ious  # rows are counted downwards
        ax.stairs(heights, edges, baseline=None, color=_unit(color), linewidth=1.5)
    ax.set_yticks(range(len(ids)), [str(obj_id) for obj_id in ids])
    ax.set_ylim(len(ids) - 0.4, -0.6)
    ax.set_xlim(0, edges[-1])
    ax.set_xlabel("frame" if fps is None else "seconds")
    return ax


def _runs(seen: Bool[np.ndarray, " t"]) -> list[tuple[int, int]]:
    """First, and last + 1, of each stretch of true values."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]])))
    return [(int(start), int(stop)) for start, stop in ends.reshape(-1, 2)]


def _colors(ids: Sequence[Any] | np.ndarray) -> list[tuple[int, int, int]]:
    places = (
        obj_id - 1 if isinstance(obj_id, int | np.integer) else at for at, obj_id in enumerate(ids)
    )
    return [COLORS[place % len(COLORS)] for place in places]


def _unit(color: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(value / 255 for value in color)


def _middle(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float]:
    """xy of the pixel of the mask that is nearest to the median of all."""
    yx = np.argwhere(mask)
    y, x = yx[((yx - np.median(yx, axis=0)) ** 2).sum(1).argmin()]
    return float(x), float(y)


def _write(ax: Any, text: str, x: float, y: float) -> None:
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2.5, foreground="black")]
    ax.text(x, y, text, color="white", ha="center", va="center", path_effects=rim)


def _on_picture(ax: Any, image: np.ndarray) -> Any:
    """Axes without ticks; new ones in a figure of the picture's shape."""
    if ax is None:
        height, width = image.shape[:2]
        figure = _pyplot().figure(figsize=(_INCHES, _INCHES * height / width), layout="constrained")
        ax = figure.subplots()
    ax.set_axis_off()
    return ax


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plots need matplotlib: pip install 'sam_jax[plot]'") from error
    return plt
