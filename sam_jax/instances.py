"""What any predictor answers, in one form: the objects of one picture or frame.

`plot` draws it, `exchange` hands it to other tools.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sam_jax.ops import rle
from sam_jax.predictors.records import Record
from sam_jax.predictors.text_boxes import Found
from sam_jax.predictors.tracked import Tracked


@dataclass(frozen=True)
class Instances:
    """Objects of one picture; none is an empty stack [0 h w].

    Attributes:
      masks: at the picture's size.
      scores: predicted IoU of each mask; None: not known.
      ids: of objects that are tracked.
      names: what they are called.

    Raises:
      ValueError: masks that are not a stack, or not as many scores, ids or names as masks.
    """

    masks: Bool[np.ndarray, "n h w"]
    scores: Float[np.ndarray, " n"] | None = None
    ids: tuple[Any, ...] | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for what in ("scores", "ids", "names"):
            values = getattr(self, what)
            if values is not None and len(values) != len(self.masks):
                raise ValueError(f"{len(values)} {what} for {len(self.masks)} masks: one a mask")

    def __len__(self) -> int:
        return len(self.masks)

    def scores_by_id(self) -> dict[Any, float]:
        """The score of each tracked object, as `plot.show_timeline` takes them of a frame.

        Raises:
          ValueError: the objects have no ids, or no scores.
        """
        if self.ids is None or self.scores is None:
            missing = "ids" if self.ids is None else "scores"
            raise ValueError(f"these {len(self)} objects have no {missing}")
        return dict(zip(self.ids, self.scores.tolist(), strict=True))


def from_prediction(masks: np.ndarray, ious: np.ndarray) -> Instances:
    """Of what `ImagePredictor.predict` returns, the best mask of each object.

    Args:
      masks: [m h w], candidates for one object, or [n m h w]; 0 and 1, or logits.
      ious: [m] or [n m].

    Raises:
      ValueError: other shapes.
    """
    if np.ndim(masks) not in (3, 4) or np.shape(ious) != np.shape(masks)[:-2]:
        raise ValueError(
            "masks [m h w] with ious [m], or [n m h w] with [n m], are expected: the first two"
            f" results of predict. Got {list(np.shape(masks))} and {list(np.shape(ious))}"
        )
    height, width = masks.shape[-2:]
    candidates = masks.reshape(-1, masks.shape[-3], height, width)
    scores = np.reshape(ious, candidates.shape[:2])
    best = np.argmax(scores, axis=1)
    each = np.arange(len(best))
    return Instances(candidates[each, best] > 0, scores[each, best])


def from_records(records: Sequence[Record], size: tuple[int, int] | None = None) -> Instances:
    """Of what `AutomaticMaskGenerator.generate` returns, whatever its `output_mode`.

    Args:
      size: height and width of the picture, for one without records.
    """
    found = [record["segmentation"] for record in records]
    masks = [rle.decode(mask) if isinstance(mask, dict) else mask for mask in found]
    scores = np.array([record["predicted_iou"] for record in records], np.float32)
    return Instances(_stack(masks, size), scores)


def from_tracked(tracked: Mapping[Any, Tracked], size: tuple[int, int] | None = None) -> Instances:
    """Of what `Stream.step` or `EverythingTracker.step` returns, the objects that are there.

    Args:
      size: height and width of the frame, for one without objects.
    """
    seen = {obj_id: one.mask for obj_id, one in tracked.items() if one.object_logit > 0}
    seen = {obj_id: mask for obj_id, mask in seen.items() if mask.any()}
    if size is None and tracked:
        size = next(iter(tracked.values())).mask.shape
    scores = np.array([tracked[obj_id].iou for obj_id in seen], np.float32)
    return Instances(_stack(list(seen.values()), size), scores, ids=tuple(seen))


def from_video(
    obj_ids: Sequence[Any],
    masks: Float[np.ndarray, "n 1 h w"],
    scores: Mapping[Any, Mapping[str, float]] | None = None,
) -> Instances:
    """Of what `VideoPredictor` yields for a frame, the objects that have a mask there.

    Args:
      masks: logits.
      scores: what `VideoPredictor.scores` says of the frame.
    """
    inside = masks[:, 0] > 0
    kept = [i for i in range(len(inside)) if inside[i].any()]
    ids = tuple(obj_ids[i] for i in kept)
    ious = None if scores is None else np.array([scores[one]["iou"] for one in ids], np.float32)
    return Instances(inside[kept], ious, ids=ids)


def from_found(found: Iterable[Found], size: tuple[int, int] | None = None) -> Instances:
    """Of what `text_boxes` finds, each under the name of its phrase.

    Args:
      size: height and width of the picture, for one in which nothing was found.
    """
    every = list(found)
    return Instances(
        _stack([one.mask for one in every], size),
        np.array([one.iou for one in every], np.float32),
        names=tuple(one.phrase for one in every),
    )


def _stack(masks: list[np.ndarray], size: tuple[int, int] | None) -> Bool[np.ndarray, "n h w"]:
    return np.stack(masks) if masks else np.zeros((0, *(size or (0, 0))), bool)
