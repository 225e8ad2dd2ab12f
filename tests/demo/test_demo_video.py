"""The editor of the video page, with the model that ships on frames of the bundled clip."""

import io
import itertools
import json
import shutil
import zipfile
from collections.abc import Callable, Generator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import jax
import numpy as np
import pytest
from PIL import Image

import sam_jax
from sam_jax.demo import video_upload
from sam_jax.demo.video import TrackedVideo
from sam_jax.demo.video_export import write_coco, write_overlay, write_pngs
from sam_jax.demo.video_things import Found, Prompt, Thing, routes
from sam_jax.demo.video_upload import open_upload
from sam_jax.demo.video_warm import tracking_steps
from sam_jax.io.videos import open_video
from sam_jax.ops import rle
from sam_jax.types import Model

FRAMES = 5
BOX = Prompt(box=(105.0, 27.0, 199.0, 100.0))  # around the thing that `make demo` follows
CLICK = Prompt(points=((60.0, 60.0),), labels=(1,))


@pytest.fixture(scope="module")
def nano() -> Model:
    return sam_jax.load("sam2.1-hiera-nano")


@pytest.fixture(scope="module")
def few(beginning: Callable[[int], Path]) -> Path:
    return beginning(FRAMES)


@pytest.fixture
def work(nano: Model, few: Path) -> Generator[TrackedVideo]:
    work = TrackedVideo(nano, open_upload(few, "few.mp4"))
    yield work
    work.close()


def visited(steps) -> list[int]:
    return [step.frame for step in steps]


def codes(work: TrackedVideo, number: int) -> dict[int, str]:
    return {f: one.code["counts"] for f, one in sorted(work.things[number].found.items())}


# Prompts


def test_prompt_answers_with_a_mask_and_scores(work: TrackedVideo) -> None:
    found = work.prompt(0, 1, BOX)
    assert found is not None
    mask = rle.decode(found.code)
    assert mask.shape == work.size == (256, 256)
    assert mask[27:100, 105:199].sum() > 0.8 * mask.sum() > 500
    assert 0 < found.iou <= 1 and found.object_logit > 0
    assert list(work.things) == [1] and work.things[1].prompts == {0: BOX}


def test_prompt_of_fewer_clicks_is_as_if_the_others_never_were(work: TrackedVideo) -> None:
    once = work.prompt(0, 1, CLICK)
    twice = work.prompt(0, 1, Prompt(((60.0, 60.0), (90.0, 60.0)), (1, 0)))
    again = work.prompt(0, 1, CLICK)
    assert once.code != twice.code
    assert (again.code, again.iou) == (once.code, once.iou)


def test_a_mask_is_a_prompt_and_clicks_refine_it(work: TrackedVideo, nano: Model) -> None:
    mask = np.zeros((128, 128), bool)  # half of the frame's size, as the page has it of large ones
    mask[18:48, 55:97] = True
    given = Prompt(mask=rle.encode(mask))
    more = replace(given, points=((120.0, 35.0),), labels=(0,))
    predictor = sam_jax.VideoPredictor(nano)
    state = predictor.init_state(work.video)
    _, _, once = predictor.add_new_mask(state, 0, 1, mask)
    _, _, twice = predictor.add_new_points_or_box(state, 0, 1, [[120, 35]], [0])
    for asked, logits in ((given, once), (more, twice), (given, once)):
        found = work.prompt(0, 1, asked)
        np.testing.assert_array_equal(rle.decode(found.code), logits[0, 0] > 0)
    assert (once > 0).sum() != (twice > 0).sum()
    assert work.prompt(0, 1, given) is work.things[1].found[0]  # the same again changes nothing
    work.prompt(0, 1, more)
    assert work.prompt(0, 1, BOX).code != work.prompt(0, 1, Prompt(text="purple square")).code
    assert work.prompt(0, 1, Prompt()) is None and not work.things


def test_words_are_the_mask_that_the_picture_predictor_finds(
    work: TrackedVideo, nano: Model
) -> None:
    asked = Prompt(text="purple square")
    found = work.prompt(0, 1, asked)
    predictor = sam_jax.ImagePredictor(nano)
    predictor.set_image(work.video[0])
    masks, ious, _ = predictor.predict(text="purple square")
    best = masks[ious.argmax()] > 0
    assert found.iou == pytest.approx(ious.max(), abs=1e-3)
    both = rle.decode(found.code).astype(bool)
    assert (both & best).sum() / (both | best).sum() > 0.95  # the tracker fills holes
    assert best[27:100, 105:199].sum() > 0.9 * best.sum()
    for text, told in (("zebra", "'zebra', which is none"), ("cup", "on this frame is called")):
        with pytest.raises(ValueError, match=told):
            work.prompt(0, 1, Prompt(text=text))
        assert work.things[1].prompts == {0: asked} and work.things[1].found == {0: found}


def test_prompt_of_nothing_forgets_the_frame_and_then_the_object(work: TrackedVideo) -> None:
    work.prompt(0, 1, BOX)
    work.prompt(3, 1, CLICK)
    assert work.prompt(3, 1, Prompt()) is None
    assert list(work.things[1].prompts) == list(work.things[1].found) == [0]
    assert work.prompt(0, 1, Prompt()) is None
    assert not work.things
    assert work.prompt(0, 1, Prompt()) is None  # nothing to take back


def test_prompt_taken_back_after_tracking_leaves_the_tracked_mask(work: TrackedVideo) -> None:
    work.prompt(0, 1, BOX)
    list(work.track(0, "forward"))
    tracked = work.things[1].found[2]
    assert work.prompt(2, 1, CLICK).code != tracked.code
    assert work.prompt(2, 1, Prompt()).code == tracked.code
    assert list(work.things[1].prompts) == [0]


@pytest.mark.parametrize(
    ("frame", "number", "asked", "message"),
    [
        (FRAMES, 1, CLICK, f"frame_idx {FRAMES} is not in the video"),
        (0, 0, CLICK, "numbered from 1, got 0"),
        (0, 1, Prompt(((300.0, 5.0),), (1,)), r"\(300, 5\) is outside of the frame of 256 x 256"),
        (0, 1, Prompt(box=(0.0, 0.0, 5.0, float("nan"))), "outside of the frame"),
        (0, 1, Prompt(((5.0, 5.0),) * 32, (1,) * 32), "32 clicks are too many"),
        (0, 1, Prompt(box=(9.0, 2.0, 5.0, 8.0)), r"\[9, 2, 5, 8\] is empty or inverted"),
    ],
)
def test_prompt_refusals(work: TrackedVideo, frame, number, asked, message) -> None:
    with pytest.raises(ValueError, match=message):
        work.prompt(frame, number, asked)
    assert not work.things


def test_a_refused_prompt_leaves_the_one_before(work: TrackedVideo) -> None:
    found = work.prompt(0, 1, BOX)
    with pytest.raises(ValueError, match="inverted"):
        work.prompt(0, 1, Prompt(box=(9.0, 2.0, 5.0, 8.0)))
    assert work.things[1].found == {0: found} and work.things[1].prompts == {0: BOX}
    assert len(list(work.track(0, "forward"))) == FRAMES


def test_refusal_of_too_many_objects_and_prompted_frames(work: TrackedVideo) -> None:
    work.things = {number: Thing() for number in range(1, 9)}
    with pytest.raises(ValueError, match="there are 8 objects, which is the most"):
        work.prompt(0, 9, CLICK)
    work.things = {1: Thing(prompts=dict.fromkeys(range(100, 132), CLICK))}
    with pytest.raises(ValueError, match="prompted on 32 frames, which is the most"):
        work.prompt(0, 1, CLICK)
    work.things = {}


# Tracking


def test_tracking_of_two_objects_counts_and_files_every_frame(work: TrackedVideo) -> None:
    work.prompt(0, 1, BOX)
    work.prompt(0, 2, CLICK)
    steps = list(work.track(0, "forward"))
    assert visited(steps) == list(range(FRAMES))
    assert [(step.done, step.total) for step in steps] == [(i, 5) for i in range(1, 6)]
    assert all(list(step.found) == [1, 2] for step in steps)
    assert codes(work, 1) == {step.frame: step.found[1].code["counts"] for step in steps}
    assert len(set(codes(work, 1).values())) == FRAMES  # it moves


def test_tracking_is_what_the_predictor_gives(work: TrackedVideo, nano: Model) -> None:
    work.prompt(0, 1, BOX)
    list(work.track(0, "forward"))
    predictor = sam_jax.VideoPredictor(nano)
    state = predictor.init_state(np.stack(list(work.video.frames())))
    state.video = work.video
    predictor.add_new_points_or_box(state, 0, 1, box=BOX.box)
    for frame, _, logits in predictor.propagate_in_video(state):
        assert work.things[1].found[frame].code == rle.encode(logits[0, 0] > 0)


def test_stopped_tracking_keeps_what_was_found_and_goes_on(work: TrackedVideo) -> None:
    work.prompt(0, 1, BOX)
    list(work.track(0, "forward"))
    whole = codes(work, 1)
    work.remove(1)
    work.prompt(0, 1, BOX)
    steps = work.track(0, "forward")
    assert visited(itertools.islice(steps, 3)) == [0, 1, 2]
    steps.close()
    assert list(work.things[1].found) == [0, 1, 2]
    assert visited(work.track(2, "forward")) == [2, 3, 4]
    assert codes(work, 1) == whole


def test_both_directions_visit_every_frame_once(work: TrackedVideo) -> None:
    work.prompt(2, 1, BOX)
    steps = list(work.track(4, "both"))
    assert visited(steps) == [2, 3, 4, 1, 0]
    assert [(step.done, step.total) for step in steps] == [(i, 5) for i in range(1, 6)]


def test_correction_replaces_what_comes_after_it(work: TrackedVideo) -> None:
    work.prompt(0, 1, BOX)
    list(work.track(0, "forward"))
    before = codes(work, 1)
    assert not any(work.things[1].outdated(frame) for frame in range(FRAMES))
    work.prompt(2, 1, CLICK)
    assert [work.things[1].outdated(f) for f in range(FRAMES)] == [False, True, False, True, True]
    assert visited(work.track(2, "forward")) == [2, 3, 4]
    after = codes(work, 1)
    assert [after[f] == before[f] for f in range(FRAMES)] == [True, True, False, False, False]
    assert [work.things[1].outdated(f) for f in range(FRAMES)] == [False, True, False, False, False]


def test_removed_object_is_no_longer_tracked(work: TrackedVideo) -> None:
    work.prompt(0, 1, BOX)
    work.prompt(0, 2, CLICK)
    work.remove(1)
    assert [list(step.found) for step in work.track(0, "forward")] == [[2]] * FRAMES
    with pytest.raises(ValueError, match="no object 1 to remove"):
        work.remove(1)


def test_tracking_refusals(work: TrackedVideo) -> None:
    with pytest.raises(ValueError, match="nothing to track: click on an object first"):
        work.track(0, "forward")
    work.prompt(0, 1, BOX)
    with pytest.raises(ValueError, match="frame_idx 9 is not in the video"):
        work.track(9, "forward")
    with pytest.raises(ValueError, match="nothing before the first frame"):
        work.track(0, "backward")


def test_history_is_limited(work: TrackedVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_jax.demo.video.HISTORY_BYTES", 0)
    work.prompt(0, 1, BOX)
    work.track(0, "forward")
    assert work._predictor.max_history == 16  # what the next frame looks back at


def test_compile_nothing_after_the_warm_up(nano: Model, work: TrackedVideo) -> None:
    jax.clear_caches()
    for step in tracking_steps(nano):
        step()
    compiled: list[str] = []

    def listen(event: str, *_: object, **__: object) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        work.prompt(0, 1, CLICK)
        list(work.track(0, "forward"))
        work.prompt(3, 1, CLICK)
        list(work.track(3, "both"))
        work.prompt(0, 1, Prompt(mask=rle.encode(np.ones((9, 9), bool))))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled


def found(*versions_by_frame: tuple[int, int]) -> dict[int, Found]:
    return {frame: Found({}, 1.0, 1.0, version) for frame, version in versions_by_frame}


def test_routes_leave_no_frame_out() -> None:
    fresh = Thing({3: CLICK}, found((3, 1)), 1)
    assert routes([fresh], 7, 10, "forward") == [range(3, 10)]
    assert routes([fresh], 1, 10, "forward") == [range(3, 10)]
    assert routes([fresh], 7, 10, "backward") == [range(3, -1, -1)]
    assert routes([fresh], 7, 10, "both") == [range(3, 10), range(3, -1, -1)]
    tracked = Thing({0: CLICK}, found(*((f, 1) for f in range(6))), 1)
    assert routes([tracked], 4, 10, "forward") == [range(4, 10)]
    assert routes([tracked], 9, 10, "forward") == [range(5, 10)]
    assert routes([tracked, fresh], 5, 10, "forward") == [range(3, 10)]
    corrected = Thing({0: CLICK, 2: CLICK}, found((0, 1), (1, 1), (2, 2), (3, 1)), 2)
    assert routes([corrected], 3, 10, "forward") == [range(2, 10)]
    assert routes([Thing({0: CLICK}, found((0, 1)), 1)], 0, 10, "both") == [range(0, 10)]


# Files


def test_overlay_plays_and_shows_the_mask(work: TrackedVideo, tmp_path: Path) -> None:
    work.prompt(0, 1, BOX)
    list(work.track(0, "forward"))
    write_overlay(work, tmp_path / "overlay.mp4", {}, lambda: False)
    with open_video(tmp_path / "overlay.mp4") as drawn:
        assert drawn.num_frames == FRAMES and drawn.fps == 12
        for frame, pixels in enumerate(drawn):
            mask = work.masks(frame).masks[0]
            change = abs(pixels.astype(int) - work.video[frame]).mean(-1)
            assert change[mask].mean() > 5 * change[~mask].mean()


def test_pngs_and_coco_hold_the_masks(work: TrackedVideo, tmp_path: Path) -> None:
    work.prompt(0, 1, BOX)
    work.prompt(0, 2, CLICK)
    for _ in itertools.islice(work.track(0, "forward"), 2):
        pass
    work.things[2].found[1] = Found(rle.encode(np.zeros((256, 256), bool)), 0.1, -3.0, 1)
    write_pngs(work, tmp_path / "masks.zip", lambda: False)
    write_coco(work, tmp_path / "coco.json", {1: "cup"})
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        pngs = {
            name: np.asarray(Image.open(io.BytesIO(archive.read(name))))
            for name in archive.namelist()
        }
    assert sorted(pngs) == ["001/00000.png", "001/00001.png", "002/00000.png", "002/00001.png"]
    data = json.loads((tmp_path / "coco.json").read_text())
    assert len(data["images"]) == FRAMES
    assert data["categories"] == [{"id": 1, "name": "cup"}, {"id": 2, "name": "object 2"}]
    entries = {(a["track_id"], a["image_id"] - 1): a for a in data["annotations"]}
    assert list(entries) == [(1, 0), (2, 0), (1, 1)]  # object 2 is out of sight on frame 1
    for (number, frame), entry in entries.items():
        mask = rle.decode(entry["segmentation"])
        np.testing.assert_array_equal(pngs[f"{number:03d}/{frame:05d}.png"], 255 * mask)
        assert entry["area"] == mask.sum()
    assert not pngs["002/00001.png"].any()


def test_export_stops_when_asked(work: TrackedVideo, tmp_path: Path) -> None:
    write_overlay(work, tmp_path / "overlay.mp4", {}, lambda: True)
    with open_video(tmp_path / "overlay.mp4") as drawn:
        assert drawn.num_frames == 1


# Uploads


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"ffconcat version 1.0\nfile few.mp4\n", b"#EXTM3U\nfew.mp4\n"]
)
def test_upload_of_another_kind(few: Path, tmp_path: Path, data: bytes) -> None:
    shutil.copy(few, tmp_path / "few.mp4")
    (tmp_path / "upload").write_bytes(data)
    with pytest.raises(ValueError, match="no video of a kind that is taken: mp4, mov, mkv"):
        open_upload(tmp_path / "upload", "clip.mp4")


@pytest.mark.parametrize(
    ("share", "message"), [(0.02, "its end is missing"), (0.2, "no frames that can be decoded")]
)
def test_upload_that_breaks_off(few: Path, tmp_path: Path, share: float, message: str) -> None:
    data = few.read_bytes()
    (tmp_path / "upload").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=message):
        open_upload(tmp_path / "upload", "clip.mp4")


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_FRAMES", FRAMES - 1, "has 5 frames, at most 4 are taken: cut or shrink it first"),
        ("MAX_PIXELS", 65535, "have 256 x 256 = 65,536 pixels, at most 65,535 are taken: cut or"),
    ],
)
def test_upload_of_too_much(few: Path, monkeypatch, limit: str, value: int, message: str) -> None:
    open_upload(few, "few.mp4").close()
    monkeypatch.setattr(video_upload, limit, value)
    with pytest.raises(ValueError, match=message):
        open_upload(few, "few.mp4")


def test_a_large_frame_behind_small_ones_is_not_decoded(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "grows.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, size in enumerate([(64, 48), (64, 48), (640, 480)]):
            picture = io.BytesIO()
            Image.new("RGB", size).save(picture, "JPEG")
            packet = av.Packet(picture.getvalue())
            packet.stream, packet.pts, packet.dts = stream, 100 * number, 100 * number
            packet.time_base = Fraction(1, 1000)
            file.mux(packet)
    with open_upload(path, "grows.mkv") as video, pytest.raises(ValueError, match="640 x 480"):
        video[2]
    monkeypatch.setattr(video_upload, "MAX_PIXELS", 64 * 48)
    with open_upload(path, "grows.mkv") as video:
        assert video[1].shape == (48, 64, 3)
        with pytest.raises(ValueError, match=r"grows.mkv is damaged after 2 frames"):
            video[2]
