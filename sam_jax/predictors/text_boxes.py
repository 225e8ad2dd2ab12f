"""Text prompts for any model, by way of somebody's detector: phrases to boxes, boxes to masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sam_jax.io.images import as_rgb
from sam_jax.predictors.image import ImagePredictor
from sam_jax.predictors.text import check_phrases

# (image, phrases) -> the boxes of each phrase, or a tuple of those and their scores.
Detector = Callable[[UInt8[np.ndarray, "h w 3"], list[str]], Any]
_SLACK = 1.0  # pixels that a box may reach out of the picture: detectors round, and are clipped


@dataclass(frozen=True)
class Found:
    """One thing that a phrase was found for.

    Attributes:
      box: XYXY, pixels of the picture.
      score: the detector's; None if it gives none.
      mask: pixels of the picture.
      iou: what the model predicts that the mask's IoU is.
    """

    phrase: str
    box: Float[np.ndarray, "4"]
    score: float | None
    mask: Bool[np.ndarray, "h w"]
    iou: float


@dataclass(frozen=True)
class TextBoxes:
    """What `text_boxes` makes."""

    detector: Detector

    def __call__(self, predictor: ImagePredictor, image: Any, text: Any) -> list[Found]:
        """Masks of what the phrases name, those of the first phrase first.

        Args:
          predictor: of any model; the image is set in it, so that clicks can follow.
          image: uint8 RGB [h w 3], or PIL.
          text: a phrase, or several.

        Returns:
          As many as the detector found; none is an empty list.

        Raises:
          TypeError: no ImagePredictor.
          ValueError: no such image, an empty phrase, or the detector returned something else than
            boxes inside the picture; the message says what.
        """
        if not isinstance(predictor, ImagePredictor):
            raise TypeError(
                "the first argument must be a sam_jax.ImagePredictor(model), got"
                f" {type(predictor).__name__}"
            )
        pixels = as_rgb(image)
        phrases = check_phrases(text)
        if phrases is None:
            raise ValueError(f"text must be a phrase or several, got {text!r:.80}")
        boxes, scores = _checked(self.detector(pixels, phrases), phrases, pixels.shape[:2])
        predictor.set_image(pixels)
        if not sum(map(len, boxes)):
            return []
        asked = np.concatenate(boxes)
        masks, ious, _ = predictor.predict(box=asked, multimask_output=False)
        masks: np.ndarray = masks.reshape(len(asked), *pixels.shape[:2])
        of = [phrase for phrase, its in zip(phrases, boxes, strict=True) for _ in its]
        values = [None] * len(asked) if scores is None else np.concatenate(scores).tolist()
        return [
            Found(phrase, box, score, np.asarray(mask > 0.5), iou)
            for phrase, box, score, mask, iou in zip(
                of, asked, values, masks, ious.reshape(-1).tolist(), strict=True
            )
        ]


def text_boxes(detector: Detector) -> TextBoxes:
    """Masks for phrases with any model, through boxes that a detector finds.

        find = sam_jax.text_boxes(detector)
        for found in find(predictor, photo, ["a cat", "the left cup"]):
            found.phrase, found.mask, found.score

    Args:
      detector: any callable (image uint8 RGB [h w 3], phrases) that returns a list with one array
        [k 4] a phrase: XYXY, pixels of the image, k >= 0. Or a tuple of that and a list with the
        scores [k] of each phrase. docs/text.md has one.

    Raises:
      TypeError: the detector cannot be called.
    """
    if not callable(detector):
        raise TypeError(
            "text_boxes takes a callable (image, phrases) that returns the boxes of each phrase,"
            f" got {detector!r:.80}"
        )
    return TextBoxes(detector)


def _checked(
    returned: Any, phrases: list[str], hw: tuple[int, int]
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Boxes [k 4] and, if there are any, scores [k] of each phrase."""
    boxes, scores = returned, None
    if isinstance(returned, tuple):
        if len(returned) != 2:
            raise ValueError(
                f"the detector returned a tuple of {len(returned)}: (boxes, scores), or a list "
                "with the boxes of each phrase, is expected"
            )
        if all(getattr(one, "shape", ())[1:] == (4,) for one in returned):
            raise ValueError(
                "the detector returned a tuple of two arrays of boxes, but a tuple is read as "
                "(boxes, scores): a list with the boxes of each phrase is expected"
            )
        boxes, scores = returned
    rows = _per_phrase(boxes, phrases, "boxes")
    boxes = [_boxes(array, p, hw) for array, p in zip(rows, phrases, strict=True)]
    if scores is None:
        return boxes, None
    values = _per_phrase(scores, phrases, "scores")
    for array, its, phrase in zip(values, boxes, phrases, strict=True):
        if array.shape != (len(its),) or not np.isfinite(array).all():
            raise ValueError(
                f"the detector returned {len(its)} boxes for {phrase!r:.80}, and scores of shape "
                f"{list(array.shape)}: one finite number a box is expected"
            )
    return boxes, values


def _per_phrase(values: Any, phrases: list[str], what: str) -> list[np.ndarray]:
    if not isinstance(values, Sequence | np.ndarray) or len(values) != len(phrases):
        size = f" of {len(values)}" if hasattr(values, "__len__") else ""
        raise ValueError(
            f"the detector returned {what} as {type(values).__name__}{size} for {len(phrases)} "
            "phrases: a list with one array a phrase is expected, empty where it found nothing"
        )
    try:
        return [np.asarray(value, np.float32) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"the detector's {what} are not numbers: {error}") from error


def _boxes(array: np.ndarray, phrase: str, hw: tuple[int, int]) -> Float[np.ndarray, "k 4"]:
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(
            f"the detector returned boxes of shape {list(array.shape)} for {phrase!r:.80}: "
            "[k, 4] is expected"
        )
    height, width = hw
    limit = np.array([width, height] * 2, np.float32)
    for box in array:
        if not np.isfinite(box).all():
            raise ValueError(
                f"the detector's box {box.tolist()} for {phrase!r:.80} has NaN or infinite values"
            )
        if (box[2:] <= box[:2]).any():
            raise ValueError(
                f"the detector's box {box.tolist()} for {phrase!r:.80} has no area: x0, y0, x1, y1 "
                "with x0 < x1 and y0 < y1 are expected (not a centre and a size)"
            )
        if (box < -_SLACK).any() or (box > limit + _SLACK).any():
            raise ValueError(
                f"the detector's box {box.tolist()} for {phrase!r:.80} leaves the picture of "
                f"{width} x {height} (width x height): pixels of the picture are expected, not of "
                "the detector's input"
            )
    if array.max() <= 1:
        raise ValueError(
            f"the detector's boxes for {phrase!r:.80} lie in one pixel: multiply fractions of the "
            f"picture by its {width} x {height} pixels"
        )
    return np.clip(array, 0, limit)
