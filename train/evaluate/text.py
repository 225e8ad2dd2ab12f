"""From phrases to masks: of what a picture shows, and of what it does not.

Of each phrase the mask with the highest score counts, which is what `ImagePredictor` returns as
predicted IoU. Beside it stand what needs no words, the most salient mask of the picture, and what
needs no names, a click in the middle of the object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sam_jax.predictors.image import ImagePredictor
from train.evaluate.centre import centre_of_error
from train.evaluate.jf import region

_GRID = 6  # clicks in each direction, of whose masks the most salient one is looked for
_FAILED = 0.5  # IoU below which an answer is a failure, and from which on it is repaired

Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class TextOptions:
    """What is asked.

    Attributes:
      absent: phrases of nothing in the picture, of each picture.
      threshold: score from which on a mask counts as an answer.
    """

    absent: int = 2
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.absent < 0:
            raise ValueError(f"absent must be 0 or more, got {self.absent}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is a score, 0 to 1, got {self.threshold}")


def ask_by_text(
    predictor: ImagePredictor, phrase: str, longer: str, mask: Mask
) -> dict[str, float]:
    """IoU of an object of the picture that is set, by the kind of prompt; and the text's score.

    Args:
      longer: a phrase that says all there is to be said.

    After the text, the user clicks in the middle of the largest error, and gives back the mask.
    "repaired" is there for failures only.
    """
    found, score, low = _best(predictor, text=phrase)
    text = region(found, mask)
    point, label = (x[0] for x in centre_of_error(mask[None], found[None]))
    helped = _single(predictor, point, label, low, text=phrase)
    point, label = (x[0] for x in centre_of_error(mask[None], np.zeros_like(mask)[None]))
    clicked, _, low = _best(predictor, point_coords=point[None], point_labels=label[None])
    values = {
        "text": text,
        "longest text": region(_best(predictor, text=longer)[0], mask),
        "text, then a click": region(helped, mask),
        "1 click": region(clicked, mask),
        "score": score,
    }
    if text < _FAILED:
        values["repaired"] = float(values["text, then a click"] >= _FAILED)
    return values


def score_of(predictor: ImagePredictor, phrase: str) -> float:
    """Of the best mask for a phrase."""
    return _best(predictor, text=phrase)[1]


def most_salient(predictor: ImagePredictor) -> Mask:
    """Of the answers to a grid of clicks, the mask with the highest predicted IoU."""
    places = (np.arange(_GRID) + 0.5) / _GRID
    points = np.stack(np.meshgrid(places, places), -1).reshape(-1, 1, 2)
    masks, ious, _ = predictor.predict(
        points, np.ones((len(points), 1), np.int32), normalize_coords=False
    )
    return masks[np.unravel_index(np.argmax(ious), ious.shape)] > 0


def rows_of(
    values: Mapping[str, float], *, unseen: bool, threshold: float
) -> dict[str, float | str]:
    """What was measured of an object as results name it; IoUs apart for unseen pairs of words."""
    pairs = ", unseen pairs" if unseen else ""
    rows: dict[str, Any] = {
        f"mIoU, {kind}{pairs}": value
        for kind, value in values.items()
        if kind not in ("score", "repaired")
    }
    rows["answers to phrases of what is there"] = float(values["score"] >= threshold)
    if "repaired" in values:
        rows["failures that a click repairs"] = values["repaired"]
    return rows


def _best(
    predictor: ImagePredictor, **prompts: Any
) -> tuple[Mask, float, Float[np.ndarray, "..."]]:
    masks, scores, low = predictor.predict(**prompts, multimask_output=True)
    best = int(np.argmax(scores))
    return masks[best] > 0, float(scores[best]), low[best]


def _single(
    predictor: ImagePredictor,
    point: Float[np.ndarray, " 2"],
    label: Any,
    low: Float[np.ndarray, "hm wm"],
    **prompts: Any,
) -> Mask:
    masks, _, _ = predictor.predict(
        point[None], label[None], mask_input=low[None], multimask_output=False, **prompts
    )
    return masks[0] > 0
