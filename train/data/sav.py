"""SA-V's training set: VIDEO.mp4 and VIDEO_manual.json, in ROOT or a folder more below.

Frames may also be pictures, VIDEO/00000.jpg, numbered as in the file; upstream extracts them, every
fourth one. Upstream: training/dataset/vos_segment_loader.py, JSONSegmentLoader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from sam_jax.io.videos import Video as Movie
from sam_jax.io.videos import open_video
from train.data import reading
from train.data.reading import NamedVideos
from train.data.video import BadSource, BrokenSample

_FRAMES_PER_SECOND = 24
_EVERY = 4  # frames from one annotation to the next, where the file does not say
_SUFFIX = "_manual"


@dataclass(frozen=True)
class SavVideo:
    """Attributes:
    file: the JSON file. Frames are beside it.
    """

    name: str
    file: Path

    @cached_property
    def _pictures(self) -> dict[str, Path]:
        folder = self.file.parent / self.name
        return reading.files_in(folder, reading.PICTURES) if folder.is_dir() else {}

    @cached_property
    def _movie(self) -> Movie:
        try:
            return open_video(self._movie_file)
        except (OSError, ValueError) as error:
            raise BrokenSample(f"no frames for {self.file}: {error}") from error

    @property
    def _movie_file(self) -> Path:
        return self.file.parent / f"{self.name}.mp4"

    @cached_property
    def _annotations(self) -> tuple[list[list[Any]], list[int], int]:
        """Codes by annotated frame and object, ids of the objects, frames between annotations."""
        content = reading.read_json(self.file)
        masklet = content.get("masklet") if isinstance(content, dict) else None
        if not isinstance(masklet, list) or not all(isinstance(x, list) for x in masklet):
            raise BrokenSample(f'{self.file} has no "masklet", a list of lists, as SA-V has')
        ids = content.get("masklet_id", list(range(len(masklet[0]) if masklet else 0)))
        counts = {len(codes) for codes in masklet}
        whole = isinstance(ids, list) and all(isinstance(i, int) for i in ids)
        if not whole or len(set(ids)) != len(ids) or counts - {len(ids)}:
            raise BrokenSample(
                f"{self.file} names the objects {str(ids)[:60]}, but has {sorted(counts)} masks in"
                " its frames"
            )
        rate = content.get("fps", _FRAMES_PER_SECOND // _EVERY)
        rate = rate[0] if isinstance(rate, list) and rate else rate
        if not isinstance(rate, int | float) or rate < 1 or _FRAMES_PER_SECOND % rate:
            raise BrokenSample(f"{self.file}: its fps, {rate}, does not divide 24")
        return masklet, ids, round(_FRAMES_PER_SECOND / rate)

    @cached_property
    def _numbers(self) -> list[int]:
        """Of the frames, as the annotations count them."""
        if not self._pictures:
            try:
                return list(range(self._movie.num_frames or 0))
            except ValueError as error:
                raise BrokenSample(str(error)) from error
        if wrong := [x for x in self._pictures if not (x.isascii() and x.isdigit())]:
            raise BrokenSample(f"{self._pictures[wrong[0]]}: frames are named by their numbers")
        return [int(name) for name in self._pictures]

    @cached_property
    def annotated(self) -> Sequence[int]:
        masklet, _, every = self._annotations
        wanted = range(0, len(masklet) * every, every)
        if missing := set(wanted) - set(self._numbers):
            raise BrokenSample(
                f"{self.file} has masks of frame {min(missing)}, which is not among the"
                f" {len(self._numbers)} frames of {self.name}: fetch or extract the video again"
            )
        return [t for t, number in enumerate(self._numbers) if number in wanted]

    def __len__(self) -> int:
        return len(self._numbers)

    def frame_name(self, t: int) -> str:
        return f"{self._numbers[t]:05d}"

    def image_file(self, t: int) -> Path | None:
        """None: it is a frame of a video file."""
        return list(self._pictures.values())[t] if self._pictures else None

    def image(self, t: int) -> UInt8[np.ndarray, "h w 3"]:
        if path := self.image_file(t):
            return reading.read_rgb(path)
        try:
            return self._movie[t]
        except (OSError, ValueError) as error:
            raise BrokenSample(f"frame {t} of {self._movie_file}: {error}") from error

    def masks(self, t: int) -> Mapping[int, Bool[np.ndarray, "h w"]] | None:
        masklet, ids, every = self._annotations
        frame, rest = divmod(self._numbers[t], every)
        if rest or frame >= len(masklet):
            return None
        codes = {i: code for i, code in zip(ids, masklet[frame], strict=True) if code is not None}
        if path := self.image_file(t):
            hw, image = reading.picture_hw(path), path
        else:
            hw, image = (self._movie.height, self._movie.width), self._movie_file
        return reading.Masks(
            list(codes), lambda i: reading.decode(codes[i], hw, self.file, str(image))
        )


class Sav(NamedVideos):
    """All videos with manual masks, or those that a list names.

    Args:
      root: of the files, or of folders that have them.
      names: file with a name a line, such as sav_000001.

    Raises:
      BadSource: there is nothing, a name is unknown or there twice, or videos have no frames.
    """

    def __init__(self, root: str, names: str = "") -> None:
        top = reading.folder(root, "videos")
        self._files: dict[str, Path] = {}
        frames: set[str] = set()
        for place in (top, *(top / name for name in reading.folders_in(top))):
            frames |= {*reading.folders_in(place), *reading.files_in(place, (".mp4",))}
            for stem, path in reading.files_in(place, (".json",)).items():
                if not stem.endswith(_SUFFIX):
                    continue
                other = self._files.setdefault(stem.removesuffix(_SUFFIX), path)
                if other is not path:
                    raise BadSource(f"{other} and {path} are of the same video: remove one")
        where = f"{top} (files {_SUFFIX}.json)"
        self._names = reading.choose(sorted(self._files), names, where)
        if missing := [name for name in self._names if name not in frames]:
            raise BadSource(
                f"{top} has no frames of {len(missing)} of {len(self._names)} videos, such as"
                f" {missing[0]!r}: neither {missing[0]}.mp4 nor a folder {missing[0]} of pictures"
            )

    def _open(self, name: str) -> SavVideo:
        return SavVideo(name, self._files[name])
