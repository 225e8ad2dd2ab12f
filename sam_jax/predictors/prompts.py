"""From what people type to `Prompts`: checks, coordinate frames, padding to a few static shapes.

Upstream: SAM2ImagePredictor._prep_prompts and _predict.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from sam_jax.config import Config
from sam_jax.io.canvas import Canvas
from sam_jax.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, NOT_A_POINT, PAD, Prompts

POINT_BUCKETS = (1, 2, 4, 8, 16, 32)
PROMPT_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_LABELS = (NOT_A_POINT, 0, 1, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)


@dataclass(frozen=True)
class PromptArrays:
    """Checked prompts of one image, on the host.

    Attributes:
      points: xy in pixels of the model input; box corners first, then clicks, then not-a-point.
        (Upstream's SAM 1 has the corners last. To attention the order is nothing.)
      mask: low-resolution logits, None without a mask prompt.
      text: unit-norm embeddings, None without a text prompt.
    """

    points: Float[np.ndarray, "n p 2"]
    labels: Int[np.ndarray, "n p"]
    mask: Float[np.ndarray, "n hm wm"] | None
    text: Float[np.ndarray, "n c"] | None = None


def bucket(size: int, buckets: tuple[int, ...]) -> int:
    """The smallest bucket that holds `size`; beyond the last, multiples of it."""
    fitting = [b for b in buckets if b >= size]
    return fitting[0] if fitting else -(-size // buckets[-1]) * buckets[-1]


def check_prompts(
    point_coords: object,
    point_labels: object,
    box: object,
    mask_input: object,
    *,
    canvas: Canvas,
    normalize_coords: bool,
    config: Config,
    text: Float[np.ndarray, "n c"] | None = None,
) -> PromptArrays:
    """Check and gather the prompts of one image.

    Args:
      point_coords: xy, [p 2] or [n p 2]; pixels of the original image, or 0..1 of its sides when
        `normalize_coords` is false.
      point_labels: [p] or [n p]; 1 foreground, 0 background; -1, 2 and 3 have their meaning too.
      box: XYXY, [4] or [n 4], in the frame of the points.
      mask_input: logits of an earlier prediction, [1 hm wm], [n 1 hm wm] or [hm wm]; a single one
        serves all objects.
      canvas: the image on the model input.
      config: of the model.
      text: embeddings from `predictors.text.embeddings`; a single one serves all objects.

    Raises:
      ValueError: no prompt at all, a wrong shape, a label or coordinate that means nothing, prompts
        that disagree in number; the message names the value.
    """
    size = [canvas.width, canvas.height] if normalize_coords else [1.0, 1.0]
    limit = np.array(size, np.float32)
    points, labels = _points(point_coords, point_labels, limit)
    corners = _box(box, limit)
    mask = _mask(mask_input, config.mask_size)

    n = _count(points, corners, mask, text)
    points, labels, corners, mask, text = (
        None if x is None else np.broadcast_to(x, (n, *x.shape[1:]))
        for x in (points, labels, corners, mask, text)
    )

    parts, part_labels = [], []
    if corners is not None:
        parts.append(corners)
        part_labels.append(np.tile([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], (n, 1)))
    if points is not None:
        parts.append(points)
        part_labels.append(labels)
    # Clicks are closed with a not-a-point token, by SAM 2 boxes, too; mask and text have none.
    closing = int(bool(parts) and (config.close_boxes or corners is None))
    parts.append(np.zeros((n, closing, 2), np.float32))
    part_labels.append(np.full((n, closing), NOT_A_POINT))
    return PromptArrays(
        canvas.to_input(np.concatenate(parts, 1) / limit),
        np.concatenate(part_labels, 1).astype(np.int32),
        mask,
        text,
    )


def _count(
    points: np.ndarray | None,
    corners: np.ndarray | None,
    mask: np.ndarray | None,
    text: np.ndarray | None,
) -> int:
    """How many objects are asked for. One mask or text serves all; one place, all of those."""
    given = {"points": points, "boxes": corners, "masks": mask, "texts": text}
    counts = {name: len(value) for name, value in given.items() if value is not None}
    if not counts:
        raise ValueError(
            "no prompt: give point_coords with point_labels, a box, a mask_input or a text"
        )
    places = {counts[name] for name in ("points", "boxes") if name in counts}
    if len(places) > 1 or len(set(counts.values()) - {1}) > 1:
        raise ValueError(f"prompts disagree in number: {counts}; give one of each for each object")
    return max(counts.values())


def _points(
    coords: object, labels: object, limit: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if coords is None and labels is None:
        return None, None
    if coords is None:
        raise ValueError("point_labels without point_coords: give both")
    if labels is None:
        raise ValueError("point_coords without point_labels: 1 is foreground, 0 background")
    xy = _array(coords, "point_coords")
    if xy.size == 0:
        return None, None
    if xy.ndim not in (2, 3) or xy.shape[-1] != 2 or 0 in xy.shape:
        raise ValueError(f"point_coords must be [p, 2] or [n, p, 2], got shape {xy.shape}")
    kind = _array(labels, "point_labels")
    if kind.shape != xy.shape[:-1]:
        raise ValueError(
            f"point_labels must have shape {xy.shape[:-1]}, one label a point, got {kind.shape}"
        )
    if (bad := kind[~np.isin(kind, _LABELS)]).size:
        raise ValueError(f"point_labels has {bad[0]:g}: 1 is foreground, 0 background")
    _inside(xy, limit, "point_coords")
    return (xy, kind) if xy.ndim == 3 else (xy[None], kind[None])


def _box(box: object, limit: np.ndarray) -> np.ndarray | None:
    if box is None:
        return None
    xyxy = _array(box, "box")
    if xyxy.size == 0 or (xyxy.shape[-1:] != (4,) and xyxy.shape[-2:] != (2, 2)):
        raise ValueError(f"box must be [4] or [n, 4] as x0, y0, x1, y1, got shape {xyxy.shape}")
    corners = xyxy.reshape(-1, 2, 2)
    _inside(corners, limit, "box")
    empty = (corners[:, 1] <= corners[:, 0]).any(1)
    if empty.any():
        first = xyxy.reshape(-1, 4)[empty][0].tolist()
        raise ValueError(f"box {first} is empty or inverted: x0 < x1 and y0 < y1 are needed")
    return corners


def _mask(mask: object, size: int) -> np.ndarray | None:
    if mask is None:
        return None
    logits = _array(mask, "mask_input")
    shape = logits.shape
    if logits.ndim == 2:
        logits = logits[None]
    if logits.ndim == 4 and logits.shape[1] == 1:
        logits = logits[:, 0]
    if logits.ndim != 3 or logits.shape[1:] != (size, size) or len(logits) == 0:
        raise ValueError(
            f"mask_input must be low-resolution logits [1, {size}, {size}] or [n, 1, {size}, "
            f"{size}], as predict returns them, got shape {shape}"
        )
    return logits


def _array(value: object, name: str) -> np.ndarray:
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, got {value!r:.80}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has a value that is NaN or infinite")
    return array


def _inside(xy: np.ndarray, limit: np.ndarray, name: str) -> None:
    outside = ((xy < 0) | (xy > limit)).any(-1)
    if outside.any():
        x, y = xy[outside][0]
        raise ValueError(
            f"{name} has ({x:g}, {y:g}), outside the image of {limit[0]:g} x {limit[1]:g} "
            "(width x height): clip it, or check that x comes first"
        )


def pad_prompts(prompts: list[PromptArrays], mask_size: int) -> Prompts:
    """Prompts of b images as one padded batch of n = b * o.

    o and the number of points are rounded up to a bucket, so that clicking compiles a handful of
    programs. A padded prompt repeats nothing: its points are PAD and its masks are discarded.
    """
    o = bucket(max(len(p.points) for p in prompts), PROMPT_BUCKETS)
    slots = bucket(max(p.points.shape[1] for p in prompts), POINT_BUCKETS)
    b = len(prompts)
    points = np.zeros((b, o, slots, 2), np.float32)
    labels = np.full((b, o, slots), PAD, np.int32)
    masked = any(p.mask is not None for p in prompts)
    k = o if masked else 1
    mask: Float[np.ndarray, "b k hm wm 1"] = np.zeros((b, k, mask_size, mask_size, 1), np.float32)
    has_mask: Bool[np.ndarray, "b k"] = np.zeros((b, k), bool)
    c = max(0 if p.text is None else p.text.shape[1] for p in prompts)
    r = o if c else 0
    text: Float[np.ndarray, "b r c"] = np.zeros((b, r, c), np.float32)
    has_text: Bool[np.ndarray, "b r"] = np.zeros((b, r), bool)
    for i, p in enumerate(prompts):
        n, count = p.labels.shape
        points[i, :n, :count] = p.points
        labels[i, :n, :count] = p.labels
        if p.mask is not None:
            mask[i, :n, ..., 0] = p.mask
            has_mask[i, :n] = True
        if p.text is not None:
            text[i, :n], has_text[i, :n] = p.text, True
    if not masked:
        mask, has_mask = mask[:1], has_mask[:1]
    return Prompts(
        points=jnp.asarray(points.reshape(b * o, slots, 2)),
        labels=jnp.asarray(labels.reshape(b * o, slots)),
        mask=jnp.asarray(mask.reshape(-1, mask_size, mask_size, 1)),
        has_mask=jnp.asarray(has_mask.reshape(-1)),
        text=jnp.asarray(text.reshape(b * r, c)),
        has_text=jnp.asarray(has_text.reshape(-1)),
    )


def join_points(first: PromptArrays, second: PromptArrays) -> PromptArrays:
    """Clicks given in two calls, as if in one."""
    return PromptArrays(
        np.concatenate([first.points[:, :-1], second.points], 1),  # without the closing token
        np.concatenate([first.labels[:, :-1], second.labels], 1),
        second.mask,
    )


def fill_slots(prompts: dict[int, PromptArrays], shape: tuple[int, int], mask_size: int) -> Prompts:
    """Clicks and boxes of some objects among slots for many, without masks.

    Args:
      prompts: of one object each, by slot.
      shape: number of slots, of points an object.
    """
    points = np.zeros((*shape, 2), np.float32)
    labels = np.full(shape, PAD, np.int32)
    for slot, prompt in prompts.items():
        count = prompt.labels.shape[1]
        points[slot, :count], labels[slot, :count] = prompt.points[0], prompt.labels[0]
    return Prompts(
        points=jnp.asarray(points),
        labels=jnp.asarray(labels),
        mask=jnp.zeros((0, mask_size, mask_size, 1)),
        has_mask=jnp.zeros(0, bool),
    )


def check_mask(mask: object, hw: tuple[int, int] | None) -> Bool[np.ndarray, "h w"]:
    """A mask that says what an object is: bool, or 0 and 1.

    Args:
      hw: height and width it must have; None for any.

    Raises:
      ValueError: another shape, or other values.
    """
    array = np.asarray(mask)
    if array.ndim != 2 or array.size == 0 or (hw is not None and array.shape != tuple(hw)):
        wanted = "[h, w]" if hw is None else f"{list(hw)}, the size of the frames"
        raise ValueError(f"mask must have shape {wanted}, got {list(array.shape)}")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"mask must be bool or hold only 0 and 1, got {array.dtype} from {array.min()} to "
            f"{array.max()}: compare it with a threshold first"
        )
    return array.astype(bool)


def resize_mask(mask: Bool[np.ndarray, "h w"], side: int) -> Float[np.ndarray, "side side"]:
    """A mask at the model input's size, 0 or 1: bilinear with antialiasing, at least half covered.

    Upstream: SAM2VideoPredictor.add_new_mask.
    """
    if mask.shape == (side, side):
        return mask.astype(np.float32)
    covered = Image.fromarray(mask.astype(np.float32)).resize(
        (side, side), Image.Resampling.BILINEAR
    )
    return (np.asarray(covered) >= 0.5).astype(np.float32)
