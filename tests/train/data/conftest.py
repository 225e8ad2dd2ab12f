"""Tiny data sets in the layouts of their publishers: coloured squares that move to the right."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_jax.ops import rle

HEIGHT, WIDTH = 40, 60


def labels_at(t: int) -> np.ndarray:
    """Object 1 is 12 x 12 and moves; object 3 is 10 x 10, and hidden in frame 2."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[6:18, 4 + 3 * t : 16 + 3 * t] = 1
    if t != 2:
        labels[25:35, 40:50] = 3
    return labels


def colours_of(labels: np.ndarray) -> np.ndarray:
    """Object 1 is red, object 3 is blue, on grey."""
    colours = np.full((*labels.shape, 3), 128, np.uint8)
    colours[labels == 1] = 255, 0, 0
    colours[labels == 3] = 0, 0, 255
    return colours


def save_image(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours_of(labels)).save(path, quality=95, subsampling=0)


def save_labels(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(path)


def write_davis(root: Path, videos: int = 3, frames: int = 6) -> Path:
    for v in range(videos):
        for t in range(frames):
            save_image(root / f"JPEGImages/480p/clip{v}/{t:05d}.jpg", labels_at(t))
            save_labels(root / f"Annotations/480p/clip{v}/{t:05d}.png", labels_at(t))
    return root


def write_sav(root: Path, annotations: int = 3) -> Path:
    """Every fourth frame as a picture, and its masks."""
    masklet = []
    for t in range(annotations):
        labels = labels_at(t)
        save_image(root / f"sav_000/sav_000001/{4 * t:05d}.jpg", labels)
        masklet.append([rle.encode(labels == 1), rle.encode(labels == 3)])
    content = {"video_id": "sav_000001", "masklet": masklet, "masklet_id": [0, 1]}
    (root / "sav_000/sav_000001_manual.json").write_text(json.dumps(content))
    return root


def write_sa1b(root: Path, pictures: int = 3) -> Path:
    for i in range(1, pictures + 1):
        labels = labels_at(i - 1)
        save_image(root / f"sa_{i}.jpg", labels)
        entries = [{"segmentation": rle.encode(labels == k), "id": 77 + k} for k in (1, 3)]
        entries.append({"segmentation": rle.encode(np.ones((HEIGHT, WIDTH), bool)), "id": 7})
        (root / f"sa_{i}.json").write_text(json.dumps({"image": {}, "annotations": entries}))
    return root


def write_coco(root: Path) -> tuple[Path, Path]:
    """Folder of pictures and JSON file: a polygon, an uncompressed RLE and a crowd."""
    labels = labels_at(0)
    save_image(root / "images/train/a.jpg", labels)
    save_image(root / "images/train/nothing.jpg", labels)
    ring = [4, 6, 16, 6, 16, 18, 4, 18]
    entries = [
        {"id": 5, "image_id": 1, "segmentation": [ring]},
        {"id": 6, "image_id": 1, "segmentation": rle.encode(labels == 3, compress=False)},
        {"id": 7, "image_id": 1, "segmentation": rle.encode(labels == 0), "iscrowd": 1},
    ]
    images = [{"id": 1, "file_name": "train/a.jpg"}, {"id": 2, "file_name": "train/nothing.jpg"}]
    file = root / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": entries}))
    return root / "images", file


def write_pairs(root: Path, pictures: int = 3) -> Path:
    for i in range(pictures):
        save_image(root / f"images/p{i}.jpg", labels_at(i))
        save_labels(root / f"masks/p{i}.png", labels_at(i))
    return root


@pytest.fixture
def at() -> Callable[[int], np.ndarray]:
    """`at(t)`: the ids of objects, by pixel, in frame t."""
    return labels_at


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    return write_davis(tmp_path / "davis")


@pytest.fixture
def sav(tmp_path: Path) -> Path:
    return write_sav(tmp_path / "sav")


@pytest.fixture
def sa1b(tmp_path: Path) -> Path:
    return write_sa1b(tmp_path / "sa1b")


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    return write_coco(tmp_path / "coco")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs")
