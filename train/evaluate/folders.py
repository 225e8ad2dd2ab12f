"""Folders of masks, as DAVIS and SA-V lay them out: read, scored against each other, written.

DAVIS: ROOT/VIDEO/FRAME.png, palette pictures whose pixels are object ids.
SA-V: ROOT/VIDEO/OBJECT/FRAME.png, one picture for each object, not 0 inside.
Upstream: sam2/sav_dataset/utils/sav_benchmark.py, VideoEvaluator; sam2/tools/vos_inference.py.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Shaped
from PIL import Image

from sam_jax.files import check_output_dir, replacing
from sam_jax.io.mask_sequences import FrameMasks, davis_palette, label_map, object_folder
from train.data.davis import RESOLUTIONS
from train.evaluate.jf import Masks, Score, score_objects, without_ends

Layout = Literal["davis", "sav"]
_PALETTE_IDS = range(1, 256)


class BadFolder(ValueError):
    """A folder of masks that cannot be scored; the message says what is missing or wrong."""


def score_folders(
    truth: str | Path,
    predictions: str | Path,
    *,
    skip_ends: bool = True,
    partial_ok: bool = False,
    workers: int = 4,
    done: Callable[[str], None] = lambda name: None,
) -> dict[str, dict[int, Score]]:
    """Scores of every object of every video, by the video's name.

    Only frames that have a ground truth count; predictions of other frames and videos are ignored.

    Args:
      truth: folder of videos; or one with a folder Annotations that holds them, or that holds a
        resolution of DAVIS that does.
      predictions: folder of videos, in the same layout.
      skip_ends: leave out the first and the last frame of each video (SA-V: of each object).
      partial_ok: videos without predictions are left out; else they are an error.
      workers: threads.
      done: is called with the name of each finished video.

    Raises:
      BadFolder: a folder or picture is missing, damaged, or has another size or layout.
    """
    truth, predictions = _require_folder(truth), _require_folder(predictions)
    for inner in ("Annotations", *RESOLUTIONS):
        if (truth / inner).is_dir():
            truth = truth / inner
    names = videos_of(truth)
    missing = [name for name in names if not (predictions / name).is_dir()]
    if missing and (not partial_ok or len(missing) == len(names)):
        raise BadFolder(
            f"{predictions} has no folder for {len(missing)} of the {len(names)} videos of {truth},"
            f" such as {missing[0]!r}: check that both name their videos alike"
            + ("" if partial_ok else ", or leave such videos out with --partial-ok")
        )
    names = [name for name in names if name not in set(missing)]

    def one(name: str) -> dict[int, Score]:
        scores = score_video(truth / name, predictions / name, skip_ends=skip_ends)
        done(name)
        return scores

    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def score_video(truth: Path, predictions: Path, *, skip_ends: bool = True) -> dict[int, Score]:
    """Scores of the objects of one video, from its two folders, in the layout of the first."""
    kept = without_ends if skip_ends else iter
    if layout_of(truth) == "davis":
        if layout_of(predictions) != "davis":
            raise BadFolder(
                f"{predictions} has a folder for each object, {truth} has one picture for all: "
                "write predictions without --per-object-png"
            )
        frames = kept(frame_names(truth))
        labels = partial(_pair, read_labels, truth, predictions)
        return score_objects((_split(found), _split(true)) for found, true in map(labels, frames))
    scores = {}
    for folder in sorted(x for x in truth.iterdir() if x.is_dir()):
        number = _object_number(folder)
        frames = kept(frame_names(folder))
        masks = partial(_pair, read_mask, folder, predictions / folder.name)
        pairs = (({number: found}, {number: true}) for found, true in map(masks, frames))
        scores |= score_objects(pairs)
    return scores


def videos_of(root: Path) -> list[str]:
    """Names of the folders in `root`; at least one.

    Raises:
      BadFolder: there is none.
    """
    names = sorted(x.name for x in root.iterdir() if x.is_dir() and not x.name.startswith("."))
    if not names:
        raise BadFolder(f"{root} has no folders of videos: {_contents(root)}")
    return names


def layout_of(folder: Path) -> Layout:
    """Of one video's folder: pictures only, or folders of pictures.

    Raises:
      BadFolder: it is neither.
    """
    _require_folder(folder)
    visible = [x for x in folder.iterdir() if not x.name.startswith(".")]
    if any(x.is_dir() for x in visible):
        return "sav"
    if any(x.suffix == ".png" for x in visible):
        return "davis"
    raise BadFolder(f"{folder} has no masks: neither PNG files nor folders; {_contents(folder)}")


def frame_names(folder: Path) -> list[str]:
    """Names of the PNG files of a folder without their ending, in order."""
    names = sorted(x.stem for x in folder.iterdir() if x.suffix == ".png" and x.name[0] != ".")
    if not names:
        raise BadFolder(f"{folder} has no PNG files: {_contents(folder)}")
    return names


def read_labels(path: Path) -> Shaped[np.ndarray, "h w"]:
    """Object ids of a picture's pixels, 0 where there is none."""
    try:
        with Image.open(path) as picture:
            labels = np.array(picture)
    except FileNotFoundError:
        raise BadFolder(f"there is no {path}") from None
    except OSError as error:
        raise BadFolder(f"{path} cannot be read as a picture: {error}") from error
    if labels.ndim != 2:
        raise BadFolder(
            f"{path} is in {picture.mode}: masks are palette or grey pictures, with ids of objects"
        )
    return labels


def read_mask(path: Path) -> Bool[np.ndarray, "h w"]:
    """A picture of one object, which is where its pixels are not 0."""
    labels = read_labels(path)
    if len(values := np.unique(labels)) > 2:
        raise BadFolder(
            f"{path} has {len(values)} different pixels, and should show one object: where a video "
            "has a folder for each object, its pictures are 0 outside and one value inside"
        )
    return labels > 0


def write_frame(folder: Path, name: str, masks: Masks, *, layout: Layout) -> None:
    """Write the masks of one frame of a video; where they overlap in one picture, low ids win.

    Args:
      folder: of the video; created if need be.
      name: of the frame, without an ending.
      masks: at least one; empty where the object is absent.

    Raises:
      ValueError: it cannot be written, or an id is not in 1..255 where all share a picture.
    """
    if layout == "davis":
        if wrong := [i for i in masks if i not in _PALETTE_IDS]:
            raise ValueError(
                f"object {wrong[0]} of {folder.name}: one picture for all objects holds the ids 1 "
                "to 255; write one for each with --per-object-png"
            )
        none = np.zeros(len(masks))
        frame = FrameMasks(0, [*masks], np.stack([*masks.values()]), none, none)
        _write(folder / f"{name}.png", label_map(frame))
        return
    for number, mask in masks.items():
        _write(folder / object_folder(number) / f"{name}.png", mask.astype(np.uint8))


def _write(path: Path, labels: np.ndarray) -> None:
    if not path.parent.is_dir():
        check_output_dir(path.parent)
    picture = Image.fromarray(labels)
    picture.putpalette(davis_palette())
    with replacing(path) as temporary:
        picture.save(temporary, "PNG")


def _pair(
    read: Callable[[Path], np.ndarray], truth: Path, predictions: Path, frame: str
) -> tuple[np.ndarray, np.ndarray]:
    """The prediction and the truth of a frame."""
    true = read(truth / f"{frame}.png")
    path = predictions / f"{frame}.png"
    if not path.is_file():
        raise BadFolder(f"there is no prediction {path} for {truth / frame}.png")
    found = read(path)
    if found.shape != true.shape:
        (h, w), (th, tw) = found.shape, true.shape
        raise BadFolder(f"{path} has {w} x {h} pixels, but {truth / frame}.png {tw} x {th}")
    return found, true


def _split(labels: np.ndarray) -> Mapping[int, np.ndarray]:
    return {int(i): labels == i for i in np.unique(labels) if i}


def _object_number(folder: Path) -> int:
    if not folder.name.isdigit():
        raise BadFolder(
            f"{folder}: a video's folders are named by the numbers of objects, such as 001"
        )
    return int(folder.name)


def _require_folder(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_dir():
        raise BadFolder(f"{path} is {'not a folder' if path.exists() else 'missing'}")
    return path


def _contents(folder: Path) -> str:
    names: Iterator[str] = (x.name for x in sorted(folder.iterdir()))
    first = [name for _, name in zip(range(3), names, strict=False)]
    return f"it holds {', '.join(first)}, ..." if first else "it is empty"
