"""`python -m train.evaluate`, what it writes and refuses, and what the training loop asks for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import train.evaluate.__main__ as command
from train.config import Evaluation, Source
from train.evaluate import evaluate
from train.evaluate.folders import write_frame
from train.evaluate.held_out import held_out
from train.evaluate.jf import score_objects
from train.evaluate.vos import VosOptions, vos_predictor, vos_video


@pytest.fixture
def dataset(tmp_path: Path, two_boxes: Any) -> Callable[[Any], Path]:
    """`dataset("davis" or "sav")`: a folder as these are published, of one video."""

    def make(layout: Any) -> Path:
        frames = tmp_path / "data" / "JPEGImages" / "two"
        frames.mkdir(parents=True)
        empty = np.zeros((two_boxes.height, two_boxes.width), bool)
        for t in range(len(two_boxes)):
            Image.fromarray(two_boxes.image(t)).save(frames / f"{t:05d}.jpg", quality=95)
            masks = {1: empty, 2: empty} | two_boxes.masks(t)
            if layout == "sav" and t == 0:
                masks.pop(2)  # its own first annotated frame is the second of the video
            folder = tmp_path / "data" / "Annotations" / "two"
            write_frame(folder, f"{t:05d}", masks, layout=layout)
        return tmp_path / "data"

    return make


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, small_tracker: Callable[..., Any]) -> None:
    monkeypatch.setattr(command, "load", lambda name: small_tracker())


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("layout", ["davis", "sav"])
def test_predictions_score_again_from_their_files(
    dataset: Callable, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture
) -> None:
    root, out = dataset(layout), tmp_path / "out"
    options = ["--source.root", str(root), "--track-appearing-later", "--output", str(out)]
    if layout == "sav":
        options.append("--per-object-png")
    command.main(["small", "vos", "--source.kind", "davis", *options])
    first = json.loads((out / "results.json").read_text())
    assert {row["object"] for row in first["objects"]} == {1, 2}
    assert first["settings"]["protocol"] == "vos" and first["skipped"] == []
    assert "J&F" in capsys.readouterr().out

    folders = ["--truth", str(root / "Annotations"), "--predictions", str(out / "masks")]
    command.main(["score", *folders, "--output", str(tmp_path / "again")])
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    assert again["objects"] == first["objects"]
    assert {name: first["scores"][name] for name in again["scores"]} == again["scores"]


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("protocol", ["clicks", "interactive"])
def test_protocols_run_on_the_synthetic_world(
    protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["--samples", "1", "--frames", "3", "--objects", "1", "--output", str(tmp_path)]
    command.main(["small", protocol, "--source.kind", "synthetic", *arguments])
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["objects"]) <= 1
    assert all(0 <= value <= 1 for value in results["scores"].values())
    assert next(iter(results["scores"])) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small"], "'' is no protocol; there are clicks, text, vos, interactive"),
        (["small", "voss"], "Did you mean vos"),
        (["score", "--truth", "nowhere", "--predictions", "."], "nowhere is missing"),
        (["nosuchmodel", "vos"], "nosuchmodel"),
    ],
)
def test_mistakes_are_answered_in_a_line(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert message in str(stopped.value)


def test_options_that_disagree_are_refused(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        command.main(["small", "vos", "--start", "box", "--use-all-masks"])
    assert "start is box, not mask" in capsys.readouterr().err


@pytest.mark.usefixtures("loaded")
def test_a_source_without_its_folder_is_refused() -> None:
    with pytest.raises(SystemExit, match="davis needs its folder"):
        command.main(["small", "vos", "--source.kind", "davis"])


def test_help_teaches(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*command.PROTOCOLS, "score", "--source.kind davis"))
    with pytest.raises(SystemExit):
        command.main(["small", "vos", "--help"])
    assert "--track-appearing-later" in capsys.readouterr().out


def test_training_measures_pictures_and_clips(
    small_tracker: Callable[..., Any], capfd: pytest.CaptureFixture
) -> None:
    synthetic = Source(kind="synthetic")
    evaluation = Evaluation(images=synthetic, videos=synthetic, samples=2, frames=4, objects=2)
    scores = evaluate(small_tracker(), evaluation)
    assert {"images/mIoU, 1 click", "videos/J&F", "videos/object score right"} <= scores.keys()
    assert all(0 <= value <= 1 for value in scores.values())
    assert evaluate(small_tracker(), Evaluation()) == {}
    assert capfd.readouterr().out == ""


def test_nothing_to_measure_is_an_error(
    small_tracker: Callable[..., Any], dataset: Callable
) -> None:
    source = Source(kind="davis", root=str(dataset("davis")))
    with pytest.raises(ValueError, match=r"nothing could be measured in davis .*fewer than 3"):
        evaluate(small_tracker(), Evaluation(videos=source, frames=2))


@pytest.mark.parametrize("wrong", ["samples", "frames"])
def test_negative_numbers_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{wrong} must be 0, for all, or more; got -1"):
        held_out(Source(kind="synthetic"), 32, **({"samples": 1, "frames": 1} | {wrong: -1}))


def test_excerpts_count_frames_at_the_stride(dataset: Callable) -> None:
    source = Source(kind="davis", root=str(dataset("davis")), stride=2)
    (video,) = held_out(source, 96, samples=5, frames=2)
    assert [video.frame_name(t) for t in range(len(video))] == ["00000", "00002"]
    assert [*video.annotated] == [0, 1] and video.masks(1).keys() == {1, 2}


def test_ends_are_those_of_each_object_where_each_has_a_folder(
    dataset: Callable, small_tracker: Callable[..., Any], two_boxes: Any
) -> None:
    (video,) = held_out(Source(kind="davis", root=str(dataset("sav"))), 96, samples=0, frames=0)
    options = VosOptions(per_object_png=True)
    scores = vos_video(vos_predictor(small_tracker(), options), video, options).scores
    # Object 2 is never tracked; of its frames 1 to 4, frames 2 and 3 count: missed, and absent.
    nothing = [({}, two_boxes.masks(t)) for t in (2, 3)]
    assert scores[2] == score_objects(nothing)[2]
    assert scores[2].j == 0.5
