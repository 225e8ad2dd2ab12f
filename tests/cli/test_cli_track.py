import csv
import importlib
import json
import os
import signal
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from sam_jax.cli import main
from sam_jax.ops import rle
from sam_jax.presets import SAM2_1_HIERA_NANO, SAM_VIT_B

SIZE = (48, 64)
FRAMES = 12
LINE = "frames  12 frames"


def picture(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def listing(folder: str = "out") -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def scores(path: str) -> list[tuple[int, int, int]]:
    """Frame, object, area of each row."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [(int(row["frame"]), int(row["object"]), int(row["area"])) for row in rows]


def decoded(path: str) -> list[np.ndarray]:
    import av

    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


class FakeStream:
    """Tracks at once: on frame f (see `frames`), object i is f + 1 columns of its own 8 rows.

    Object 9 lies on object 1, and its logits are higher where f is even.
    """

    on_step = staticmethod(lambda stream, number: None)
    made: ClassVar[list["FakeStream"]] = []

    def __init__(self, model, max_objects, *, prompted_frames, num_frames):
        self.options = (max_objects, prompted_frames, num_frames)
        self.added: list[tuple[int, int, dict]] = []  # count of steps before, object, prompts
        self.steps: list[int] = []
        FakeStream.made.append(self)

    def add(self, obj_id, **prompts):
        given = {name: value for name, value in prompts.items() if value is not None}
        self.added.append((len(self.steps), obj_id, given))

    def step(self, pixels, model_input):
        assert pixels.shape == (*SIZE, 3)
        assert model_input.shape == (32, 32, 3)
        number = round(int(pixels[0, 0, 0]) / 10)
        assert abs(int(model_input[0, 0, 0]) - 10 * number) < 3
        self.steps.append(number)
        self.on_step(self, number)
        found = {}
        for i in {obj_id for _, obj_id, _ in self.added}:
            mask = np.zeros(SIZE, bool)
            row = 8 * ((i - 1) % 8 % 6)
            mask[row : row + 8, : number + 1] = True
            strength = 3.0 if i != 9 else 5.0 - 4 * (number % 2)
            found[i] = SimpleNamespace(
                mask=mask,
                iou=0.5 + number / 100,
                object_logit=float(i),
                logits=np.full((16, 16), strength, np.float32),
            )
        return found


@pytest.fixture
def stream(monkeypatch):
    """Replaces the model and the tracker; a list of the streams that were made."""
    FakeStream.made = []
    FakeStream.loaded = []

    def load(name):
        FakeStream.loaded.append(name)
        return SimpleNamespace(config=replace(SAM2_1_HIERA_NANO, image_size=32))

    monkeypatch.setattr(importlib.import_module("sam_jax.load"), "load", load)
    tracker = importlib.import_module("sam_jax.predictors.stream")
    monkeypatch.setattr(tracker, "Stream", FakeStream)
    return FakeStream


@pytest.fixture(autouse=True)
def frames(workplace):
    """A folder of pictures; number f is grey, of value 10 f."""
    Path("frames").mkdir()
    for number in range(FRAMES):
        Image.new("RGB", SIZE[::-1], (10 * number,) * 3).save(f"frames/{number:05d}.png")


def track(*args: str, output: str = "out", video: str = "frames") -> int:
    return main(["track", video, *args, "--output", output])


def test_help_explains_and_has_examples(capsys):
    for args in (["--help"], ["track", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    for part in (
        "track Follow what clicks, boxes or masks point at, through a video",
        "sam-jax track bedroom.mp4 --point 0:210,350 --output out.mp4",
        "--point FRAME:X,Y[,0|1][@OBJ]",
        "--mask FRAME:FILE[@OBJ]",
        "(default: tracked.mp4)",
        "(default: by --output; palette for a folder)",
        "--both-ways",
    ):
        assert part in text
    assert "None" not in text


def test_a_click_gives_a_video_and_scores(stream, capsys):
    assert track("--point", "2:40,25", output="out.mp4") == 0
    (one,) = stream.made
    assert one.steps == list(range(2, 12))
    assert one.options == (1, 1, 12)
    ((before, number, prompts),) = one.added
    assert (before, number) == (0, 1)
    np.testing.assert_array_equal(prompts["points"], [[40, 25]])
    np.testing.assert_array_equal(prompts["labels"], [1])
    images = decoded("out.mp4")
    assert len(images) == 10
    for number, image in enumerate(images, start=2):
        assert abs(int(image[40, 40].mean()) - 10 * number) < 4
    blue = [int(image[4, 1, 2]) - int(image[40, 40, 2]) for image in images]
    assert min(blue) > 40  # tinted
    green = [int(image[25, 40, 1]) - int(image[25, 40, 0]) for image in images]
    assert green[0] > 80  # the click, on its frame only
    assert max(green[1:]) < 20
    assert scores("out.csv") == [(f, 1, 8 * (f + 1)) for f in range(2, 12)]
    captured = capsys.readouterr()
    assert captured.out.startswith("frames  10 frames  ")
    assert captured.out.endswith(" frames/s  out.mp4  out.csv\n")
    assert captured.out.count("\n") == 1
    assert "10/10" in captured.err
    assert stream.loaded == ["sam2.1-hiera-nano"]
    assert sorted(os.listdir()) == ["a.png", "frames", "out.csv", "out.mp4"]


def test_prompts_reach_the_tracker_on_their_frames(stream):
    Image.fromarray(np.arange(64) < np.full((48, 1), 32)).save("m.png")
    palette = np.zeros(SIZE, np.uint8)
    palette[:4], palette[4:8] = 3, 6
    image = Image.fromarray(palette)
    image.putpalette(bytes(range(256)) * 3)
    image.save("p.png")
    args = [
        "--point",
        "1:5,6",
        "--point",
        "1:7,8,0",
        "--box",
        "1:1,2,30,40",
        "--box",
        "4:1,1,9,9@6",
    ]
    args += ["--mask", "3:m.png@2", "--mask", "4:p.png@3", "--point", "5:2,2,0@6"]
    assert track(*args) == 0
    (one,) = stream.made
    assert one.options == (4, 2, 12)
    assert [entry[:2] for entry in one.added] == [(0, 1), (2, 2), (3, 3), (3, 6), (4, 6)]
    first, second, third, fourth, fifth = (entry[2] for entry in one.added)
    np.testing.assert_array_equal(first["points"], [[5, 6], [7, 8]])
    np.testing.assert_array_equal(first["labels"], [1, 0])
    np.testing.assert_array_equal(first["box"], [1, 2, 30, 40])
    np.testing.assert_array_equal(second["mask"], np.arange(64) < np.full((48, 1), 32))
    np.testing.assert_array_equal(third["mask"], palette == 3)
    assert sorted(fourth) == ["box"]
    np.testing.assert_array_equal(fifth["labels"], [0])
    labels = picture("out/00011.png")
    assert sorted(np.unique(labels)) == [0, 1, 2, 3, 6]
    assert not (picture("out/00003.png") == 3).any()


TWO = ("--point", "0:5,6", "--box", "3:1,1,9,9@2")


def test_palette_is_the_format_of_a_folder(stream, capsys):
    assert track(*TWO, output="new/out") == 0
    assert listing("new/out") == [*(f"{f:05d}.png" for f in range(12)), "scores.csv"]
    labels = picture("new/out/00005.png")
    assert (labels[:8, :6] == 1).all()
    assert (labels[8:16, :6] == 2).all()
    assert np.count_nonzero(labels) == 96
    assert np.count_nonzero(picture("new/out/00002.png")) == 24
    assert len(scores("new/out/scores.csv")) == 12 + 9
    assert LINE in capsys.readouterr().out


def test_the_higher_logit_wins_a_pixel(stream):
    assert track("--point", "0:5,6", "--point", "0:5,6@9") == 0
    assert [int(picture(f"out/{f:05d}.png")[0, 0]) for f in range(4)] == [9, 1, 9, 1]


def test_png_format(stream):
    assert track(*TWO, "--format", "png") == 0
    expected = [f"001/{f:05d}.png" for f in range(12)] + [f"002/{f:05d}.png" for f in range(3, 12)]
    assert listing() == [*expected, "scores.csv"]
    assert np.count_nonzero(picture("out/002/00004.png") == 255) == 40


def test_npz_format_can_be_given_back_as_a_mask(stream):
    assert track(*TWO, "--format", "npz") == 0
    assert listing() == [*(f"{f:05d}.npz" for f in range(12)), "scores.csv"]
    with np.load("out/00004.npz") as arrays:
        assert arrays["ids"].tolist() == [1, 2]
        assert arrays["masks"].sum(axis=(1, 2)).tolist() == [40, 40]
        np.testing.assert_allclose(arrays["ious"], 0.54)
        assert arrays["object_logits"].tolist() == [1, 2]
        assert arrays["logits"].shape == (2, 16, 16)
    assert track("--mask", "0:out/00004.npz", output="again") == 0
    assert stream.made[-1].added[0][2]["mask"].sum() == 40


@pytest.mark.parametrize(("output", "path"), [("out.json", "out.json"), ("out", "out/masks.json")])
def test_rle_format(stream, output, path):
    assert track(*TWO, *(["--format", "rle"] if output == "out" else []), output=output) == 0
    entries = json.loads(Path(path).read_text())
    assert [(e["frame"], e["object"]) for e in entries[:5]] == [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 1),
        (3, 2),
    ]
    assert rle.decode(entries[4]["segmentation"]).sum() == 32
    assert len(scores("out.csv" if output == "out.json" else "out/scores.csv")) == 21


def test_a_video_in_a_folder(stream):
    assert track(*TWO, "--format", "video") == 0
    assert listing() == ["overlay.mp4", "scores.csv"]


FORMATS = ["video", "palette", "png", "npz", "rle"]


def areas_in(kind: str) -> dict[tuple[int, int], int]:
    """What the results other than the scores say."""
    found = {}
    if kind == "rle":
        for entry in json.loads(Path("out/masks.json").read_text()):
            found[entry["frame"], entry["object"]] = entry["area"]
    for path in Path("out").rglob("*.png"):
        values = picture(path)
        if kind == "png":
            found[int(path.stem), int(path.parent.name)] = np.count_nonzero(values)
        else:
            for number in np.unique(values[values > 0]):
                found[int(path.stem), int(number)] = np.count_nonzero(values == number)
    for path in Path("out").glob("*.npz"):
        with np.load(path) as arrays:
            for number, mask in zip(arrays["ids"], arrays["masks"], strict=True):
                found[int(path.stem), int(number)] = np.count_nonzero(mask)
            assert len(arrays["logits"]) == len(arrays["ids"])
    return found


@pytest.mark.parametrize("kind", FORMATS)
def test_reverse(stream, kind):
    args = ["--point", "6:5,6", "--point", "4:5,6@2", "--reverse", "--format", kind]
    assert track(*args) == 0
    (one,) = stream.made
    assert one.steps == [6, 5, 4, 3, 2, 1, 0]
    expected = [(f, i, 8 * (f + 1)) for f in range(7) for i in (1, 2) if i == 1 or f <= 4]
    assert scores("out/scores.csv") == expected
    if kind == "video":
        values = [round(float(image[40, 40].mean()) / 10) for image in decoded("out/overlay.mp4")]
        assert values == list(range(7))
    else:
        assert areas_in(kind) == {(f, i): area for f, i, area in expected}


@pytest.mark.parametrize("kind", FORMATS)
def test_both_ways(stream, kind, capsys):
    """Every object is on every frame, whichever pass it comes from, and is tracked just once."""
    args = ["--point", "3:5,6", "--point", "8:5,6@2", "--both-ways", "--format", kind]
    assert track(*args) == 0
    back, forth = stream.made
    assert back.steps == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert forth.steps == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    expected = [(f, i, 8 * (f + 1)) for f in range(12) for i in (1, 2)]
    assert scores("out/scores.csv") == expected
    if kind == "video":
        images = decoded("out/overlay.mp4")
        assert [round(float(image[40, 40].mean()) / 10) for image in images] == list(range(12))
        assert not any(name.startswith(".") for name in listing())
        assert "21/21" in capsys.readouterr().err  # 9 back, 12 forward
    else:
        assert areas_in(kind) == {(f, i): area for f, i, area in expected}
        assert "18/18" in capsys.readouterr().err


def test_objects_of_both_passes_share_a_palette_by_logit(stream):
    """On frames 1 and 2, object 9 comes from the pass backward."""
    assert track("--point", "0:5,6", "--point", "3:5,6@9", "--both-ways") == 0
    assert [int(picture(f"out/{f:05d}.png")[0, 0]) for f in range(4)] == [9, 1, 9, 1]


def test_every_and_max_frames(stream):
    assert track("--point", "4:5,6", "--every", "2", "--max-frames", "3", "--both-ways") == 0
    back, forth = stream.made
    assert (back.steps, forth.steps) == ([4, 2, 0], [4, 6, 8])
    assert back.options == (1, 1, 6)
    assert listing() == [*(f"{f:05d}.png" for f in (0, 2, 4, 6, 8)), "scores.csv"]
    assert track("--point", "4:5,6", "--max-frames", "1", output="one") == 0
    assert listing("one") == ["00004.png", "scores.csv"]
    assert track("--point", "4:5,6", "--max-frames", "2", "--reverse", output="two") == 0
    assert listing("two") == ["00003.png", "00004.png", "scores.csv"]


def test_a_video_file_keeps_its_speed(stream):
    from sam_jax.io.video_writer import VideoWriter

    with VideoWriter("in.mp4", 24) as writer:
        for number in range(8):
            writer.write(picture(f"frames/{number:05d}.png"))
    args = ["--point", "2:5,6", "--every", "2"]
    assert track(*args, output="out.mp4", video="in.mp4") == 0
    assert stream.made[0].steps == [2, 4, 6]
    import av

    with av.open("out.mp4") as container:
        assert container.streams.video[0].average_rate == 12


def error_of(capsys, *args: str, output: str = "out", video: str = "frames") -> str:
    """The message with which the command refuses; nothing may have been written."""
    before = sorted(os.listdir())
    assert track(*args, output=output, video=video) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("sam-jax: error: ")
    assert sorted(os.listdir()) == before
    return captured.err


CLICK = ("--point", "0:5,6")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "nothing to track: give --point FRAME:X,Y"),
        (["--point", "5,6"], "--point '5,6' must be FRAME:X,Y"),
        (["--point", "0:65,6"], "--point 0:65,6 is outside frames, whose frames are 64 x 48"),
        (["--box", "0:5,6,9,49@2"], "--box 0:5,6,9,49@2 is partly outside frames"),
        (["--point", "12:5,6"], "a prompt on frame 12, but frames has 12 frames: 0 to 11"),
        (["--point", "3:5,6", "--every", "2"], "with --every 2 only the frames 0, 2, 4, ..."),
        ([*CLICK, "--every", "0"], "--every must be at least 1, got 0"),
        ([*CLICK, "--max-frames", "0"], "--max-frames must be at least 1, got 0"),
        ([*CLICK, "--reverse", "--both-ways"], "--both-ways includes --reverse: give one"),
        (
            [*CLICK, "--point", "6:1,1", "--max-frames", "6"],
            "the prompt on frame 6 is not reached: with --max-frames 6, tracking goes from frame 0"
            " to frame 5",
        ),
        (
            [*CLICK, "--point", "6:1,1", "--max-frames", "6", "--reverse"],
            "the prompt on frame 0 is not reached: with --max-frames 6, tracking goes from frame 6"
            " to frame 1",
        ),
        (["--mask", "0:no.png"], "no such file: no.png"),
        (["--mask", "0:small.png"], "mask small.png has shape (20, 30) (height, width), but the"),
        (["--point", "0:5,6@256"], "a palette PNG holds the objects 1 to 255, got @256: choose"),
    ],
)
def test_refused(stream, capsys, args, message):
    Image.new("L", (30, 20), 255).save("small.png")
    assert message in error_of(capsys, *args)
    assert stream.loaded == []


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ("nowhere.mp4", "nowhere.mp4"),
        ("text.mp4", "text.mp4"),
        ("empty", "empty"),
        ("7", "/dev/video7"),
    ],
)
def test_bad_videos(stream, capsys, video, message):
    Path("text.mp4").write_text("hello")
    Path("empty").mkdir()
    assert message in error_of(capsys, *CLICK, video=video)
    assert stream.loaded == []


def test_a_camera_does_not_run_backwards(stream, capsys):
    assert "a camera only runs forwards" in error_of(capsys, *CLICK, "--reverse", video="0")


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        ("out.mp4", "palette", "--output out.mp4 is one file for --format video, which is not pal"),
        ("out.json", "video", "--output out.json is one file for --format rle, which is not video"),
        ("out.avi", None, "--output out.avi cannot be written: give a name that ends with .mp4"),
        ("out.png", "png", "or a folder"),
        ("a.png/out", None, "cannot write to the output folder a.png/out"),
        ("a.png/out.mp4", None, "cannot write to the output folder a.png"),
        ("a.csv/out.mp4", None, "cannot write a.csv/out.mp4: it is a folder"),
        ("taken.mp4", None, "cannot write taken.csv: it is a folder"),
    ],
)
def test_bad_outputs(stream, capsys, output, kind, message):
    Path("a.csv/out.mp4").mkdir(parents=True)
    Path("a.csv/out.mp4/keep").touch()
    Path("taken.csv").mkdir()
    if output == "a.csv/out.mp4":  # an existing folder is taken as one, whatever its name
        assert track(*CLICK, output=output) == 0
        return
    args = ["--format", kind] if kind else []
    assert message in error_of(capsys, *CLICK, *args, output=output)
    assert stream.loaded == []


def test_inputs_are_never_replaced(stream, capsys):
    Image.new("L", SIZE[::-1], 255).save("00003.png")
    Path("masks/001").mkdir(parents=True)
    Path("masks/001/00003.png").write_bytes(Path("00003.png").read_bytes())
    Path("in.mp4").write_bytes(b"a video")
    Path("in.csv").write_bytes(b"a mask")
    for args, output, video in (
        (CLICK, "frames", "frames"),
        (["--mask", "0:00003.png"], ".", "frames"),
        (["--mask", "0:masks/001/00003.png", "--format", "png"], "masks", "frames"),
        (CLICK, "in.mp4", "in.mp4"),
        (CLICK, "./frames/../in.mp4", "in.mp4"),
        (["--mask", "0:in.csv"], "in.mp4", "frames"),
    ):
        message = error_of(capsys, *args, output=output, video=video)
        assert "the results would replace the input" in message
        assert "choose another --output" in message
    assert track("--mask", "0:masks/001/00003.png", output="masks") == 0  # not that folder


def test_folders_made_for_nothing_are_removed(capsys):
    assert "unknown model 'nano'" in error_of(capsys, *CLICK, "--model", "nano", output="new/deep")
    assert "unknown model" in error_of(capsys, *CLICK, "--model", "nano", output="new/a.mp4")


def test_frames_of_an_earlier_run_are_mentioned(stream, capsys):
    assert track(*CLICK, "--point", "0:5,6@2", "--format", "png") == 0
    assert "earlier run" not in capsys.readouterr().err
    assert track(*CLICK, "--max-frames", "8", "--format", "png") == 0
    assert "out also holds 16 files of an earlier run, such as 001/00008.png" in (
        capsys.readouterr().err
    )
    assert track(*CLICK, output="flat") == 0
    for mine in ("cover.png", "7.png", "00007.txt"):
        Path("flat", mine).touch()
    capsys.readouterr()
    assert track(*CLICK, output="flat") == 0
    assert "earlier run" not in capsys.readouterr().err
    assert track("--point", "1:5,6", output="flat") == 0
    assert "flat also holds 1 files of an earlier run, such as 00000.png" in capsys.readouterr().err


def at(monkeypatch, number: int, action) -> None:
    """Calls `action` when frame `number` is tracked for the first time."""
    done = []

    def act(stream, here):
        if here == number and not done:
            done.append(here)
            action()

    monkeypatch.setattr(FakeStream, "on_step", staticmethod(act))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_what_is_done(stream, monkeypatch, capsys, kind, number):
    at(monkeypatch, 5, lambda: os.kill(os.getpid(), number))
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert track(*CLICK, "--format", kind) == 130
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert stream.made[0].steps == [0, 1, 2, 3, 4, 5]
    assert scores("out/scores.csv") == [(f, 1, 8 * (f + 1)) for f in range(6)]
    if kind == "video":
        assert len(decoded("out/overlay.mp4")) == 6
    else:
        assert len(areas_in(kind)) == 6
    captured = capsys.readouterr()
    assert "frames  6 frames" in captured.out
    assert "sam-jax: stopped; the frames until then are complete" in captured.err


@pytest.mark.parametrize("kind", FORMATS)
def test_ctrl_c_on_the_way_back(stream, monkeypatch, capsys, kind):
    """The pass forward then only writes what there is: frames 8 to 4."""
    at(monkeypatch, 4, lambda: os.kill(os.getpid(), signal.SIGINT))
    args = ["--point", "6:5,6", "--point", "8:5,6@2", "--both-ways", "--format", kind]
    assert track(*args) == 130
    assert [one.steps for one in stream.made] == [[8, 7, 6, 5, 4]]
    expected = [(f, i, 8 * (f + 1)) for f in range(4, 9) for i in (1, 2) if f < 7 or i == 2]
    assert scores("out/scores.csv") == expected
    if kind == "video":
        images = decoded("out/overlay.mp4")
        assert [round(float(image[40, 40].mean()) / 10) for image in images] == [4, 5, 6, 7, 8]
    else:
        assert areas_in(kind) == {(f, i): area for f, i, area in expected}


def test_the_second_ctrl_c_is_at_once(stream, monkeypatch, capsys):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at(monkeypatch, 5, twice)
    assert track(*CLICK, output="out.mp4") == 130
    assert len(decoded("out.mp4")) == 4  # the answers of frame 4 were not fetched yet
    assert len(scores("out.csv")) == 4
    assert "sam-jax: the 4 frames until then: out.mp4  out.csv" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_loading_leaves_nothing(stream, monkeypatch, capsys, number):
    def load(name):
        os.kill(os.getpid(), number)

    monkeypatch.setattr(importlib.import_module("sam_jax.load"), "load", load)
    Path("out.mp4").write_bytes(b"before")
    assert track(*CLICK, output="out.mp4") == 130
    assert Path("out.mp4").read_bytes() == b"before"
    assert track(*CLICK, output="new/out") == 130
    assert sorted(os.listdir()) == ["a.png", "frames", "out.mp4"]


def test_a_video_that_breaks_off(stream, capsys):
    Image.new("RGB", (30, 20)).save("frames/00007.png")
    assert track(*CLICK, output="out.mp4") == 2
    error = capsys.readouterr().err
    assert "frame 7 of frames has 30 x 20 pixels" in error
    kept = len(decoded("out.mp4"))
    assert kept == len(scores("out.csv")) == 7
    assert "sam-jax: the 7 frames until then: out.mp4  out.csv" in error


def test_broken_weights_are_an_error(stream, monkeypatch, capsys):
    step = stream.step

    def broken(self, pixels, model_input):
        found = step(self, pixels, model_input)
        found[1].iou = float("nan")
        return found

    monkeypatch.setattr(stream, "step", broken)
    assert track(*CLICK) == 2
    assert "frame 0: the predicted IoU is [nan]" in capsys.readouterr().err
    assert not Path("out").exists()


def open_instead(monkeypatch, source) -> None:
    videos = importlib.import_module("sam_jax.io.videos")
    opened = videos.open_video
    monkeypatch.setattr(videos, "open_video", lambda _: opened(source))


def test_a_source_of_unknown_length(stream, monkeypatch, capsys):
    open_instead(monkeypatch, (picture(f"frames/{f:05d}.png") for f in range(9)))
    assert track("--point", "2:5,6", output="out.mp4", video="0") == 0
    assert stream.made[0].steps == list(range(2, 9))
    assert stream.made[0].options == (1, 1, None)
    assert len(decoded("out.mp4")) == 7
    assert "7/?" in capsys.readouterr().err


def test_a_source_that_ends_before_a_prompt(stream, monkeypatch, capsys):
    open_instead(monkeypatch, (picture(f"frames/{f:05d}.png") for f in range(4)))
    assert track(*CLICK, "--point", "9:1,1", output="out.mp4", video="0") == 2
    error = capsys.readouterr().err
    assert "ended after frame 3, before the prompt on frame 9" in error
    assert len(decoded("out.mp4")) == 4


def test_memory_does_not_grow_with_the_video(stream, monkeypatch):
    """Of the pass backward only run lengths stay."""
    from sam_jax.io import videos

    class Generated:
        height, width = SIZE
        fps, name = 10.0, "generated"

        def __init__(self, count):
            self.num_frames = count

        def model_inputs(self, side, *, start, stop, step):
            for _ in range(*slice(start, stop, step).indices(self.num_frames)):
                yield np.zeros((*SIZE, 3), np.uint8), np.zeros((side, side, 3), np.uint8)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    def peak(count: int) -> int:
        monkeypatch.setattr(videos, "open_video", lambda _: Generated(count))
        tracemalloc.start()
        assert track("--point", f"{count // 2}:5,6", "--both-ways", output=f"{count}.json") == 0
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(20)
    short, long = peak(50), peak(200)
    assert len(scores("200.csv")) == 200
    assert (long - short) / 75 < 2000  # of each further frame backward; its pixels take 9216


def test_a_video_that_the_writer_gave_up_is_not_promised(stream, monkeypatch, capsys):
    from sam_jax.io.video_writer import VideoWriter

    write = VideoWriter.write

    def fill(self, pixels):
        if self._count == 3:
            raise ValueError(f"cannot write {self.path}: No space left on device")
        write(self, pixels)

    monkeypatch.setattr(VideoWriter, "write", fill)
    assert track(*CLICK, output="out.mp4") == 2
    error = capsys.readouterr().err
    assert "cannot write out.mp4: No space left on device" in error
    assert "until then" not in error


@pytest.fixture(scope="module")
def clip():
    """A bright square that moves over noise."""
    random = np.random.default_rng(0)
    frames = random.integers(0, 60, (8, 64, 96, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[16:40, 10 + 4 * number : 34 + 4 * number] = (240, 200, 40)
    return frames


def test_equal_to_a_stream(clip):
    """The shipped model, on pictures: what is written is what the stream says."""
    from sam_jax.load import load
    from sam_jax.predictors.stream import Stream

    Path("clip").mkdir()
    for number, frame in enumerate(clip):
        Image.fromarray(frame).save(f"clip/{number:05d}.png")
    args = ["--box", "1:14,16,38,40", "--point", "3:50,20@2", "--format", "npz"]
    assert track(*args, video="clip") == 0
    stream = Stream(load("sam2.1-hiera-nano"), 2, prompted_frames=1, num_frames=8)
    stream.add(1, box=[14, 16, 38, 40])
    stream.add(2, points=[[50, 20]], labels=[1], frame=2)
    for number, frame in enumerate(clip[1:], start=1):
        answers = stream.step(frame)
        with np.load(f"out/{number:05d}.npz") as arrays:
            assert arrays["ids"].tolist() == sorted(answers)
            for place, one in enumerate(answers[i] for i in sorted(answers)):
                np.testing.assert_array_equal(arrays["masks"][place], one.mask)
                np.testing.assert_allclose(arrays["logits"][place], one.logits, atol=1e-5)
                np.testing.assert_allclose(arrays["ious"][place], one.iou, rtol=1e-5)
    with np.load("out/00001.npz") as arrays:
        assert arrays["masks"].any()


@pytest.mark.parametrize("name", ["sam-vit-base", "sam-vit-b"])
def test_a_model_without_memory_is_refused_before_a_download(stream, name, capsys):
    assert track("--point", "2:40,25", "--model", name) == 2
    assert "sam-vit-base is a SAM 1 model: it segments pictures" in capsys.readouterr().err
    assert not stream.loaded and not stream.made and not Path("out").exists()


def test_a_file_without_memory_is_refused_before_the_tracking(stream, monkeypatch, capsys):
    module = importlib.import_module("sam_jax.load")
    monkeypatch.setattr(module, "load", lambda name: SimpleNamespace(config=SAM_VIT_B))
    assert track("--point", "2:40,25", "--model", "sam.pt") == 2
    error = capsys.readouterr().err
    assert error.startswith("sam-jax: error: sam-vit-base is a SAM 1 model") and "0/" not in error
    assert not stream.made and not Path("out").exists()
