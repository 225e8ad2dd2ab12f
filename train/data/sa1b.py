"""SA-1B: ROOT/sa_1.jpg and ROOT/sa_1.json, or a folder more between.

Upstream: training/dataset/vos_segment_loader.py, SA1BSegmentLoader.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from train.data import reading
from train.data.picture import Picture
from train.data.reading import NamedVideos
from train.data.video import BrokenSample


class Sa1bPicture(Picture):
    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]]:
        file = self.path.with_suffix(".json")
        content = reading.read_json(file)
        annotations = content.get("annotations") if isinstance(content, dict) else None
        if not isinstance(annotations, list) or not all(isinstance(x, dict) for x in annotations):
            raise BrokenSample(f'{file} has no list "annotations" of objects, as SA-1B has')
        hw = reading.picture_hw(self.path)
        codes = {i: entry.get("segmentation") for i, entry in enumerate(annotations, 1)}
        return reading.Masks(list(codes), lambda i: reading.decode(codes[i], hw, file, self.path))


class Sa1b(NamedVideos):
    """Every JSON file of a folder that has a picture of its name.

    Args:
      root: folder of the files, or of folders that have them.
      names: file with a name a line, such as sa_1 or sa_000000/sa_1.

    Raises:
      BadSource: there is nothing, or a name is unknown.
    """

    def __init__(self, root: str, names: str = "") -> None:
        self._root = reading.folder(root, "pictures")
        found = [
            str((path.parent / path.stem).relative_to(self._root))
            for place in (self._root, *(self._root / x for x in reading.folders_in(self._root)))
            for path in reading.files_in(place, (".json",)).values()
        ]
        self._names = reading.choose(found, names, f"{self._root} (JSON files beside pictures)")

    def _open(self, name: str) -> Sa1bPicture:
        return Sa1bPicture(name, self._root / f"{name}.jpg")
