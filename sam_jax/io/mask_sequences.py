"""Tracked masks into files, frame by frame: memory does not grow with the video.

The writers are context managers with one method, `write(FrameMasks)`, and what they have written
is complete at any moment: after Ctrl-C or an exception, the files hold the frames until then.

- PalettePngs, ObjectPngs, FrameNpzs: files for each frame, which may come in any order.
- RleFile, ScoresFile: one file for the clip, in the order of `write`. It takes its name at the end,
  unless an exception came before the first frame: then what bore the name before stays.
"""

import csv
import io
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image

from sam_jax.files import check_output_dir, replacing
from sam_jax.io.masks import write_png
from sam_jax.ops import rle

_LARGEST_ID = 2**63 - 1  # of int64, which npz files hold
_PALETTE_IDS = range(1, 256)  # one byte a pixel, 0 is the background

# Not typing.Self, which beartype refuses in methods of a class that it does not decorate itself.
_Writer = TypeVar("_Writer", bound="_FrameFiles")
_Clip = TypeVar("_Clip", bound="_ClipFile")


@dataclass(frozen=True)
class FrameMasks:
    """The objects of one frame.

    Attributes:
      frame: number of the frame in the video, from 0.
      ids: of the objects; integers, all different.
      masks: in pixels of the frame; all false for an object that is out of sight.
      ious: predicted IoU of each mask.
      object_logits: > 0 where the object is in the picture.
      logits: low-resolution mask logits, or None where they were not kept.
    """

    frame: int
    ids: Sequence[int]
    masks: Bool[np.ndarray, "o h w"]
    ious: Float[np.ndarray, " o"]
    object_logits: Float[np.ndarray, " o"]
    logits: Float32[np.ndarray, "o hm wm"] | None = None

    def __post_init__(self) -> None:
        if self.frame < 0:
            raise ValueError(f"frames count from 0, got frame {self.frame}")
        if len(set(self.ids)) != len(self.ids) or len(self.ids) != len(self.masks):
            raise ValueError(
                f"{len(self.masks)} masks need as many different ids, got {list(self.ids)}"
            )
        if wrong := [i for i in self.ids if not -_LARGEST_ID <= i <= _LARGEST_ID]:
            raise ValueError(f"object ids must fit in 64 bits, got {wrong[0]}")

    @property
    def object_scores(self) -> Float[np.ndarray, " o"]:
        """Probability that the object is in the picture, 0..1."""
        return object_scores(self.object_logits)


def object_scores(object_logits: Float[np.ndarray, " o"]) -> Float[np.ndarray, " o"]:
    """Probabilities that the objects are in the picture, 0..1."""
    return 0.5 + 0.5 * np.tanh(0.5 * object_logits)  # the sigmoid, without overflow


class _FrameFiles:
    """Writers of files of their own for each frame.

    Args:
      folder: created if need be.
      digits: of the frame's number in the file's name, at least; DAVIS and SA-V have 5.

    Raises:
      ValueError: the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike, *, digits: int = 5) -> None:
        self.folder = check_output_dir(folder)
        self._digits = digits

    def __enter__(self: _Writer) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        """Each file was finished when it was written."""

    def _name(self, frame: int, suffix: str) -> str:
        return f"{frame:0{self._digits}d}{suffix}"


class PalettePngs(_FrameFiles):
    """FOLDER/00000.png, ... as DAVIS has them: palette pictures whose pixels are ids of objects.

    Where objects overlap, the one with the highest logit gets the pixel; without logits, or where
    they are equal, the one with the lowest id.
    """

    def write(self, result: FrameMasks) -> None:
        """Raises ValueError for an id that is not in 1..255, or if the file cannot be written."""
        if wrong := [i for i in result.ids if i not in _PALETTE_IDS]:
            raise ValueError(
                f"a palette PNG holds the object ids 1 to 255, got {wrong[0]}: write a PNG for each"
                " object, npz or RLE"
            )
        picture = Image.fromarray(label_map(result))
        picture.putpalette(davis_palette())
        with replacing(self.folder / self._name(result.frame, ".png")) as temporary:
            picture.save(temporary, "PNG")


class ObjectPngs(_FrameFiles):
    """FOLDER/001/00000.png, ...: a folder for each object, 255 inside and 0 outside.

    The folders have three digits, as in SA-V, and more for a larger id. Objects may overlap.
    """

    def write(self, result: FrameMasks) -> None:
        """Raises ValueError if a file cannot be written."""
        for number, mask in zip(result.ids, result.masks, strict=True):
            folder = self.folder / object_folder(number)
            if not folder.is_dir():
                check_output_dir(folder)
            write_png(folder / self._name(result.frame, ".png"), mask)


class FrameNpzs(_FrameFiles):
    """FOLDER/00000.npz, ... with the arrays ids, masks, ious, object_logits and logits."""

    def write(self, result: FrameMasks) -> None:
        """Raises ValueError for objects without logits, or if the file cannot be written."""
        logits = result.logits
        if logits is None and len(result.ids):
            raise ValueError(f"frame {result.frame} has no logits to store")
        path = self.folder / self._name(result.frame, ".npz")
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                ids=np.array(result.ids, np.int64),
                masks=result.masks,
                ious=result.ious,
                object_logits=result.object_logits,
                logits=np.zeros((0, 0, 0), np.float32) if logits is None else logits,
            )


class _ClipFile:
    """One file that grows, with its end in place after every `append`.

    So the file is complete whenever the writing stops, also on a full disk: the end needs no room
    that was not the file's already.
    """

    def __init__(self, path: str | os.PathLike, *, head: str = "", tail: str = "") -> None:
        self.path = Path(path)
        self._head, self._tail = head.encode(), tail.encode()

    def __enter__(self: _Clip) -> _Clip:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._file = stack.enter_context(temporary.open("wb", buffering=0))
            self._end = 0
            self._frames = 0
            self._append(self._head)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._frames == 0 and error[0] is not None:
            self._open.__exit__(*error)
        else:
            self._open.close()

    def _append(self, data: bytes) -> None:
        """Whole or, after an exception, not at all."""
        try:
            self._put(data + self._tail)
        except BaseException as error:
            with suppress(OSError):
                self._file.truncate(self._end)
                self._put(self._tail)
            if isinstance(error, OSError):
                raise ValueError(f"cannot write {self.path}: {error}") from error
            raise
        self._end += len(data)

    def _put(self, data: bytes) -> None:
        self._file.seek(self._end)
        rest = memoryview(data)
        while rest:  # an unbuffered file may take less than all
            rest = rest[self._file.write(rest) :]


class RleFile(_ClipFile):
    """A JSON list with one entry and one line for each frame and object.

    Its keys are frame, object, predicted_iou, object_score (a probability), and as in COCO
    segmentation (compressed RLE), area and bbox (x, y, width, height) in pixels.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(path, head="[", tail="\n]\n")
        self._entries = 0

    def write(self, result: FrameMasks) -> None:
        """Raises ValueError if the file cannot be written."""
        lines = []
        for i, number in enumerate(result.ids):
            code = rle.encode(result.masks[i])
            entry = {
                "frame": result.frame,
                "object": number,
                "segmentation": code,
                "area": rle.area(code),
                "bbox": list(rle.bounding_box(code)),
                "predicted_iou": round(float(result.ious[i]), 6),
                "object_score": round(float(result.object_scores[i]), 6),
            }
            lines.append(("\n" if self._entries + i == 0 else ",\n") + json.dumps(entry))
        self._append("".join(lines).encode())
        self._entries += len(lines)
        self._frames += 1


class ScoresFile(_ClipFile):
    """CSV: frame, object, predicted_iou, object_score (a probability), object_logit, area (pixels).

    One row for each frame and object.
    """

    HEADER = ("frame", "object", "predicted_iou", "object_score", "object_logit", "area")

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(path, head=",".join(self.HEADER) + "\n")

    def write(self, result: FrameMasks) -> None:
        """Raises ValueError if the file cannot be written."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for i, number in enumerate(result.ids):
            values = (result.ious[i], result.object_scores[i], result.object_logits[i])
            area = np.count_nonzero(result.masks[i])
            rows.writerow([result.frame, number, *(f"{value:.6g}" for value in values), area])
        self._append(text.getvalue().encode())
        self._frames += 1


def object_folder(number: int) -> str:
    """Name of an object's folder, as in SA-V: 1 -> 001."""
    return f"{number:03d}"


def label_map(result: FrameMasks) -> UInt8[np.ndarray, "h w"]:
    """The id of the object that has each pixel, 0 where there is none; ids must be 1..255."""
    labels = np.zeros(result.masks.shape[1:], np.uint8)
    order = sorted(range(len(result.ids)), key=lambda i: result.ids[i])
    for i in reversed(order):  # the lowest last, hence on top
        labels[result.masks[i]] = result.ids[i]
    if result.logits is None or len(order) < 2:
        return labels
    crowded = np.count_nonzero(result.masks, axis=0) > 1
    if not crowded.any():
        return labels
    rows, cols = (_span(crowded.any(axis=axis)) for axis in (1, 0))
    best = np.full((rows.stop - rows.start, cols.stop - cols.start), -np.inf, np.float32)
    for i in order:  # the first of equals, hence the lowest, stays
        here = _enlarged(result.logits[i], labels.shape, rows, cols)
        wins = result.masks[i][rows, cols] & crowded[rows, cols] & (here > best)
        best[wins] = here[wins]
        labels[rows, cols][wins] = result.ids[i]
    return labels


def _span(line: np.ndarray) -> slice:
    found = np.flatnonzero(line)
    return slice(int(found[0]), int(found[-1]) + 1)


def _enlarged(
    logits: np.ndarray, frame_hw: tuple[int, ...], rows: slice, cols: slice
) -> Float32[np.ndarray, "rows cols"]:
    """Logits at the frame's size, bilinear, only in that window."""
    y, x = (side / full for side, full in zip(logits.shape, frame_hw, strict=True))
    window = (cols.start * x, rows.start * y, cols.stop * x, rows.stop * y)
    window = (*window[:2], *np.minimum(window[2:], logits.shape[::-1]).tolist())  # rounding
    size = (cols.stop - cols.start, rows.stop - rows.start)
    picture = Image.fromarray(np.ascontiguousarray(logits, np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=window))


def davis_palette() -> bytes:
    """RGB of 256 colours, as DAVIS, PASCAL VOC and the official VOS script have them.

    The bits of a number go to the three channels in turn, the lowest to the highest bit.
    """
    number = np.arange(256, dtype=np.uint8)
    colors = np.zeros((256, 3), np.uint8)
    for place in range(8):
        colors[:, place % 3] |= (number >> place & 1) << (7 - place // 3)
    return colors.tobytes()
