"""`sam-jax everything`, with the shipped model on small pictures."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_jax.cli import main
from sam_jax.io.images import read_image
from sam_jax.ops import rle

LOOSE = [
    *("--points-per-side", "4", "--pred-iou-thresh", "0.2", "--stability-score-thresh", "0.6"),
    *("--stability-score-offset", "0.1", "--max-candidates", "64"),
]


@pytest.fixture
def photo(workplace: Path, docs_media: Path) -> str:
    """coffee.png, 150 x 100."""
    with Image.open(docs_media / "coffee.jpg") as picture:
        picture.resize((150, 100)).save("coffee.png")
    return "coffee.png"


def files(folder: str = "out") -> list[str]:
    return sorted(os.listdir(folder))


def everything(*args: str) -> int:
    return main(["everything", *args, "--output", "out"])


def test_a_coco_file_and_an_overlay(photo, capsys) -> None:
    assert everything(photo, *LOOSE) == 0
    assert files() == ["coffee.json", "coffee_overlay.png"]
    data = json.loads(Path("out/coffee.json").read_text())
    assert data["images"] == [{"id": 1, "file_name": "coffee.png", "height": 100, "width": 150}]
    assert data["categories"] == [{"id": 1, "name": "object"}]
    count = len(data["annotations"])
    assert count > 1
    assert [entry["id"] for entry in data["annotations"]] == list(range(1, count + 1))
    for entry in data["annotations"]:
        assert (entry["image_id"], entry["category_id"], entry["iscrowd"]) == (1, 1, 0)
        mask = rle.decode(entry["segmentation"])
        assert mask.shape == (100, 150) and entry["area"] == mask.sum()
        assert entry["bbox"] == list(rle.bounding_box(entry["segmentation"]))
        assert entry["predicted_iou"] > 0.2 and entry["stability_score"] >= 0.6
    with Image.open("out/coffee_overlay.png") as drawn, Image.open(photo) as original:
        assert drawn.size == original.size
        changed = (np.array(drawn) != np.array(original)).any(-1)
    inside = np.any([rle.decode(e["segmentation"]) for e in data["annotations"]], 0)
    assert changed[inside].mean() > 0.9
    captured = capsys.readouterr()
    line = f"coffee.png  {count} masks  out/coffee.json  out/coffee_overlay.png\n"
    assert captured.out == line and captured.err == ""


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_the_file(photo) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    assert everything(photo, *LOOSE) == 0
    data = coco.COCO("out/coffee.json")
    entries = data.loadAnns(data.getAnnIds(imgIds=1, catIds=1))
    assert len(entries) > 1
    for entry in entries:
        assert data.annToMask(entry).sum() == entry["area"]


def test_a_png_for_each_mask_and_none_of_an_earlier_run(photo) -> None:
    Path("out").mkdir()
    for number in range(99):
        Path(f"out/coffee_mask{number}.png").touch()
    assert everything(photo, *LOOSE, "--png") == 0
    entries = json.loads(Path("out/coffee.json").read_text())["annotations"]
    names = [f"coffee_mask{i}.png" for i in range(len(entries))]
    assert files() == sorted(["coffee.json", "coffee_overlay.png", *names])
    for name, entry in zip(names, entries, strict=True):
        with Image.open(f"out/{name}") as mask:
            assert (np.array(mask) > 0).sum() == entry["area"]


def test_equal_to_the_generator(photo) -> None:
    import sam_jax

    args = ["--crop-n-layers", "1", "--use-m2m", "--no-multimask-output"]
    assert everything(photo, *LOOSE, *args, "--min-mask-region-area", "3") == 0
    with Image.open(photo) as picture:
        records = sam_jax.AutomaticMaskGenerator(
            sam_jax.load("sam2.1-hiera-nano"),
            points_per_side=4,
            pred_iou_thresh=0.2,
            stability_score_thresh=0.6,
            stability_score_offset=0.1,
            max_candidates=64,
            crop_n_layers=1,
            use_m2m=True,
            multimask_output=False,
            min_mask_region_area=3,
            output_mode="coco_rle",
        ).generate(picture)
    entries = json.loads(Path("out/coffee.json").read_text())["annotations"]
    assert [e["segmentation"] for e in entries] == [r["segmentation"] for r in records]
    assert [e["crop_box"] for e in entries] == [r["crop_box"] for r in records]


def test_points_from_files(photo) -> None:
    np.save("points.npy", np.random.default_rng(0).random((9, 2)))
    Path("more.txt").write_text("0.5 0.5\n0.25 0.75\n")
    files = ["--point-grid", "points.npy", "--point-grid", "more.txt", "--crop-n-layers", "1"]
    assert everything(photo, *LOOSE, *files) == 0
    for entry in json.loads(Path("out/coffee.json").read_text())["annotations"]:
        ((x, y),) = entry["point_coords"]
        place = np.array([x, y]) / [150, 100]
        if entry["crop_box"] == [0, 0, 150, 100]:
            assert np.abs(np.load("points.npy") - place).max(1).min() < 1e-6


def test_a_bad_picture_among_good_ones_does_not_stop_them(photo, capsys) -> None:
    Path("bad.png").write_bytes(Path(photo).read_bytes()[:1000])
    Image.new("RGB", (30, 20)).save("black.png")
    assert everything("bad.png", photo, "black.png", *LOOSE[:2], "--max-candidates", "64") == 2
    captured = capsys.readouterr()
    assert "bad.png is damaged" in captured.err and "3/3" in captured.err
    assert [line.split()[0] for line in captured.out.splitlines()] == [photo, "black.png"]
    assert "black.png  0 masks" in captured.out
    assert files() == [f"{n}{e}" for n in ("black", "coffee") for e in (".json", "_overlay.png")]
    assert json.loads(Path("out/black.json").read_text())["annotations"] == []


def test_dropped_masks_are_one_line(photo, capsys) -> None:
    assert everything(photo, *LOOSE[:-1], "2") == 0
    error = capsys.readouterr().err
    assert error.startswith("sam-jax: warning: coffee.png: ") and error.count("\n") == 1
    assert "raise max_candidates (2)" in error


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no pictures given: sam-jax everything IMAGE..."),
        (["b.png"], "no such file: b.png"),
        (["a.png", "--point-grid", "p.npy"], "no such file: p.npy"),
        (["a.png", "--points-per-side", "0"], "points_per_side must be a whole number from 1 on"),
        (["a.png", "--points-per-side", "100000"], "points_per_side must be at most 1024"),
        (["a.png", "--pred-iou-thresh", "88"], "pred_iou_thresh must lie in 0..1, got 88"),
        (["a.png", "--point-grid", "text.txt"], "points text.txt cannot be read"),
        (["a.png", "--point-grid", "far.txt"], "point_grids[0] must lie in 0..1"),
        (["a.png", "--model", "sam2.1-hiera-tiniest"], "Did you mean 'sam2.1-hiera-tiny'?"),
        (["a.png", "--model", "w.pt"], "w.pt"),
    ],
)
def test_refused(workplace, capsys, args, message) -> None:
    Path("text.txt").write_text("hello")
    Path("far.txt").write_text("3 4\n")
    assert everything(*args) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("sam-jax: error: ") and message in captured.err
    assert not Path("out").exists()


def test_inputs_are_never_overwritten(photo, capsys) -> None:
    Path("out").mkdir()
    Path("coffee_overlay.png").write_bytes(Path(photo).read_bytes())
    os.rename("coffee_overlay.png", "out/coffee_overlay.png")
    assert everything(photo, "out/coffee_overlay.png") == 2
    assert "the results would replace the input" in capsys.readouterr().err


def test_help_names_every_setting(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["everything", "--help"])
    text = capsys.readouterr().out
    for name in ("points-per-side", "pred-iou-thresh", "crop-n-layers", "use-m2m", "png"):
        assert f"--{name}" in text
    assert "sam-jax everything truck.jpg" in text and "None" not in text


def test_ctrl_c_finishes_a_picture(photo, monkeypatch, capsys) -> None:
    def read(path: Path) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGINT)
        return read_image(path)

    monkeypatch.setattr("sam_jax.cli.everything.read_image", read)
    assert everything(photo, photo, *LOOSE) == 130
    assert files() == ["coffee.json", "coffee_overlay.png"]
    assert "sam-jax: stopped; the pictures until then" in capsys.readouterr().err
