"""`Instances` to and from what other tools read: supervision's Detections, COCO data sets."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax.instances import Instances
from sam_jax.ops import rle

_OBJECT = "object"  # the category of what has no name


def to_detections(found: Instances) -> Any:
    """As `supervision.Detections`, for its annotators, trackers and metrics.

    `xyxy` reaches to the outer edges of the masks' pixels, as COCO's boxes do; `confidence` is the
    predicted IoU and `tracker_id` the number of a tracked object. Names are in
    `data["class_name"]`, and `class_id` counts them in order of the alphabet.

    Raises:
      ModuleNotFoundError: supervision is not installed.
      ValueError: an object's id is not a whole number, as tracker_id must be.
    """
    supervision = _supervision()
    corners = [rle.bounding_box(rle.encode(mask, compress=False)) for mask in found.masks]
    xyxy = np.array([(x, y, x + w, y + h) for x, y, w, h in corners], np.float32).reshape(-1, 4)
    tracker_id, class_id, data = None, None, {}
    if found.ids is not None:
        for one in found.ids:
            if not isinstance(one, int | np.integer):
                raise ValueError(
                    f"object {one!r} cannot be a tracker_id, which is a whole number: track it"
                    " under a number, or drop ids and give names"
                )
        tracker_id = np.array(found.ids, int)
    if found.names is not None:
        class_id = np.searchsorted(sorted(set(found.names)), found.names).astype(int)
        data = {"class_name": np.array(found.names, str)}
    return supervision.Detections(
        xyxy=xyxy,
        mask=found.masks,
        confidence=found.scores,
        class_id=class_id,
        tracker_id=tracker_id,
        data=data,
    )


def from_detections(detections: Any) -> Instances:
    """Of `supervision.Detections` that have masks.

    Raises:
      ValueError: they have none. Boxes alone are prompts: `predict(box=detections.xyxy)`.
    """
    if detections.mask is None:
        raise ValueError(
            "these detections have no masks; their boxes are prompts:"
            " ImagePredictor.predict(box=detections.xyxy)"
        )
    ids, names = detections.tracker_id, detections.data.get("class_name")
    return Instances(
        np.asarray(detections.mask, bool),
        detections.confidence,
        ids=None if ids is None else tuple(int(one) for one in ids),
        names=None if names is None else tuple(str(name) for name in names),
    )


def to_coco(pictures: Mapping[str, Instances]) -> dict[str, Any]:
    """A COCO data set, ready for `json.dump`.

    Masks are compressed run-length codes. An annotation has a `score` where it is known, as COCO's
    result files do, and the `track_id` of a tracked object. What has no name is an "object".

    Args:
      pictures: file names, in order, and the objects in them; frames of a video are pictures.

    Raises:
      ValueError: the size of a picture without objects is not known.
    """
    every = {name for found in pictures.values() for name in _names(found)}
    numbers = {name: number for number, name in enumerate(sorted(every), start=1)}
    images, annotations = [], []
    for image_id, (file_name, found) in enumerate(pictures.items(), start=1):
        height, width = found.masks.shape[1:]
        if height == 0:
            raise ValueError(
                f"{file_name} has no objects from which its size would follow: give the function"
                " that made its Instances the size"
            )
        size = {"height": height, "width": width}
        images.append({"id": image_id, "file_name": file_name, **size})
        for index, (mask, name) in enumerate(zip(found.masks, _names(found), strict=True)):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": numbers[name],
                "iscrowd": 0,
                **rle.coco_fields(rle.encode(mask)),
            }
            if found.scores is not None:
                annotation["score"] = round(float(found.scores[index]), 6)
            if found.ids is not None:
                one = found.ids[index]
                annotation["track_id"] = int(one) if isinstance(one, np.integer) else one
            annotations.append(annotation)
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "categories": categories, "annotations": annotations}


def from_coco(dataset: Mapping[str, Any]) -> dict[str, Instances]:
    """File names and objects of a COCO data set whose masks are run-length codes.

    Scores and ids are there if every annotation of the picture has them.

    Raises:
      ValueError: a mask is a polygon, whose pixels are a matter of taste: pycocotools' annToRLE
        turns it into a code. Two pictures have the same file name.
    """
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    rows_of = defaultdict(list)  # by picture
    for row in dataset["annotations"]:
        rows_of[row["image_id"]].append(row)
    found: dict[str, Instances] = {}
    for image in dataset["images"]:
        if image["file_name"] in found:
            raise ValueError(f"two pictures are called {image['file_name']}: rename one")
        rows = rows_of[image["id"]]
        for row in rows:
            if not isinstance(row["segmentation"], Mapping):
                raise ValueError(
                    f"annotation {row.get('id')} of {image['file_name']} is a polygon; a run-length"
                    " code is expected (pycocotools: coco.annToRLE)"
                )
        masks = [rle.decode(dict(row["segmentation"])) for row in rows]
        empty = np.zeros((0, image["height"], image["width"]), bool)
        scores, ids = ([row.get(key) for row in rows] for key in ("score", "track_id"))
        found[image["file_name"]] = Instances(
            np.stack(masks) if masks else empty,
            None if None in scores else np.array(scores, np.float32),
            ids=None if None in ids or not ids else tuple(ids),
            names=tuple(names[row["category_id"]] for row in rows),
        )
    return found


def _names(found: Instances) -> tuple[str, ...]:
    return (_OBJECT,) * len(found) if found.names is None else found.names


def _supervision() -> Any:
    try:
        import supervision
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Detections need supervision: pip install 'sam_jax[supervision]'"
        ) from error
    return supervision
