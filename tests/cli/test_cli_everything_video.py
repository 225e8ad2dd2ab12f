"""`sam-jax everything` of videos, with the shipped model on a few small frames."""

import csv
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam_jax.cli import main
from sam_jax.io.video_writer import VideoWriter
from sam_jax.io.videos import open_video
from sam_jax.ops import rle

LOOSE = [
    *("--points-per-side", "6", "--pred-iou-thresh", "0.2", "--stability-score-thresh", "0.4"),
    *("--stability-score-offset", "0.5", "--max-candidates", "64"),
]
FRAMES = 5


@pytest.fixture
def clip(workplace: Path, docs_media: Path) -> str:
    """clip.mp4, some frames of ours, 10 a second."""
    with open_video(docs_media / "clip.mp4") as video, VideoWriter("clip.mp4", 10) as writer:
        for frame in itertools.islice(video, FRAMES):
            writer.write(frame)
    return "clip.mp4"


def everything(*args: str, output: str = "out") -> int:
    return main(["everything", *args, "--output", output])


def listing(folder: str = "out") -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def load_json(path: str) -> Any:
    return json.loads(Path(path).read_text())


def rows(path: str) -> list[tuple[int, int, int]]:
    """Frame, object and area."""
    with open(path, newline="") as file:
        return [(int(r["frame"]), int(r["object"]), int(r["area"])) for r in csv.DictReader(file)]


def test_equal_to_the_tracker_in_a_folder(clip, capsys) -> None:
    import sam_jax

    args = ["--every", "2", "--max-objects", "3", "--retire-after", "1"]
    assert everything(clip, *LOOSE, *args) == 0
    assert listing() == ["masks.json", "objects.json", "overlay.mp4", "scores.csv"]
    generator = sam_jax.AutomaticMaskGenerator(
        sam_jax.load("sam2.1-hiera-nano"),
        points_per_side=6,
        pred_iou_thresh=0.2,
        stability_score_thresh=0.4,
        stability_score_offset=0.5,
        max_candidates=64,
    )
    tracker = sam_jax.EverythingTracker(
        generator, every=2, max_objects=3, retire_after=1, num_frames=FRAMES
    )
    masks = {}
    with open_video(clip) as video, pytest.warns(UserWarning, match="left out"):
        for number, pair in enumerate(video.model_inputs(256)):
            answers = tracker.step(*pair)
            masks |= {(number, obj_id): tracked.mask for obj_id, tracked in answers.items()}
    entries = {(e["frame"], e["object"]): e["segmentation"] for e in load_json("out/masks.json")}
    assert entries.keys() == masks.keys() and len(masks) > FRAMES
    for key, mask in masks.items():
        np.testing.assert_array_equal(rle.decode(entries[key]), mask)
    assert rows("out/scores.csv") == sorted((*key, mask.sum()) for key, mask in masks.items())
    assert load_json("out/objects.json") == [
        {
            "object": i,
            "first_frame": o.first_frame,
            "last_frame": o.last_frame,
            "retired": o.retired,
        }
        for i, o in tracker.objects.items()
    ]
    captured = capsys.readouterr()
    assert f"clip.mp4  {FRAMES} frames" in captured.out and "out/overlay.mp4" in captured.out
    retired = sum(span.retired for span in tracker.objects.values())
    assert f"{len(tracker.objects)} objects, {retired} of them retired  out/objects" in captured.out
    assert "sam-jax: warning: clip.mp4: frame 0: " in captured.err
    assert "are left out: raise max_objects (3)" in captured.err
    assert f"{FRAMES}/{FRAMES}" in captured.err


def test_one_video_with_the_masks_drawn(clip) -> None:
    assert everything(clip, *LOOSE, "--max-objects", "40", output="drawn.mp4") == 0
    names = ["a.png", "clip.mp4", "drawn.csv", "drawn.mp4", "drawn_objects.json"]
    assert listing(".") == names
    areas = {obj_id: area for frame, obj_id, area in rows("drawn.csv") if frame == 0}
    with open_video("drawn.mp4") as drawn, open_video(clip) as video:
        assert drawn.num_frames == FRAMES and drawn.fps == 10
        difference = np.abs(drawn[0].astype(int) - video[0]).max(-1)
    assert len(areas) > 3
    assert (difference > 24).mean() > 0.5 * min(1, sum(areas.values()) / difference.size)


def test_a_folder_of_frames_and_a_picture_for_each(clip) -> None:
    Path("frames").mkdir()
    with open_video(clip) as video:
        for number, frame in enumerate(itertools.islice(video, 2)):
            Image.fromarray(frame).save(f"frames/{number:03d}.png")
    assert everything("frames", *LOOSE, "--format", "palette") == 0
    pictures = ["00000.png", "00001.png"]
    assert listing() == [*pictures, "objects.json", "overlay.mp4", "scores.csv"]
    for number, name in enumerate(pictures):
        with Image.open(f"out/{name}") as picture:
            shown = set(np.unique(np.array(picture))) - {0}
        assert shown <= {i for frame, i, area in rows("out/scores.csv") if frame == number and area}
        assert shown


def test_nothing_in_a_black_clip(workplace, capsys) -> None:
    with VideoWriter("black.mp4", 25) as writer:
        for _ in range(3):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    assert everything("black.mp4", "--points-per-side", "4", "--max-candidates", "64") == 0
    assert load_json("out/objects.json") == [] == load_json("out/masks.json")
    assert rows("out/scores.csv") == []
    with open_video("out/overlay.mp4") as video:
        assert video.num_frames == 3 and video[0].max() < 3
    assert "0 objects, 0 of them retired" in capsys.readouterr().out


def test_ctrl_c_finishes_what_is_done(clip, monkeypatch, capsys) -> None:
    import sam_jax

    step = sam_jax.EverythingTracker.step

    def interrupted(tracker: Any, *args: Any) -> Any:
        if tracker.frame == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(tracker, *args)

    monkeypatch.setattr(sam_jax.EverythingTracker, "step", interrupted)
    assert everything(clip, *LOOSE) == 130
    objects = load_json("out/objects.json")
    assert objects and all(o["first_frame"] == 0 and o["last_frame"] <= 1 for o in objects)
    assert {e["frame"] for e in load_json("out/masks.json")} == {0, 1}
    assert "the frames until then are complete" in capsys.readouterr().err


def test_a_video_that_breaks_off_leaves_what_was_found(clip, capsys) -> None:
    Path("frames").mkdir()
    with open_video(clip) as video:
        Image.fromarray(video[0]).save("frames/0.png")
    Path("frames/1.png").write_bytes(Path("frames/0.png").read_bytes()[:1000])
    assert everything("frames", *LOOSE) == 2
    captured = capsys.readouterr()
    assert "sam-jax: error: frame 1: frames/1.png is damaged" in captured.err
    assert "the 1 frames until then: " in captured.err
    assert {e["frame"] for e in load_json("out/masks.json")} == {0}
    assert len(load_json("out/objects.json")) > 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no.mp4"], "there is no video no.mp4"),
        (["text.mp4"], "text.mp4"),
        (["."], "a.png has no number at the end of its name"),
        (["empty"], "empty holds no JPEG or PNG pictures"),
        (["clip.mp4", "a.png"], "clip.mp4 is a video or a folder of frames, among 2 inputs"),
        (["a.png", "empty"], "empty is a video or a folder of frames, among 2 inputs"),
        (["clip.mp4", "--every", "0"], "every must be a whole number from 1 on, got 0"),
        (["clip.mp4", "--max-objects", "0"], "max_objects must be a whole number from 1 on, got 0"),
        (["clip.mp4", "--retire-after", "0"], "retire_after must be a whole number from 1 on"),
        (["clip.mp4", "--crop-n-layers", "1"], "crop_n_layers is 1: frames of a video are looked"),
        (["clip.mp4", "--png"], "--png is for pictures"),
        (["clip.mp4", "--model", "sam-vit-b"], "sam-vit-base is a SAM 1 model"),
        (["a.png", "--format", "rle"], "--format rle is for a video"),
        (["a.png", "--every", "4"], "--every 4 is for a video, and a.png is a picture"),
        (["a.png", "--max-objects", "4"], "--max-objects 4 is for a video"),
        (["a.png", "--retire-after", "4"], "--retire-after 4 is for a video"),
    ],
)
def test_refused(clip, capsys, args, message) -> None:
    Path("text.mp4").write_text("hello")
    Path("empty").mkdir()
    assert everything(*args) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("sam-jax: error: ") and message in captured.err
    assert not Path("out").exists()


@pytest.mark.parametrize("output", ["clip.mp4", "clip.json", "x.avi"])
def test_bad_outputs(clip, capsys, output) -> None:
    Path("clip_objects.json").write_text("[[0.5, 0.5]]")
    np.savetxt("clip.csv", [[0.5, 0.5]])
    assert everything(clip, "--point-grid", "clip.csv", output=output) == 2
    error = capsys.readouterr().err
    assert "would replace the input" in error or "cannot be written" in error
    assert listing(".") == ["a.png", "clip.csv", "clip.mp4", "clip_objects.json"]


@pytest.mark.parametrize("output", ["x.mp4", "x.json"])
def test_results_of_pictures_are_no_file(workplace, capsys, output) -> None:
    assert everything("a.png", output=output) == 2
    message = f"--output {output} is for a video: of pictures it is a folder, such as x\n"
    assert capsys.readouterr().err.endswith(message)
    assert listing(".") == ["a.png"]


def test_help_teaches_both(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["everything", "--help"])
    text = capsys.readouterr().out
    for part in ("--every", "--max-objects", "--retire-after", "--format", "objects.json"):
        assert part in text
    assert "sam-jax everything clip.mp4" in text and "sam-jax everything truck.jpg" in text
