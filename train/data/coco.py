"""Pictures with instance masks in one JSON file, in COCO's form; polygons and RLE."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from sam_jax.ops import rle
from train.data import reading
from train.data.picture import Picture
from train.data.reading import NamedVideos
from train.data.video import BadSource, BrokenSample

_MAX_BYTES = 4 * 2**30  # instances_train2017.json has 0.45 GB


@dataclass(frozen=True)
class CocoPicture(Picture):
    """Attributes:
    file: where the masks are from, for messages.
    outlines: JSON of [annotation id, segmentation] pairs.
    """

    file: Path
    outlines: bytes

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]]:
        hw = reading.picture_hw(self.path)
        outlines = dict(json.loads(self.outlines))
        return reading.Masks(list(outlines), lambda i: self._mask(i, outlines[i], hw))

    def _mask(self, number: int, outline: Any, hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        if isinstance(outline, list):
            return self._polygons(number, outline, hw)
        return reading.decode(outline, hw, self.file, self.path)

    def _polygons(self, number: int, rings: list, hw: tuple[int, int]) -> np.ndarray:
        from pycocotools import mask as codec

        far = 2 * max(hw)  # painting costs time and memory by a line's length
        for ring in rings:
            try:
                corners = np.asarray(ring, np.float64)
                good = corners.ndim == 1 and len(corners) >= 6 and len(corners) % 2 == 0
                good = good and bool((np.abs(corners) <= far).all())  # not true of NaN
            except (ValueError, TypeError):
                good = False
            if not good:
                raise BrokenSample(
                    f"{self.file}: annotation {number} has a polygon that is no list of x, y, x,"
                    f" ... in a picture of {hw[1]} x {hw[0]}: {str(ring)[:60]}"
                )
        if not rings:
            return np.zeros(hw, bool)
        return rle.decode(codec.merge(codec.frPyObjects(rings, *hw)))


class Coco(NamedVideos):
    """Pictures that have masks; those of crowds are left out.

    Args:
      root: folder of the pictures.
      annotations: the JSON file.
      names: file with a picture's name a line, without ending.

    Raises:
      BadSource: a file is missing or not in COCO's form, or its parts do not fit one another.
    """

    def __init__(self, root: str, annotations: str, names: str = "") -> None:
        self._root = reading.folder(root, "pictures")
        if not annotations:
            raise BadSource("a COCO set needs `annotations`: its JSON file of instances")
        self._file = Path(annotations)
        files, outlines = _read(self._file, self._root)
        # Serialised: a million small objects would take long to hand to other processes.
        self._outlines = {name: json.dumps(outlines[name]).encode() for name in outlines}
        self._files = {name: files[name] for name in outlines}
        self._names = reading.choose(sorted(outlines), names, self._file)

    def _open(self, name: str) -> CocoPicture:
        path = self._root / self._files[name]
        return CocoPicture(name, path, self._file, self._outlines[name])


def _read(file: Path, root: Path) -> tuple[dict[str, str], dict[str, list]]:
    """File names, and annotations as [id, segmentation], by the pictures' names."""
    try:
        content = reading.read_json(file, max_bytes=_MAX_BYTES)
    except BrokenSample as error:
        raise BadSource(f"{error}; check `annotations`") from error
    try:
        images = {image["id"]: image["file_name"] for image in content["images"]}
        entries = [
            (int(entry["id"]), images.get(entry["image_id"]), entry, entry["segmentation"])
            for entry in content["annotations"]
            if not entry.get("iscrowd")
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadSource(
            f"{file} is not in COCO's form of instances (images with id and file_name, annotations"
            f" with id, image_id and segmentation): {error!r}"
        ) from error
    files: dict[str, str] = {}
    for name in images.values():
        path = reading.inside(root, name, file).relative_to(root)
        if files.setdefault(str(path.with_suffix("")), str(path)) != str(path):
            raise BadSource(f"{file}: {name} and another picture differ by their endings only")
    outlines: dict[str, list] = {}
    for number, name, entry, outline in entries:
        if name is None:
            raise BadSource(
                f"{file}: annotation {number} is of the picture {entry['image_id']}, which is not"
                " among its images: the file is cut or put together from different sets"
            )
        outlines.setdefault(str(Path(name).with_suffix("")), []).append([number, outline])
    return files, outlines
