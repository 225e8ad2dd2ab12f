"""The programs of examples/, on the model that ships and a few frames."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import tyro
from PIL import Image

import sam_jax
from sam_jax import exchange, instances
from sam_jax.io.videos import open_video

# Other tests may have imported what is run here as a program.
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
REPO = Path(__file__).resolve().parents[2]
CLIP = REPO / "docs" / "media" / "clip.mp4"
BOX = [105, 27, 199, 100]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(example, *words)`, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def start(example: str, *words: str) -> None:
        path = REPO / "examples" / example
        monkeypatch.setattr(sys, "argv", [str(path), *words])
        runpy.run_path(str(path), run_name="__main__")

    return start


def test_a_batch_of_images(run, capsys):
    media, boxes = REPO / "docs" / "media", REPO / "examples" / "boxes.json"
    run(
        "batch_of_images.py",
        *(str(media / name) for name in ("chelsea.jpg", "coffee.jpg")),
        *("--boxes", str(boxes), "--output", "out"),
    )
    found = exchange.from_coco(json.loads(Path("out/masks.json").read_text()))
    assert {name: len(of) for name, of in found.items()} == {"chelsea.jpg": 3, "coffee.jpg": 1}
    for name, of in json.loads(boxes.read_text()).items():
        for mask, (x0, y0, x1, y1) in zip(found[name].masks, of, strict=True):
            assert mask[y0:y1, x0:x1].sum() > 0.9 * mask.sum() > 0
    with Image.open("out/chelsea.png") as drawn:
        assert drawn.size == (451, 300)
    assert "chelsea.jpg: 3 masks" in capsys.readouterr().out


def test_a_camera_loop(run, capsys):
    box = ",".join(map(str, BOX))
    run("camera_loop.py", str(CLIP), "--box", box, "--frames", "4", "--write", "out.mp4")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == [f"frame {i}" for i in range(4)]
    assert lines[4].endswith("frames/s")
    assert open_video("out.mp4").num_frames == 4


def test_many_videos(run, monkeypatch, small_tracker):
    monkeypatch.setattr(sam_jax, "load", lambda _: small_tracker())  # nano takes long to compile
    frames = list(open_video(CLIP).frames(stop=3))
    for name, count in (("long", 3), ("short", 2)):
        Path(name).mkdir()
        for t, frame in enumerate(frames[:count]):
            Image.fromarray(frame).save(f"{name}/{t:05}.png")
    Path("videos.json").write_text(json.dumps({"long": BOX, "short": BOX}))
    run("track_many_videos.py", "videos.json", "--output", "out", "--per-device", "3")

    stream = sam_jax.Stream(small_tracker())
    stream.add(1, box=BOX)
    alone = [instances.from_tracked(stream.step(frame)).masks[0] for frame in frames]
    for name, count in (("long", 3), ("short", 2)):
        found = exchange.from_coco(json.loads(Path(f"out/{name}.json").read_text()))
        assert list(found) == [f"{t:05}.jpg" for t in range(count)]
        for mask, of in zip(alone, found.values(), strict=False):
            assert (mask & of.masks[0]).sum() > 0.995 * (mask | of.masks[0]).sum() > 0


@pytest.mark.parametrize(
    ("example", "words"),
    [("batch_of_images.py", ["a/x.jpg", "b/x.png"]), ("track_many_videos.py", ["videos.json"])],
)
def test_one_name_for_two_is_refused(run, capsys, example, words):
    Path("videos.json").write_text(json.dumps({"a/x.mp4": BOX, "b/x.mp4": BOX}))
    with pytest.raises(SystemExit):
        run(example, *words)
    assert "have the same name" in capsys.readouterr().err


def test_fine_tuning_asks_for_a_run_that_there_is(run, monkeypatch):
    """The notebook test trains; here the trainer reads what it is asked for, and that is all."""
    asked = []

    class Read(Exception):
        pass

    def read(words, *, check):
        assert check and words[1:3] == ["-m", "train"]
        monkeypatch.setattr(sys, "argv", words[2:])
        runpy.run_module("train", run_name="__main__", alter_sys=True)

    def cli(*args, real=tyro.cli, **kwargs):
        asked.append(real(*args, **kwargs))
        raise Read

    monkeypatch.setattr("subprocess.run", read)
    monkeypatch.setattr(tyro, "cli", cli)
    with pytest.raises(Read):
        run("finetune_on_20_pictures.py", "--steps", "30")
    (recipe,) = asked
    assert (recipe.steps, recipe.image_size, recipe.model) == (30, 128, "sam2.1-hiera-nano")
    assert len(list(Path(recipe.images.source.root, "masks").iterdir())) == 20
