"""Your own pictures: ROOT/images/NAME.jpg with ROOT/masks/NAME.png, or ROOT/masks/NAME/*.png.

One file for all objects has their ids as its palette or grey values (0 and 255: one object). Of a
file for each object, everything that is not 0 belongs to the object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from train.data import reading
from train.data.picture import Picture
from train.data.reading import NamedVideos
from train.data.video import BadSource


@dataclass(frozen=True)
class Pair(Picture):
    """Attributes:
    mask: a file, or a folder of files.
    """

    mask: Path

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]]:
        if self.mask.is_dir():
            files = dict(enumerate(reading.files_in(self.mask, (".png",)).values(), 1))
            return reading.Masks(list(files), lambda i: self._labels(files[i]) > 0)
        labels = self._labels(self.mask)
        return reading.Masks(reading.ids_in(labels), lambda i: labels == i)

    def _labels(self, path: Path) -> np.ndarray:
        labels = reading.read_labels(path)
        reading.require_size(labels.shape, reading.picture_hw(self.path), path, self.path)
        return labels


class Pairs(NamedVideos):
    """All pictures of a folder, or those that a list names.

    Args:
      root: has the folders images and masks.
      names: file with a name a line, without ending.

    Raises:
      BadSource: a folder is missing, or a picture has no mask, or a mask no picture.
    """

    def __init__(self, root: str, names: str = "") -> None:
        top = reading.folder(root, "images and masks")
        images, masks = (reading.folder(top / x, x) for x in ("images", "masks"))
        self._images = reading.files_in(images, reading.PICTURES)
        folders = {name: masks / name for name in reading.folders_in(masks)}
        self._masks = folders | reading.files_in(masks, (".png",))
        alone = self._images.keys() ^ self._masks.keys()
        if not names and alone:
            name = min(alone)
            path, other = self._images.get(name, masks / name), masks / f"{name}.png"
            if name not in self._images:
                path, other = self._masks[name], images / f"{name}.jpg"
            raise BadSource(
                f"{path} has no {other}, and there are {len(alone)} such in all: add what is"
                " missing, or list the pictures to use in a file (`names`)"
            )
        both = sorted(self._images.keys() & self._masks.keys())
        self._names = reading.choose(both, names, top)

    def _open(self, name: str) -> Pair:
        return Pair(name, self._images[name], self._masks[name])
