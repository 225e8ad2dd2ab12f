"""What is missing, half there or made up is told by its name, before or while training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_jax.ops import rle
from train.config import Source
from train.data.sources import open_source
from train.data.video import BadSource, BrokenSample


def open_kind(kind: str, root: Path | str, **more: str):
    return open_source(Source(kind=kind, root=str(root), **more), frames=2, size=32)


def edit(file: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("kind", ["davis", "sav", "sa1b", "coco", "pairs", "records"])
def test_no_folder(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="nowhere, does not exist: check `root`"):
        open_kind(kind, tmp_path / "nowhere")
    with pytest.raises(BadSource, match=f"{kind} needs its folder"):
        open_kind(kind, "")


def test_a_stride_that_goes_nowhere() -> None:
    with pytest.raises(BadSource, match="stride must be at least 1, got 0"):
        open_source(Source(kind="synthetic", stride=0), frames=2, size=32)


@pytest.mark.parametrize("kind", ["sav", "sa1b"])
def test_empty_folder(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="holds no samples"):
        open_kind(kind, tmp_path)


def test_davis_half_there(davis: Path) -> None:
    with pytest.raises(BadSource, match=r"did you mean .*davis\?"):
        open_kind("davis", davis.parent)
    shutil.rmtree(davis / "JPEGImages/480p/clip1")
    with pytest.raises(BadSource, match=r"no frames of 1 of 3 videos .* such as 'clip1'"):
        open_kind("davis", davis)
    shutil.rmtree(davis / "Annotations")
    with pytest.raises(BadSource, match="davis has no folder Annotations or Annotations_6fps"):
        open_kind("davis", davis)
    (davis / "Annotations").mkdir()
    with pytest.raises(BadSource, match="Annotations holds no samples"):
        open_kind("davis", davis)


def test_lists_of_names(davis: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    with pytest.raises(BadSource, match=r"names.txt cannot be read"):
        open_kind("davis", davis, names=str(names))
    names.write_text("\n")
    with pytest.raises(BadSource, match=r"names.txt is empty"):
        open_kind("davis", davis, names=str(names))
    names.write_text("clip0\nclipp1\n")
    with pytest.raises(BadSource, match=r"1 of 2 names .*'clipp1' \(did you mean 'clip1'\?\)"):
        open_kind("davis", davis, names=str(names))


def test_davis_masks_that_do_not_fit(davis: Path) -> None:
    masks = davis / "Annotations/480p/clip0"
    Image.new("P", (10, 20)).save(masks / "00000.png")
    Image.new("RGB", (60, 40), (1, 2, 3)).save(masks / "00001.png")
    (masks / "00002.png").write_bytes(b"")
    video = open_kind("davis", davis)[0]
    with pytest.raises(BrokenSample, match=r"00000.png has 10 x 20 .*00000.jpg has 60 x 40"):
        video.masks(0)
    with pytest.raises(BrokenSample, match=r"00001.png is in colour \(RGB\)"):
        video.masks(1)
    with pytest.raises(BrokenSample, match=r"00002.png cannot be read"):
        video.masks(2)
    (davis / "JPEGImages/480p/clip1/00003.jpg").unlink()
    with pytest.raises(BrokenSample, match=r"00003.png is the mask of a frame that .* has not"):
        len(open_kind("davis", davis)[1].annotated)


def test_damaged_frame(davis: Path) -> None:
    file = davis / "JPEGImages/480p/clip0/00000.jpg"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(BrokenSample, match=r"00000.jpg"):
        open_kind("davis", davis)[0].image(0)


def test_ids_that_meta_json_has_not(davis: Path) -> None:
    meta = davis / "meta.json"
    meta.write_text(json.dumps({"videos": {"clip0": {"objects": {"1": {}, "2": {}}}}}))
    videos = open_kind("davis", davis)
    with pytest.raises(BrokenSample, match=r"00000.png has the object 3, but meta.json lists \[1"):
        videos[0].masks(0)
    assert videos[1].masks(0)
    meta.write_text("[]")
    with pytest.raises(BadSource, match=r"meta.json does not list videos"):
        open_kind("davis", davis)


def test_sav_that_does_not_fit(sav: Path) -> None:
    file = sav / "sav_000/sav_000001_manual.json"
    whole = file.read_text()

    def broken(change: Callable[[dict], None], problem: str) -> None:
        edit(file, change)
        with pytest.raises(BrokenSample, match=problem):
            (video,) = open_kind("sav", sav)
            assert [video.masks(t)[1] for t in video.annotated]
        file.write_text(whole)

    broken(lambda c: c.update(masklet_id=[0]), r"names the objects \[0\], but has \[2\] masks")
    broken(lambda c: c.update(masklet_id=[4, 4]), "names the objects")
    broken(lambda c: c["masklet"].append(c["masklet"][0]), "frame 12, which is not among the 3")
    broken(lambda c: c["masklet"][1].pop(), r"has \[1, 2\] masks")
    broken(lambda c: c.pop("masklet"), 'has no "masklet"')
    broken(lambda c: c.update(fps=7), "fps, 7")
    broken(lambda c: c["masklet"][0][1].update(counts="~~"), "not a compressed RLE")
    broken(lambda c: c["masklet"][0][1].update(size=[9, 9]), "9 x 9 pixels, but .*jpg has 60 x 40")
    file.write_text(whole[:-5])
    with pytest.raises(BrokenSample, match="is no JSON file, or is cut off"):
        open_kind("sav", sav)[0].masks(0)
    shutil.rmtree(sav / "sav_000/sav_000001")
    with pytest.raises(BadSource, match="no frames of 1 of 1 videos, such as 'sav_000001'"):
        open_kind("sav", sav)
    (sav / "sav_000/sav_000001.mp4").write_bytes(b"no movie")
    with pytest.raises(BrokenSample, match=r"sav_000001.mp4"):
        len(open_kind("sav", sav)[0])


def test_sa1b_that_does_not_fit(sa1b: Path) -> None:
    (sa1b / "sa_1.json").write_text('{"annotations": [1]}')
    (sa1b / "sa_2.jpg").unlink()
    pictures = open_kind("sa1b", sa1b)
    with pytest.raises(BrokenSample, match=r'sa_1.json has no list "annotations"'):
        pictures[0].masks(0)
    with pytest.raises(BrokenSample, match=r"no picture .*sa_2.jpg"):
        pictures[1].masks(0)


def test_coco_that_does_not_fit(coco: tuple[Path, Path]) -> None:
    root, file = coco
    whole = file.read_text()

    def refused(change: Callable[[dict], None], problem: str) -> None:
        edit(file, change)
        with pytest.raises((BadSource, BrokenSample), match=problem):
            open_kind("coco", root, annotations=str(file))[0].masks(0)[5]
        file.write_text(whole)

    with pytest.raises(BadSource, match="needs `annotations`"):
        open_kind("coco", root)
    refused(lambda c: c["annotations"][0].update(image_id=9), "annotation 5 is of the picture 9")
    for change in (
        lambda c: c["images"][0].pop("id"),
        lambda c: c["images"][0].update(id=[1]),
        lambda c: c["annotations"][0].update(id=[1]),
        lambda c: c["annotations"][0].update(image_id={}),
        lambda c: c.update(annotations={"a": 1}),
    ):
        refused(change, "not in COCO's form")
    refused(lambda c: c.update(annotations=[]), "holds no samples")
    for name in ("/etc/passwd", "../a.jpg", "a\\..\\b.jpg", ""):
        refused(lambda c, n=name: c["images"][0].update(file_name=n), "must lie below")
    for ring in ([1, 2, 3], [0, 0, 9, 9, 9, 1e12], ["a"] * 6, [0, 0, 1, 1, 2, float("nan")]):
        ring_of = {"segmentation": [ring]}
        refused(lambda c, r=ring_of: c["annotations"][0].update(r), "annotation 5 has a polygon")
    refused(lambda c: c["annotations"][0].update(segmentation=7), "is no COCO RLE but 7")
    small = {"segmentation": rle.encode(np.ones((2, 2), bool))}
    refused(lambda c: c["annotations"][0].update(small), "2 x 2 pixels, but .*a.jpg has 60 x 40")


def test_pairs_that_do_not_fit(pairs: Path, tmp_path: Path) -> None:
    (pairs / "masks/p1.png").unlink()
    with pytest.raises(BadSource, match=r"p1.jpg has no .*masks/p1.png, and there are 1 such"):
        open_kind("pairs", pairs)
    names = tmp_path / "names.txt"
    names.write_text("p0\np2\n")
    assert len(open_kind("pairs", pairs, names=str(names))) == 2
    (pairs / "images/p1.jpg").unlink()
    (pairs / "images/p2.jpg").unlink()
    with pytest.raises(BadSource, match=r"masks/p2.png has no .*images/p2.jpg"):
        open_kind("pairs", pairs)
    shutil.copy(pairs / "images/p0.jpg", pairs / "images/p0.png")
    with pytest.raises(BrokenSample, match=r"p0.jpg and p0.png have the same name"):
        open_kind("pairs", pairs)
    shutil.rmtree(pairs / "masks")
    with pytest.raises(BadSource, match="masks, does not exist"):
        open_kind("pairs", pairs)


def test_records_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match=r"no manifest.json: .* run that again"):
        open_kind("records", tmp_path)
