"""What `python -m train.build` wrote: array_record files of videos, in tensorflow-datasets' form.

An example is {name, frame_names [t], images [t], masks [t]}. An image is a JPEG or PNG file. Masks
are JSON: {"size": [h, w], "counts": {object id: compressed COCO RLE}}. Only annotated frames are
there. `tfds.builder_from_directory(folder).as_data_source("train")` reads it, too; images and masks
are left encoded so that a clip of 8 frames costs 8 decodings and not those of the whole video.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Bool, UInt8

from train.data import reading
from train.data.video import BadSource, BrokenSample, Video

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class RecordVideo:
    """Attributes:
    example: as described above.
    place: for messages.
    """

    example: Mapping[str, Any]
    place: str

    @cached_property
    def name(self) -> str:
        return self.example["name"].decode()

    @property
    def annotated(self) -> Sequence[int]:
        return range(len(self))

    def __len__(self) -> int:
        return len(self.example["images"])

    def frame_name(self, t: int) -> str:
        return self.example["frame_names"][t].decode()

    def image(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        try:
            return reading.read_rgb(io.BytesIO(self.example["images"][t]))
        except BrokenSample as error:
            raise BrokenSample(f"{self.place}, {self.name}, frame {t}: {error}") from error

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]]:
        where = Path(f"{self.place}, {self.name}, frame {t}")
        try:
            content = json.loads(self.example["masks"][t])
            height, width = content["size"]
            counts = {int(i): code for i, code in content["counts"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenSample(f"{where}: masks cannot be read: {error}") from error
        size = [height, width]

        def mask(number: int) -> np.ndarray:
            code = {"size": size, "counts": counts[number]}
            return reading.decode(code, (height, width), where, where)

        return reading.Masks(list(counts), mask)


class Records(Sequence[Video]):
    """Raises:
    BadSource: the folder is missing, or not finished; `names` is given, which is for building.
    """

    def __init__(self, root: str, names: str = "") -> None:
        import tensorflow_datasets as tfds

        if names:
            raise BadSource("records cannot be chosen by `names`: give the list to train.build")
        self._root = reading.folder(root, "records")
        if not (self._root / MANIFEST).is_file():
            raise BadSource(
                f"{self._root} has no {MANIFEST}: it was not built by `python -m train.build`, or"
                " not to the end; run that again, and it goes on where it stopped"
            )
        try:
            builder: Any = tfds.builder_from_directory(self._root)
            self._data: Any = builder.as_data_source("train")
            self._count = len(self._data)
        except Exception as error:  # of several libraries
            raise BadSource(f"the records of {self._root} cannot be opened: {error}") from error

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Video: ...
    @overload
    def __getitem__(self, index: slice) -> list[Video]: ...
    def __getitem__(self, index: int | slice) -> Video | list[Video]:
        numbers = range(self._count)[index]
        if not isinstance(numbers, int):
            return [self[i] for i in numbers]
        try:
            example = self._data[numbers]
        except Exception as error:  # a damaged file: of several libraries
            raise BrokenSample(f"{self._root}, record {numbers}: {error}") from error
        return RecordVideo(example, f"{self._root}, record {numbers}")
