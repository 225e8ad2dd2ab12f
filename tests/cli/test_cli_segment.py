import importlib
import io
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_jax.cli import main
from sam_jax.cli.pictures import stems
from sam_jax.ops import rle

SIZE = (48, 64)


def files(folder: str = "out") -> list[str]:
    return sorted(os.listdir(folder))


def picture(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def segment(*args: str, model: str | None = None) -> int:
    return main(["segment", *args, "--output", "out", *(["--model", model] if model else [])])


def test_one_click_writes_a_mask_and_an_overlay_and_prints_a_line(fake, capsys):
    assert segment("a.png", "--point", "20,10") == 0
    assert files() == ["a_mask0.png", "a_overlay.png"]
    mask = picture("out/a_mask0.png")
    assert mask.shape == SIZE
    assert (mask == 255).sum() == 10
    assert picture("out/a_overlay.png").shape == (*SIZE, 3)
    captured = capsys.readouterr()
    assert captured.out == "a.png  mask 0  IoU 0.500  area 10 px (0.3 %)  out/a_mask0.png\n"
    assert captured.err == ""
    assert fake.loaded == ["sam2.1-hiera-nano"]


def test_points_and_a_box_reach_the_predictor_as_one_object(fake):
    assert segment("a.png", "--point", "20,10", "--point", "3,4,0", "--box", "1,2,30,40") == 0
    (call,) = fake.calls
    np.testing.assert_array_equal(call["point_coords"], [[20, 10], [3, 4]])
    np.testing.assert_array_equal(call["point_labels"], [1, 0])
    np.testing.assert_array_equal(call["box"], [[1, 2, 30, 40]])
    assert call["mask_input"] is None
    assert call["multimask_output"] is False
    assert call["size"] == SIZE


def test_boxes_are_objects(fake, capsys):
    assert segment("a.png", "--box", "1,2,30,40", "--box", "2,2,40,40", "--multimask") == 0
    assert fake.calls[0]["box"].shape == (2, 4)
    assert fake.calls[0]["point_coords"] is None
    assert files() == [*(f"a_mask{i}.png" for i in range(6)), "a_overlay.png"]
    areas = [(picture(f"out/a_mask{i}.png") > 0).sum() for i in range(6)]
    assert areas == [10, 20, 30, 20, 30, 40]
    assert len(capsys.readouterr().out.splitlines()) == 6
    # the three candidates of all objects side by side
    assert picture("out/a_overlay.png").shape == (SIZE[0], 3 * SIZE[1], 3)


def test_rle_format(fake):
    assert segment("a.png", "--point", "20,10", "--multimask", "--format", "rle") == 0
    assert files() == ["a.json", "a_overlay.png"]
    entries = json.loads(Path("out/a.json").read_text())
    assert [entry["area"] for entry in entries] == [10, 20, 30]
    assert [entry["bbox"] for entry in entries] == [[0, 0, k, 10] for k in (1, 2, 3)]
    assert [entry["predicted_iou"] for entry in entries] == [0.5, 0.7, 0.9]
    assert [entry["candidate"] for entry in entries] == [0, 1, 2]
    assert rle.decode(entries[2]["segmentation"]).sum() == 30


def test_npz_format_can_be_given_back_as_a_mask(fake):
    assert segment("a.png", "--point", "20,10", "--format", "npz") == 0
    with np.load("out/a.npz") as arrays:
        assert {name: arrays[name].shape for name in arrays} == {
            "masks": (1, *SIZE),
            "ious": (1,),
            "logits": (1, 16, 16),
        }
    assert segment("a.png", "--mask", "out/a.npz") == 0
    assert fake.calls[-1]["point_coords"] is None
    np.testing.assert_array_equal(fake.calls[-1]["mask_input"], np.ones((1, 16, 16)))


def test_a_mask_picture_becomes_logits(fake):
    Image.fromarray(np.arange(64) < np.full((48, 1), 32)).save("m.png")
    assert segment("a.png", "--mask", "m.png", "--point", "3,4") == 0
    logits = fake.calls[0]["mask_input"]
    assert logits.shape == (1, 16, 16)
    assert logits[0, 0, 0] == 10
    assert logits[0, 0, 15] == -10


def test_several_pictures_show_progress_and_keep_apart(fake, capsys):
    for folder in ("x", "y"):
        Path(folder).mkdir()
        Image.new("RGB", (30, 20)).save(f"{folder}/a.png")
    assert segment("x/a.png", "a.png", "y/a.png", "--point", "2,3") == 0
    assert files() == [
        f"{stem}_{kind}.png" for stem in ("a-2", "a-3", "a") for kind in ("mask0", "overlay")
    ]
    assert picture("out/a-2_mask0.png").shape == SIZE
    captured = capsys.readouterr()
    assert "3/3" in captured.err
    assert [line.split()[0] for line in captured.out.splitlines()] == [
        "x/a.png",
        "a.png",
        "y/a.png",
    ]


def test_names_that_collide_are_numbered_past_those_in_use():
    names = ["d/a.jpg", "e/A.png", "a-2.jpg", "f/a.jpg", "b.jpg"]
    assert stems([Path(name) for name in names]) == ["a", "A-3", "a-2", "a-4", "b"]


def test_exif_rotation_decides_what_is_inside(fake, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: 48 wide and 64 high
    Image.fromarray(picture("a.png")).save("turned.png", exif=exif)
    assert segment("turned.png", "--point", "20,60") == 0
    assert fake.calls[0]["size"] == (64, 48)
    assert segment("turned.png", "--point", "60,20") == 2
    assert "outside turned.png, which is 48 x 64 (width x height)" in capsys.readouterr().err


def error_of(capsys, *args: str) -> str:
    """The one line on stderr with which the command refuses; nothing may have been written."""
    assert segment(*args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not Path("out").exists() or files() == []
    assert captured.err.startswith("sam-jax: error: ")
    return captured.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a.png"], "nothing to segment: give --point"),
        (["--point", "1,2"], "no pictures given: sam-jax segment IMAGE... --point X,Y"),
        (["a.png", "b.png", "c.png", "--point", "1,2"], "no such file: b.png, c.png"),
        (["a.png", "--mask", "m.png"], "no such file: m.png"),
        (["a.png", ".", "--point", "1,2"], "error: . is a folder: name the pictures in it"),
        (["a.png", "--point", "-1,2"], "has a negative coordinate"),
        (["a.png", "--point", "65,2"], "--point 65,2 is outside a.png, which is 64 x 48"),
        (["a.png", "--box", "5,5,4,9"], "--box '5,5,4,9' is empty or inverted"),
        (["a.png", "--box", "5,5,70,9"], "--box 5,5,70,9 is partly outside a.png"),
        (["a.png", "--point", "1,2", "--box", "0,0,1,1", "--box", "2,2,3,3"], "2 boxes are 2 obj"),
        (["empty.png", "--point", "1,2"], "empty.png is empty (0 bytes)"),
        (["text.png", "--point", "1,2"], "text.png is not an image"),
        (["a.png", "--mask", "wide.png"], "has shape (48, 65) (height, width), but the image has"),
    ],
)
def test_refused(fake, capsys, args, message):
    Path("empty.png").touch()
    Path("text.png").write_text("hello")
    Image.new("L", (65, 48), 255).save("wide.png")
    assert message in error_of(capsys, *args)
    assert not getattr(fake, "calls", [])


def test_an_unusable_output_folder_is_found_before_the_work(fake, capsys):
    Path("out").touch()
    assert segment("a.png", "--point", "1,2") == 2
    assert "cannot write to the output folder out: it is not a folder" in capsys.readouterr().err
    assert fake.loaded == []


def test_inputs_are_never_overwritten(fake, capsys):
    Path("out").mkdir()
    for name in ("a.png", "a_overlay.png"):
        Image.new("RGB", (30, 20)).save(f"out/{name}")
    before = Path("out/a_overlay.png").read_bytes()
    assert segment("out/a.png", "out/a_overlay.png", "--point", "1,2") == 2
    error = capsys.readouterr().err
    assert "the results would replace the input" in error
    assert "a_overlay.png: choose another folder with --output" in error
    assert Path("out/a_overlay.png").read_bytes() == before
    assert files() == ["a.png", "a_overlay.png"]


def test_a_bad_picture_among_good_ones_does_not_stop_them(fake, capsys):
    Path("bad.png").write_bytes(Path("a.png").read_bytes()[:1000])
    Image.new("RGB", (30, 20)).save("c.png")
    assert segment("bad.png", "a.png", "c.png", "--point", "40,10") == 2
    captured = capsys.readouterr()
    assert "bad.png is damaged" in captured.err
    assert "--point 40,10 is outside c.png" in captured.err
    assert captured.out.startswith("a.png  mask 0")
    assert files() == ["a_mask0.png", "a_overlay.png"]


def test_a_bad_model_is_one_line(capsys):
    assert "unknown model 'sam2.1-hiera-tiniest'. Did you mean 'sam2.1-hiera-tiny'?" in error_of(
        capsys, "a.png", "--point", "1,2", "--model", "sam2.1-hiera-tiniest"
    )
    assert "weights.pt" in error_of(capsys, "a.png", "--point", "1,2", "--model", "weights.pt")


def test_folders_made_for_nothing_are_removed(capsys):
    args = ["segment", "a.png", "--point", "1,2", "--model", "weights.pt", "--output"]
    assert main([*args, "new/deep"]) == 2
    assert not Path("new").exists()
    Path("mine").mkdir()
    assert main([*args, "mine"]) == 2
    assert Path("mine").exists()


def test_broken_weights_are_an_error(fake, monkeypatch, capsys):
    predict = fake.predict

    def nan_ious(self, **prompts):
        masks, ious, low = predict(self, **prompts)
        return masks, ious * np.nan, low

    monkeypatch.setattr(fake, "predict", nan_ious)
    error = error_of(capsys, "a.png", "--point", "1,2")
    assert "a.png: the predicted IoU is [nan]: are the weights of sam2.1-hiera-nano" in error
    assert not Path("out").exists()


def test_more_masks_of_an_earlier_run_are_deleted(fake):
    assert segment("a.png", "--point", "20,10", "--box", "1,2,30,40", "--multimask") == 0
    mine = ["a_mask2.png", "a_mask01.png", "a_mask7.png", "a_mask1.txt", "b_mask1.png"]
    for name in mine[1:]:
        Path("out", name).touch()
    assert segment("a.png", "--mask", "out/a_mask2.png") == 0
    assert files() == sorted([*mine, "a_mask0.png", "a_overlay.png"])


def test_names_that_cannot_be_printed_are_no_failure(fake, monkeypatch):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        Path("a.png").rename(name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    assert segment(name, "--point", "20,10") == 0
    assert written.getvalue().startswith(b"caf\\udce9.png  mask 0")


def test_a_reader_that_leaves_early_stops_nothing(fake, monkeypatch, capsys):
    Path("b.png").write_bytes(Path("a.png").read_bytes())
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert segment("a.png", "b.png", "--point", "20,10") == 0
    assert len(files()) == 4
    assert "error" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def nano(tmp_path_factory, random_params) -> str:
    """A checkpoint of the small model with random weights."""
    from sam_jax.load import save
    from sam_jax.models import build
    from sam_jax.presets import SAM2_1_HIERA_NANO
    from sam_jax.types import Model

    module = build(SAM2_1_HIERA_NANO)
    path = tmp_path_factory.mktemp("model") / "nano.safetensors"
    save(Model(random_params(module), module), path)
    return str(path)


def test_equal_to_the_predictor(nano, capsys):
    from sam_jax import ImagePredictor
    from sam_jax.load import load

    args = ["a.png", "--point", "20,10", "--point", "50,40,0", "--box", "5,6,40,40"]
    assert segment(*args, "--multimask", "--format", "npz", model=nano) == 0
    predictor = ImagePredictor(load(nano))
    predictor.set_image(picture("a.png"))
    masks, ious, logits = predictor.predict([[20, 10], [50, 40]], [1, 0], [5, 6, 40, 40])
    with np.load("out/a.npz") as arrays:
        np.testing.assert_array_equal(arrays["masks"], masks > 0.5)
        np.testing.assert_allclose(arrays["ious"], ious, rtol=1e-6)
        np.testing.assert_allclose(arrays["logits"], logits, atol=1e-5)
    lines = capsys.readouterr().out.splitlines()
    assert [f"IoU {iou:.3f}" in line for iou, line in zip(ious, lines, strict=True)] == [True] * 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_a_picture(fake, monkeypatch, capsys, number):
    on_second_picture(fake, monkeypatch, lambda: os.kill(os.getpid(), number))
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert segment("a.png", "a.png", "a.png", "--point", "1,2") == 130
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert files() == [f"{s}_{end}.png" for s in ("a-2", "a") for end in ("mask0", "overlay")]
    assert "sam-jax: stopped; the pictures until then are complete" in capsys.readouterr().err


def test_the_second_ctrl_c_is_at_once(fake, monkeypatch, capsys):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    on_second_picture(fake, monkeypatch, twice)
    assert segment("a.png", "a.png", "--point", "1,2") == 130
    assert files() == ["a_mask0.png", "a_overlay.png"]


def test_ctrl_c_that_is_lost_while_loading_counts(fake, monkeypatch, capsys):
    """As an exception in a callback of the garbage collector is."""

    def load(name):
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(importlib.import_module("sam_jax.load"), "load", load)
    assert segment("a.png", "--point", "1,2") == 130
    assert not os.path.exists("out") and capsys.readouterr().out == ""


def on_second_picture(fake, monkeypatch, action) -> None:
    set_image = fake.set_image

    def act(self, image):
        self.count = getattr(self, "count", 0) + 1
        if self.count == 2:
            action()
        set_image(self, image)

    monkeypatch.setattr(fake, "set_image", act)
