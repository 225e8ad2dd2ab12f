"""Every reader gives the frames and masks that its files hold."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sam_jax.ops import rle
from train.config import Source
from train.data.sources import open_source
from train.data.synthetic import COUNT, Synthetic
from train.data.video import BrokenSample

Labels = Callable[[int], np.ndarray]


def open_kind(kind: str, root: Path, **more: str):
    source = Source(kind=kind, root=str(root), **more)
    return pickle.loads(pickle.dumps(open_source(source, frames=2, size=32)))


def assert_masks(masks, labels: np.ndarray, ids: dict[int, int]) -> None:
    """`ids` are the reader's, and what they are in `labels`."""
    for number, label in ids.items():
        mask = masks.get(number, np.zeros_like(labels, bool))
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, labels == label)
    assert set(masks) <= set(ids)


def assert_image(image: np.ndarray, labels: np.ndarray) -> None:
    assert image.dtype == np.uint8
    assert image.shape == (*labels.shape, 3)
    red = (image[..., 0] > 200) & (image[..., 1] < 60)
    assert (red == (labels == 1)).mean() > 0.97


def test_davis(davis: Path, at: Labels) -> None:
    videos = open_kind("davis", davis)
    assert [video.name for video in videos] == ["clip0", "clip1", "clip2"]
    video = videos[1]
    assert (len(video), list(video.annotated)) == (6, [0, 1, 2, 3, 4, 5])
    assert video.frame_name(5) == "00005"
    for t in range(6):
        assert_image(video.image(t), at(t))
        assert_masks(video.masks(t), at(t), {1: 1, 3: 3})
    assert videos[-1].name == "clip2"
    assert [video.name for video in videos[:2]] == ["clip0", "clip1"]


def test_davis_takes_the_listed_videos_and_other_masks(davis: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("clip2\n\nclip0\n")
    shutil.copytree(davis / "Annotations/480p", tmp_path / "other")
    (tmp_path / "other/clip2/00001.png").unlink()
    more = {"names": str(tmp_path / "list.txt"), "annotations": str(tmp_path / "other")}
    videos = open_kind("davis", davis, **more)
    assert [video.name for video in videos] == ["clip2", "clip0"]
    assert list(videos[0].annotated) == [0, 2, 3, 4, 5]
    assert videos[0].masks(1) is None


def test_sav_evaluation_layout(tmp_path: Path, davis: Path, at: Labels) -> None:
    root = tmp_path / "sav_val"
    shutil.copytree(davis / "JPEGImages/480p", root / "JPEGImages_24fps")
    for t in (0, 4):
        for number, label in ((0, 1), (1, 3)):
            path = root / f"Annotations_6fps/clip0/{number:03d}/{t:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((at(t) == label).astype(np.uint8)).save(path)
    (video,) = open_kind("davis", root)
    assert (len(video), list(video.annotated)) == (6, [0, 4])
    assert video.masks(1) is None
    assert_masks(video.masks(4), at(4), {0: 1, 1: 3})


def test_sav_pictures(sav: Path, at: Labels) -> None:
    (video,) = open_kind("sav", sav)
    assert (video.name, len(video), list(video.annotated)) == ("sav_000001", 3, [0, 1, 2])
    assert [video.frame_name(t) for t in range(3)] == ["00000", "00004", "00008"]
    for t in range(3):
        assert_image(video.image(t), at(t))
        assert_masks(video.masks(t), at(t), {0: 1, 1: 3})


def write_movie(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "4"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_sav_movie(sav: Path, at: Labels) -> None:
    folder = sav / "sav_000" / "sav_000001"
    (pictures,) = open_kind("sav", sav)
    shown = [pictures.image(t // 4) for t in range(9)]
    shutil.rmtree(folder)
    write_movie(folder.with_suffix(".mp4"), shown)
    (video,) = open_kind("sav", sav)
    assert (len(video), list(video.annotated)) == (9, [0, 4, 8])
    assert video.masks(3) is None
    assert video.frame_name(8) == "00008"
    assert_masks(video.masks(8), at(2), {0: 1, 1: 3})
    assert np.abs(video.image(8).astype(int) - shown[8]).mean() < 6


def test_real_sav_annotations(media: Path, tmp_path: Path) -> None:
    file = media / "sav_000001_manual.json"
    content = json.loads(file.read_text())
    shutil.copy(file, tmp_path)
    for t in range(0, 484, 4):
        path = tmp_path / f"sav_000001/{t:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (480, 848)).save(path)
    (video,) = open_kind("sav", tmp_path)
    assert list(video.annotated) == list(range(121))
    areas = np.array([mask.sum() for mask in (video.masks(t)[1] for t in range(0, 121, 10))])
    assert areas.mean() == pytest.approx(content["masklet_size_abs"][1], rel=0.1)
    assert list(video.masks(120)) == [0, 1, 2, 3, 4]
    assert not video.masks(0)[3].any()
    assert video.masks(113)[3].any()


def test_sa1b(sa1b: Path, at: Labels) -> None:
    pictures = open_kind("sa1b", sa1b)
    assert [picture.name for picture in pictures] == ["sa_1", "sa_2", "sa_3"]
    masks = pictures[1].masks(0)
    assert_image(pictures[1].image(0), at(1))
    np.testing.assert_array_equal(masks[1], at(1) == 1)
    np.testing.assert_array_equal(masks[2], at(1) == 3)
    assert masks[3].all()  # objects overlap


def test_coco(coco: tuple[Path, Path], at: Labels) -> None:
    (picture,) = open_kind("coco", coco[0], annotations=str(coco[1]))
    assert picture.name == "train/a"
    assert_image(picture.image(0), at(0))
    assert_masks(picture.masks(0), at(0), {5: 1, 6: 3})


def test_pairs(pairs: Path, at: Labels) -> None:
    black_and_white = np.where(at(1) == 1, np.uint8(255), np.uint8(0))
    Image.fromarray(np.repeat(black_and_white[..., None], 3, 2)).save(pairs / "masks/p1.png")
    (pairs / "masks/p2.png").unlink()
    for name, label in (("cat", 1), ("dog", 3)):
        (pairs / "masks/p2").mkdir(exist_ok=True)
        Image.fromarray((at(0) == label).astype(np.uint8)).save(pairs / f"masks/p2/{name}.png")
    ids, binary, apart = open_kind("pairs", pairs)
    assert_masks(ids.masks(0), at(0), {1: 1, 3: 3})
    assert_masks(binary.masks(0), at(1), {255: 1})
    assert_masks(apart.masks(0), at(0), {1: 1, 2: 3})


def test_picture_turned_by_its_exif(pairs: Path, at: Labels) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(pairs / "images/p0.jpg") as picture:
        turned = picture.rotate(90, expand=True)
    turned.save(pairs / "images/p0.jpg", exif=exif, quality=95, subsampling=0)
    picture = open_kind("pairs", pairs)[0]
    assert_image(picture.image(0), at(0))
    assert_masks(picture.masks(0), at(0), {1: 1, 3: 3})


def test_synthetic_scenes_depend_on_split_and_number() -> None:
    train, test = Synthetic("train", 3, 48), Synthetic("test", 3, 48)
    video, again = train[4], train[4]
    assert len(train) == COUNT
    assert video.name == "train_000004"
    assert video.image(2).shape == (48, 48, 3)
    np.testing.assert_array_equal(video.image(2), again.image(2))
    assert video.masks(0).keys() == again.masks(0).keys()
    assert any(mask.any() for mask in video.masks(0).values())
    for other in (train[5], test[4]):
        assert not np.array_equal(video.image(0), other.image(0))
    assert len(Synthetic("train", 1, 48)[0]) == 1


def test_masks_are_made_when_asked_for(sa1b: Path) -> None:
    file = sa1b / "sa_1.json"
    content = json.loads(file.read_text())
    content["annotations"][1]["segmentation"] = rle.encode(np.ones((3, 3), bool))
    file.write_text(json.dumps(content))
    masks = open_kind("sa1b", sa1b)[0].masks(0)
    assert masks[1].any()
    with pytest.raises(BrokenSample, match=r"3 x 3 pixels, but .*sa_1.jpg has 60 x 40"):
        masks[2]
