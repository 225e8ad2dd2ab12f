import itertools
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_jax.io.videos import Video, open_video

FRAMES = np.stack([np.full((6, 8, 3), 10 * i, np.uint8) for i in range(12)])
NOISE = np.random.default_rng(0).integers(0, 256, (5, 24, 40, 3), np.uint8)


def numbers(frames) -> list[int]:
    return [int(frame[0, 0, 0]) // 10 for frame in frames]


def save(folder: Path, names, frames=FRAMES) -> Path:
    folder.mkdir(exist_ok=True)
    for name, frame in zip(names, frames, strict=False):
        Image.fromarray(frame).save(folder / name)
    return folder


@pytest.fixture(params=["array", "list", "folder", "pil"])
def video(request, tmp_path):
    """FRAMES from every kind of source that can be read in any order, besides files."""
    return open_video(
        {
            "array": lambda: FRAMES,
            "list": lambda: list(FRAMES),
            "pil": lambda: tuple(Image.fromarray(frame) for frame in FRAMES),
            "folder": lambda: save(tmp_path / "f", [f"{i}.png" for i in range(12)]),
        }[request.param]()
    )


# --- frames by number ---


def test_what_is_known_of_a_video(video):
    assert (video.height, video.width, video.fps, video.num_frames) == (6, 8, None, 12)
    assert open_video(video) is video


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), range(12)),
        ((3,), range(3, 12)),
        ((3, 7), range(3, 7)),
        ((1, None, 4), [1, 5, 9]),
        ((None, None, -1), range(11, -1, -1)),
        ((5, None, -2), [5, 3, 1]),
        ((5, 1, -2), [5, 3]),
        ((0, None, -1), [0]),
        ((4, 4), []),
        ((2, 12), range(2, 12)),
    ],
)
def test_ranges_of_frames(video, arguments, expected):
    assert numbers(video.frames(*arguments)) == list(expected)


def test_any_frame_by_its_number(video):
    assert [numbers([video[i]])[0] for i in (11, 0, 4, 4)] == [11, 0, 4, 4]
    assert numbers(video) == list(range(12))
    with video as same:
        assert same is video


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda v: v[12], "frame 12 is out of range: .* has 12 frames, so frame is at most 11"),
        (lambda v: v[-1], "frame -1 is out of range: frames are counted from 0"),
        (lambda v: v.model_input(99, 4), "frame 99 is out of range"),
        (lambda v: v.frames(12), "start 12 is out of range: .* at most 11"),
        (lambda v: v.frames(-3), "start -3 is out of range"),
        (lambda v: v.frames(0, 13), "stop 13 is out of range: .* has 12 frames, .* at most 12"),
        (lambda v: v.frames(5, -1, -1), "stop -1 is out of range"),
        (lambda v: v.model_inputs(4, start=12), "start 12 is out of range"),
        (lambda v: v.frames(0, 5, 0), "step must not be 0"),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(video, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(video)


# --- what the model sees ---


def test_pictures_are_resized_as_the_official_loader_does(tmp_path):
    folder = save(tmp_path, [f"{i:05}.jpg" for i in range(3)], NOISE)
    video = open_video(folder)
    for i, (pixels, square) in enumerate(video.model_inputs(32)):
        with Image.open(folder / f"{i:05}.jpg") as picture:
            expected = np.array(picture.convert("RGB").resize((32, 32)))
            np.testing.assert_array_equal(pixels, np.array(picture))
        np.testing.assert_array_equal(square, expected)
        np.testing.assert_array_equal(video.model_input(i, 32), expected)
        np.testing.assert_array_equal(Video.to_model_input(pixels, 32), expected)
    assert square.dtype == np.uint8


def test_model_inputs_go_with_their_frames():
    pairs = list(open_video(NOISE).model_inputs(16, start=4, stop=1, step=-2))
    assert len(pairs) == 2
    for i, (pixels, square) in zip((4, 2), pairs, strict=True):
        np.testing.assert_array_equal(pixels, NOISE[i])
        np.testing.assert_array_equal(square, Video.to_model_input(NOISE[i], 16))


def test_to_model_input_refuses_what_is_not_uint8():
    with pytest.raises(ValueError, match=r"uint8 in 0\.\.255, got float64"):
        Video.to_model_input(NOISE[0] / 255, 16)


# --- folders ---


@pytest.mark.parametrize(
    "names",
    [
        [f"{i}.png" for i in range(12)],  # as text, 10 would come before 2
        [f"{i:03}.PNG" for i in range(12)],
        [f"frame_{i}.png" for i in range(12)],
        [f"v1-{7 * i}.png" for i in range(12)],
        [f"{i}.{'jpg' if i % 2 else 'png'}" for i in range(12)],
    ],
)
def test_pictures_are_sorted_by_number(tmp_path, names):
    save(tmp_path, names)
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / "._0.png").write_bytes(b"what macOS leaves behind")
    for path in (tmp_path, str(tmp_path)):
        assert numbers(frame + 2 for frame in open_video(path)) == list(range(12))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["00000.png", "cover.png"], r"cover\.png has no number at the end of its name"),
        (["a_1.png", "b_2.png"], r"a_1\.png and b_2\.png are named differently"),
        (["7.png", "007.jpg"], r"007\.jpg and 7\.png are both frame 7; remove one"),
        ([], "holds no JPEG or PNG pictures"),
    ],
)
def test_folders_without_an_order_are_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        open_video(save(tmp_path, names))


def test_a_damaged_picture_is_named_when_it_is_met(tmp_path):
    folder = save(tmp_path, [f"{i}.png" for i in range(12)])
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:50])
    frames = open_video(folder).frames()
    assert numbers(itertools.islice(frames, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"frame 3: .*3\.png (is damaged|cannot be read)"):
        next(frames)


def test_a_change_of_size_is_named_when_it_is_met(tmp_path):
    folder = save(tmp_path, ["0.png", "1.png", "2.png"])
    Image.new("RGB", (8, 7)).save(folder / "1.png")
    message = "frame 1 of .* has 8 x 7 pixels, but frame 0 has 8 x 6; make all frames one size"
    for source in (folder, [FRAMES[0], np.zeros((7, 8, 3), np.uint8)]):
        video = open_video(source)
        frames = video.frames()
        next(frames)
        with pytest.raises(ValueError, match=message):
            next(frames)
        with pytest.raises(ValueError, match=message):
            video[1]


# --- generators ---


def test_a_generator_is_read_as_its_frames_are_asked_for():
    taken = []

    def produce():
        for i, frame in enumerate(FRAMES):
            taken.append(i)
            yield frame if i % 2 else Image.fromarray(frame)

    video = open_video(produce())
    assert taken == [0]
    assert (video.height, video.width, video.fps, video.num_frames) == (6, 8, None, None)
    frames = video.frames(stop=5)
    assert numbers(itertools.islice(frames, 3)) == [0, 1, 2]
    assert taken == [0, 1, 2]
    assert numbers(frames) == [3, 4]
    assert taken == [0, 1, 2, 3, 4]
    assert numbers(video.frames(6, None, 3)) == [6, 9]


def test_memory_does_not_grow_with_the_generator():
    frame_bytes = 200 * 300 * 3
    video = open_video(np.full((200, 300, 3), i, np.uint8) for i in range(200))
    tracemalloc.start()
    try:
        assert sum(1 for _ in video.model_inputs(200)) == 200
        assert tracemalloc.get_traced_memory()[1] < 8 * frame_bytes
    finally:
        tracemalloc.stop()


def test_a_generator_cannot_go_back():
    video = open_video(iter(FRAMES))
    assert numbers(video.frames(0, 4)) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="frame 0 is gone, the next is 4; keep the frames in a"):
        video.frames()
    with pytest.raises(ValueError, match="frame 5 cannot be asked for by its number; iterate"):
        video[5]
    with pytest.raises(ValueError, match="can only be read forwards"):
        video.frames(step=-1)
    with pytest.raises(ValueError, match="can only be read forwards"):
        video.frames(3, 1, -1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (FRAMES[0] / 255, r"frame 2: image must be uint8 in 0\.\.255, got float64"),
        (FRAMES[0, ..., 0], r"frame 2: image must be \[h w 3\], got the greyscale shape"),
        (np.zeros((6, 8, 4), np.uint8), "frame 2: .*drop alpha"),
        (np.zeros((5, 8, 3), np.uint8), "frame 2 of the iterator has 8 x 5 pixels, but frame 0"),
    ],
)
def test_a_bad_frame_of_a_generator_is_numbered(bad, message):
    frames = open_video(iter([FRAMES[0], FRAMES[1], bad])).frames()
    assert numbers(itertools.islice(frames, 2)) == [0, 1]
    with pytest.raises(ValueError, match=message):
        next(frames)


def test_none_is_a_bad_frame_not_the_end():
    frames = open_video(iter([FRAMES[0], None, FRAMES[1]])).frames()
    next(frames)
    with pytest.raises(ValueError, match="frame 1"):
        next(frames)


def test_closing_closes_the_generator():
    closed = threading.Event()

    def produce():
        try:
            yield from FRAMES
        finally:
            closed.set()

    with open_video(produce()) as video:
        frames = video.frames()
        next(frames)
        assert not closed.is_set()
    assert closed.is_set()
    assert list(frames) == []


# --- what is no video ---


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.mp4", FileNotFoundError, r"there is no video nowhere\.mp4"),
        (FRAMES[:0], ValueError, "the array has no frames"),
        ([], ValueError, "the list of frames has no frames"),
        (iter(()), ValueError, "the iterator has no frames"),
        (FRAMES[0], ValueError, r"must be \[t h w 3\], got shape \(6, 8, 3\)"),
        (FRAMES / 255, ValueError, r"frame 0: image must be uint8 in 0\.\.255, got float64"),
        (Image.new("RGB", (3, 3)), ValueError, "one image is not a video"),
        (2.5, ValueError, "a video is a path, camera number, array or iterator; got float"),
        (True, ValueError, "a video is a path, .*; got True"),
        (977, FileNotFoundError, "there is no camera at /dev/video977"),
        ("/dev/video977", FileNotFoundError, "there is no camera at /dev/video977"),
    ],
)
def test_what_is_no_video_is_refused(source, error, message):
    with pytest.raises(error, match=message):
        open_video(source)


# --- cameras ---


@pytest.mark.parametrize("source", [3, "/dev/video3"])
def test_a_camera_streams(tmp_path, monkeypatch, make_clip, source):
    import av

    clip = make_clip(tmp_path / "a.mp4", FRAMES.repeat(4, 1).repeat(4, 2))
    really_open = av.open

    def open_camera(device, *, format):
        assert (device, format) == ("/dev/video3", "v4l2")
        return really_open(str(clip))

    monkeypatch.setattr(av, "open", open_camera)
    with open_video(source) as video:
        assert (video.height, video.width, video.fps, video.num_frames) == (24, 32, 25.0, None)
        frames = video.frames()
        assert numbers(frame + 5 for frame in itertools.islice(frames, 4)) == [0, 1, 2, 3]
    assert list(frames) == []
