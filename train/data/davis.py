"""Videos as folders of frames and folders of masks: DAVIS, MOSE, YouTube-VOS, SA-V's evaluation.

ROOT/JPEGImages/VIDEO/00000.jpg and ROOT/Annotations/VIDEO/00000.png, with ids of objects in the
palette, or ROOT/Annotations/VIDEO/OBJECT/00000.png, with a picture for each object. Upstream:
training/dataset/vos_raw_dataset.py, PNGRawDataset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from train.data import reading
from train.data.reading import NamedVideos
from train.data.video import BadSource, BrokenSample

RESOLUTIONS = ("480p", "Full-Resolution")  # of DAVIS: folders between the kind and the video
_IMAGES = ("JPEGImages", "JPEGImages_24fps")
_ANNOTATIONS = ("Annotations", "Annotations_6fps")
_ALL = -1


@dataclass(frozen=True)
class FolderVideo:
    """Attributes:
    frames: folder of pictures.
    annotations: folder of masks, or of a folder of masks for each object.
    objects: ids that there may be; None: any.
    """

    name: str
    frames: Path
    annotations: Path
    objects: frozenset[int] | None = None

    @cached_property
    def _frames(self) -> dict[str, Path]:
        try:
            return reading.files_in(self.frames, reading.PICTURES)
        except OSError as error:
            raise BrokenSample(f"the frames of {self.name} cannot be listed: {error}") from error

    @cached_property
    def _masks(self) -> dict[str, dict[int, Path]]:
        """Files by the frame's name and the object's id, or _ALL where a file holds them all."""
        found: dict[str, dict[int, Path]] = {}
        try:
            objects = reading.folders_in(self.annotations)
            folders = {_object_id(self.annotations / name): name for name in objects}
            for number, name in (folders or {_ALL: ""}).items():
                files = reading.files_in(self.annotations / name, (".png",))
                for frame, path in files.items():
                    found.setdefault(frame, {})[number] = path
        except OSError as error:
            raise BrokenSample(f"the masks of {self.name} cannot be listed: {error}") from error
        if stray := sorted(found.keys() - self._frames.keys()):
            path = next(iter(found[stray[0]].values()))
            raise BrokenSample(f"{path} is the mask of a frame that {self.frames} has not")
        return found

    @cached_property
    def annotated(self) -> Sequence[int]:
        return [t for t, name in enumerate(self._frames) if name in self._masks]

    def __len__(self) -> int:
        return len(self._frames)

    def frame_name(self, t: int) -> str:
        return list(self._frames)[t]

    def image_file(self, t: int) -> Path:
        return self._frames[self.frame_name(t)]

    def image(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        return reading.read_rgb(self.image_file(t))

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]] | None:
        files = self._masks.get(self.frame_name(t))
        if files is None:
            return None
        if _ALL not in files:
            self._check(files, self.annotations)
            return reading.Masks(list(files), lambda i: self._labels(files[i], t) > 0)
        labels = self._labels(files[_ALL], t)
        ids = reading.ids_in(labels)
        self._check(ids, files[_ALL])
        return reading.Masks(ids, lambda i: labels == i)

    def _labels(self, path: Path, t: int) -> np.ndarray:
        labels = reading.read_labels(path)
        hw = reading.picture_hw(self.image_file(t))
        reading.require_size(labels.shape, hw, path, self.image_file(t))
        return labels

    def _check(self, ids: Any, where: Path) -> None:
        if self.objects is not None and (unknown := sorted(set(ids) - self.objects)):
            raise BrokenSample(
                f"{where} has the object {unknown[0]}, but meta.json lists {sorted(self.objects)}"
            )


class Davis(NamedVideos):
    """All videos of a folder, or those that a list names.

    Args:
      root: holds the folders of images and annotations.
      annotations: another folder of annotations.
      names: file with a name a line.

    Raises:
      BadSource: a folder is missing, or a video has frames or masks only.
    """

    def __init__(self, root: str, annotations: str = "", names: str = "") -> None:
        self._root = reading.folder(root, "videos")
        self._images = _part(self._root, _IMAGES)
        if annotations:
            self._annotations = reading.folder(annotations, "masks")
        else:
            self._annotations = _part(self._root, _ANNOTATIONS)
        self._names = reading.choose(
            reading.folders_in(self._annotations), names, self._annotations
        )
        with_frames = set(reading.folders_in(self._images))
        if missing := [name for name in self._names if name not in with_frames]:
            raise BadSource(
                f"{self._images} has no frames of {len(missing)} of {len(self._names)} videos that"
                f" {self._annotations} has masks of, such as {missing[0]!r}: fetch or unpack the"
                " data again, or list the videos to use in a file (`names`)"
            )
        self._objects = _listed_objects(self._root / "meta.json")

    def _open(self, name: str) -> FolderVideo:
        objects = self._objects.get(name)
        return FolderVideo(name, self._images / name, self._annotations / name, objects)


def _part(root: Path, names: tuple[str, ...]) -> Path:
    """The first of the folders that is there, or its resolution that is."""
    for name in names:
        if (root / name).is_dir():
            inner = (root / name / resolution for resolution in RESOLUTIONS)
            return next((path for path in inner if path.is_dir()), root / name)
    below = [x for x in reading.folders_in(root) if (root / x / names[0]).is_dir()]
    hint = f"did you mean {root / below[0]}?" if below else "fetch or unpack the data again"
    raise BadSource(f"{root} has no folder {' or '.join(names)}: {hint}")


def _object_id(path: Path) -> int:
    if not (path.name.isascii() and path.name.isdigit()):
        raise BrokenSample(f"{path}: folders of masks are named by objects' numbers, such as 001")
    return int(path.name)


def _listed_objects(path: Path) -> dict[str, frozenset[int]]:
    """Ids by video, as YouTube-VOS lists them; nothing if there is no such file."""
    if not path.is_file():
        return {}
    try:
        videos = reading.read_json(path)["videos"]
        return {name: frozenset(map(int, video["objects"])) for name, video in videos.items()}
    except (BrokenSample, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadSource(
            f"{path} does not list videos and their objects as YouTube-VOS does ({error}): fetch it"
            " again, or take it away"
        ) from error
