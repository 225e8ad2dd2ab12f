"""Click mIoU on single pictures: the protocol of the SAM and SAM 2 papers.

The first click is in the middle of the object, each other one in the middle of the largest error,
and comes with the last answer's logits. A first click is ambiguous and gets three masks, of which
the one with the highest predicted IoU is taken; later answers are single. "Best of three" takes the
mask that fits best instead, as the papers' oracle does. IoU is measured at the picture's own size.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sam_jax.predictors.image import ImagePredictor
from train.data.video import BrokenSample, Video
from train.evaluate.centre import bounding_box, centre_of_error
from train.evaluate.jf import region
from train.evaluate.tracking import masks_of, some_objects

CLICKS = (1, 3, 5)
_AT_ONCE = 16  # objects of a picture that are asked about together

IoUs = dict[str, list[float]]


def click_picture(
    predictor: ImagePredictor,
    image: UInt8[np.ndarray, "h w 3"],
    masks: Sequence[Bool[np.ndarray, "h w"]],
) -> IoUs:
    """IoU of each object, none of them empty, by the kind of prompt."""
    predictor.set_image(image)
    ious: IoUs = {}
    for start in range(0, len(masks), _AT_ONCE):
        for kind, values in _ask(predictor, np.stack(masks[start : start + _AT_ONCE])):
            ious.setdefault(kind, []).extend(values)
    return ious


def first_objects(video: Video, limit: int) -> tuple[int, Mapping[int, Bool[np.ndarray, "h w"]]]:
    """The first frame that shows objects, and they; at most `limit`, 0 meaning all.

    Raises:
      BrokenSample: no frame does.
    """
    for t in video.annotated:
        visible = {i: mask for i, mask in masks_of(video, t).items() if mask.any()}
        if visible:
            return t, {i: visible[i] for i in some_objects(visible, limit, video.name)}
    raise BrokenSample(f"{video.name} shows no object")


def _ask(
    predictor: ImagePredictor, masks: Bool[np.ndarray, "o h w"]
) -> Iterator[tuple[str, list[float]]]:
    o = len(masks)
    points, labels = (x[:, None] for x in centre_of_error(masks, np.zeros_like(masks)))
    three, ious, low = _predict(predictor, o, points, labels, multimask=True)
    best = ious.argmax(1)
    found, logits = three[np.arange(o), best], low[np.arange(o), best]
    yield "1 click", _ious(found, masks)
    yield (
        "1 click, best of three",
        np.max([_ious(three[:, m], masks) for m in range(three.shape[1])], axis=0).tolist(),
    )
    for clicks in range(2, CLICKS[-1] + 1):
        point, label = centre_of_error(masks, found)
        points = np.concatenate([points, point[:, None]], 1)
        labels = np.concatenate([labels, label[:, None]], 1)
        single, _, low = _predict(predictor, o, points, labels, mask=logits)
        found, logits = single[:, 0], low[:, 0]
        if clicks in CLICKS:
            yield f"{clicks} clicks", _ious(found, masks)
    boxes = np.stack([bounding_box(mask) for mask in masks])
    single, _, _ = _predict(predictor, o, None, None, box=boxes)
    yield "box", _ious(single[:, 0], masks)


def _predict(
    predictor: ImagePredictor,
    o: int,
    points: np.ndarray | None,
    labels: np.ndarray | None,
    *,
    box: np.ndarray | None = None,
    mask: Float[np.ndarray, "o hm wm"] | None = None,
    multimask: bool = False,
) -> tuple[Bool[np.ndarray, "o m h w"], Float[np.ndarray, "o m"], Float[np.ndarray, "o m hm wm"]]:
    result = predictor.predict(
        points, labels, box, None if mask is None else mask[:, None], multimask_output=multimask
    )
    masks, ious, low = (x if o > 1 else x[None] for x in result)
    return masks > 0, ious, low


def _ious(found: Bool[np.ndarray, "o h w"], masks: Bool[np.ndarray, "o h w"]) -> list[float]:
    return [region(a, b) for a, b in zip(found, masks, strict=True)]
