"""What was found in a video as files: a video with the masks drawn on it, PNGs, COCO JSON."""

import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.demo.video import TrackedVideo
from sam_jax.io.mask_sequences import ObjectPngs, object_scores
from sam_jax.io.overlay import COLORS, overlay
from sam_jax.io.prefetch import prefetch
from sam_jax.io.video_writer import VideoWriter
from sam_jax.ops import rle

Color = tuple[int, int, int]


def write_overlay(
    work: TrackedVideo, path: Path, colors: Mapping[int, Color], stop: Callable[[], bool]
) -> None:
    """The whole video as mp4, with each object in its colour.

    Args:
      colors: of objects, by number; others have the colour of their number.
      stop: asked after each frame; if true, no more are written.
    """
    with VideoWriter(path, work.video.fps) as writer:
        for frame, pixels in enumerate(prefetch(work.video.frames(), 2)):
            known = work.masks(frame)
            chosen = [colors.get(n) or COLORS[(n - 1) % len(COLORS)] for n in known.ids]
            writer.write(overlay(pixels, known.masks, colors=chosen or COLORS))
            if stop():
                return


def write_pngs(work: TrackedVideo, path: Path, stop: Callable[[], bool]) -> None:
    """A zip file with 001/00000.png, ...: a folder for each object, 255 inside and 0 outside."""
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive,
        ObjectPngs(folder) as writer,
    ):
        for frame in _frames(work):
            writer.write(work.masks(frame))
            for png in sorted(Path(folder).glob("*/*.png")):
                archive.write(png, png.relative_to(folder).as_posix())
                png.unlink()
            if stop():
                return


def write_coco(work: TrackedVideo, path: Path, names: Mapping[int, str]) -> None:
    """A COCO data set: an image for each frame of the video, a category for each object.

    Annotations have `track_id`, the object's number, and with the mask predicted_iou and
    object_score (a probability). An object that is out of sight has none on that frame.
    """
    height, width = work.size
    images = [
        {"id": frame + 1, "file_name": f"{frame:05d}.png", "height": height, "width": width}
        for frame in range(work.num_frames)
    ]
    categories = [{"id": n, "name": names.get(n) or f"object {n}"} for n in sorted(work.things)]
    annotations: list[dict[str, Any]] = []
    for frame in _frames(work):
        for number in sorted(work.things):
            found = work.things[number].found.get(frame)
            if found is None or rle.area(found.code) == 0:
                continue
            score = object_scores(np.array([found.object_logit]))[0]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": frame + 1,
                    "category_id": number,
                    "track_id": number,
                    "iscrowd": 0,
                    **rle.coco_fields(found.code),
                    "predicted_iou": round(found.iou, 6),
                    "object_score": round(float(score), 6),
                }
            )
    data = {"images": images, "categories": categories, "annotations": annotations}
    path.write_text(json.dumps(data))


def _frames(work: TrackedVideo) -> list[int]:
    return sorted({frame for thing in work.things.values() for frame in thing.found})
