import itertools
import random
import struct
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_jax.io import video_file
from sam_jax.io.videos import open_video

COUNT = 50


def grey(i: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame that says its number by its brightness; 4 levels apart survive the coding."""
    return np.full((height, width, 3), 20 + 4 * i, np.uint8)


def number(frame: np.ndarray) -> int:
    return round((float(frame.mean()) - 20) / 4)


def numbers(frames) -> list[int]:
    return [number(frame) for frame in frames]


GREYS = [grey(i) for i in range(COUNT)]
# Every way in which a file may lay out and time its frames; all but the last two with B frames.
KINDS = {
    "mp4": {"suffix": "mp4"},
    "one keyframe": {"suffix": "mp4", "gop": 999},
    "variable rate": {"suffix": "mp4", "times": lambda i: 7 + i + i * i // 9},
    "mkv, variable": {"suffix": "mkv", "times": lambda i: 7 + i + i * i // 9},
    "transport stream": {"suffix": "ts"},
    "open gop": {"suffix": "ts", "codec": "libx265", "encoder": {"x265-params": "log-level=none"}},
    "avi": {"suffix": "avi"},
    "raw": {"suffix": "h264"},
    "mpeg4": {"suffix": "mp4", "codec": "mpeg4", "encoder": {"qmin": "1", "qmax": "2", "b": "8M"}},
    "vp8": {"suffix": "webm", "codec": "libvpx", "b_frames": 0, "encoder": {"b": "4M"}},
    "keyframes only": {"suffix": "mp4", "gop": 1, "b_frames": 0},
}


@pytest.fixture(scope="module", params=KINDS)
def clip(request, make_clip, tmp_path_factory):
    options = dict(KINDS[request.param])
    path = tmp_path_factory.mktemp("clip") / f"a.{options.pop('suffix')}"
    return make_clip(path, GREYS, **options)


@pytest.fixture(scope="module")
def mp4(make_clip, tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", GREYS)


# --- frames by number, whatever the layout ---


def test_forwards(clip):
    with open_video(clip) as video:
        assert (video.height, video.width) == (48, 64)
        assert numbers(video) == list(range(COUNT))
        assert video.num_frames == COUNT


def test_every_number_in_random_order(clip):
    order = list(range(COUNT)) * 2
    random.Random(0).shuffle(order)
    with open_video(clip) as video:
        assert numbers(video[i] for i in order) == order


@pytest.mark.parametrize("room", [None, 5 * 2 * 48 * 64])  # bytes: all frames, five frames
def test_ranges(clip, monkeypatch, room):
    if room is not None:
        monkeypatch.setattr(video_file, "BLOCK_BYTES", room)
    with open_video(clip) as video:
        assert numbers(video.frames(step=-1)) == list(range(COUNT - 1, -1, -1))
        assert numbers(video.frames(45, 2, -3)) == list(range(45, 2, -3))
        assert numbers(video.frames(0, None, -1)) == [0]
        assert numbers(video.frames(13, 31)) == list(range(13, 31))
        assert numbers(video.frames(30)) == list(range(30, COUNT))
        assert numbers(video.frames(1, None, 24)) == [1, 25, 49]
        assert numbers(video.frames(4, COUNT, 7)) == list(range(4, COUNT, 7))


def test_seeking_starts_at_a_keyframe_nearby(mp4, monkeypatch):
    video = open_video(mp4)
    decoded = []
    from sam_jax.io.video_cursor import Cursor

    really_advance = Cursor.advance

    def advance(cursor):
        decoded.append(cursor.position)
        return really_advance(cursor)

    monkeypatch.setattr(Cursor, "advance", advance)
    assert number(video[47]) == 47
    assert decoded[0] == 36  # keyframes are 12 apart
    decoded.clear()
    assert numbers([video[48], video[48], video.model_input(48, 32)]) == [48] * 3
    assert decoded == [48]  # on from where it was; the same again for nothing


def test_fps_is_the_average(mp4, make_clip, tmp_path):
    assert open_video(mp4).fps == 25
    slower = make_clip(tmp_path / "a.mp4", GREYS, times=lambda i: 2 * i + i % 2)
    assert open_video(slower).fps == pytest.approx(12.5, rel=0.02)


def test_what_players_hide_does_not_count(make_clip, tmp_path):
    """Editors cut the beginning off by a note in the header; the frames are still in the file."""
    path = tmp_path / "a.mp4"
    make_clip(path, GREYS, times=lambda i: i - 5, avoid_negative_ts="disabled")
    with open_video(path) as video:
        assert numbers(video) == list(range(5, COUNT))
        assert video.num_frames == COUNT - 5
        assert [number(video[i]) for i in (44, 0, 20, 7)] == [49, 5, 25, 12]


def test_iterations_do_not_disturb_each_other(mp4):
    with open_video(mp4) as video:
        first, second = video.frames(), video.frames(step=-1)
        for i in range(20):
            assert (number(next(first)), number(next(second))) == (i, COUNT - 1 - i)
            assert number(video[2 * i]) == 2 * i
    assert numbers(first) == list(range(20, COUNT))
    with pytest.raises(ValueError, match=r"a\.mp4 is closed; open it again"):
        video[0]


def test_bytes_are_a_video_too(mp4):
    video = open_video(mp4.read_bytes())
    assert numbers(video) == list(range(COUNT))
    assert number(video[33]) == 33
    with pytest.raises(ValueError, match="frame 50 is out of range: the video in memory has 50 fr"):
        video[50]


def test_numbers_out_of_range(mp4):
    video = open_video(mp4)
    for ask in (lambda: video[COUNT], lambda: video.frames(COUNT), lambda: video.frames(0, 51)):
        with pytest.raises(ValueError, match=r"is out of range: .*a\.mp4 has 50 frames"):
            ask()


def test_memory_does_not_grow_with_the_file(make_clip, tmp_path):
    path = make_clip(tmp_path / "a.mp4", (grey(i % 50, 240, 320) for i in range(150)))
    video = open_video(path)
    tracemalloc.start()
    try:
        assert sum(1 for _ in video.model_inputs(64)) == 150
        assert sum(1 for _ in video.frames(step=-1)) == 150
        assert tracemalloc.get_traced_memory()[1] < 10 * 240 * 320 * 3
    finally:
        tracemalloc.stop()


def test_what_the_caller_draws_is_not_kept(make_clip, tmp_path):
    path = make_clip(tmp_path / "a.mov", GREYS[:3], codec="png", pixel_format="rgb24", b_frames=0)
    video = open_video(path)
    video[1][:] = 0
    assert number(video[1]) == 1


# --- turned pictures ---

QUARTERS = np.zeros((48, 64, 3), np.uint8)
QUARTERS[:24, :32], QUARTERS[:24, 32:], QUARTERS[24:, :32] = 240, 160, 80
TURNS = {  # display matrix a b c d, offsets, and what a viewer shows
    "quarter clockwise": ((0, 1, -1, 0, 48, 0), lambda p: np.rot90(p, -1)),
    "half": ((-1, 0, 0, -1, 64, 48), lambda p: np.rot90(p, 2)),
    "quarter back": ((0, -1, 1, 0, 0, 64), lambda p: np.rot90(p, 1)),
    "mirrored": ((-1, 0, 0, 1, 64, 0), np.fliplr),
    "transposed": ((0, 1, 1, 0, 0, 0), lambda p: p.swapaxes(0, 1)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_rotation_metadata_is_applied(make_clip, tmp_path, turn):
    (a, b, c, d, x, y), show = TURNS[turn]
    path = make_clip(tmp_path / "a.mp4", [QUARTERS] * 5)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # the matrix of the track header
    one = 1 << 16
    assert struct.unpack_from(">9i", data, at) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    matrix = (a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, 1 << 30)
    struct.pack_into(">9i", data, at, *matrix)
    path.write_bytes(data)
    expected = show(QUARTERS).astype(int)
    video = open_video(path)
    assert (video.height, video.width) == expected.shape[:2]
    assert np.median(abs(video[3] - expected)) <= 2  # ringing at the edges
    square = np.array(Image.fromarray(expected.astype(np.uint8)).resize((32, 32)), int)
    assert np.median(abs(video.model_input(3, 32) - square)) <= 2


# --- what is no video, or not a whole one ---


def test_empty_and_other_files_are_refused(tmp_path):
    path = tmp_path / "a.mp4"
    path.touch()
    with pytest.raises(ValueError, match=r"a\.mp4 is empty \(0 bytes\)"):
        open_video(path)
    path.write_text("This is a shopping list.\n" * 50)
    with pytest.raises(ValueError, match=r"a\.mp4 is not a video that FFmpeg can read"):
        open_video(path)
    Image.new("RGB", (20, 20)).save(tmp_path / "7.png")
    with pytest.raises(ValueError, match=r"7\.png is one picture, not a video; give the folder"):
        open_video(tmp_path / "7.png")


def test_sound_is_no_video(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(4000))
    with pytest.raises(ValueError, match=r"a\.wav has no video stream \(audio only\)"):
        open_video(tmp_path / "a.wav")


def test_a_file_without_frames_is_refused(make_clip, tmp_path):
    path = make_clip(tmp_path / "a.mkv", GREYS[:3])
    data = path.read_bytes()
    clusters = data.index(b"\x1f\x43\xb6\x75")  # where frames begin
    path.write_bytes(data[: clusters + 100])
    with pytest.raises(ValueError, match=r"a\.mkv has no frames that can be decoded"):
        open_video(path)


def test_a_cover_picture_is_no_video(tmp_path):
    import av
    from av.stream import Disposition

    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        for i in range(3):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, 1024 * i
            container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
        container.mux(cover.encode(av.VideoFrame.from_ndarray(GREYS[0], "rgb24")))
        container.mux(cover.encode(None))
    with pytest.raises(ValueError, match=r"a\.m4a has no video stream \(audio only\)"):
        open_video(path)


@pytest.fixture(scope="module")
def noise(make_clip, tmp_path_factory) -> Path:
    """An mp4 with its index in front, and frames big enough to be cut in two."""
    random = np.random.default_rng(0)
    frames = (random.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(COUNT))
    path = tmp_path_factory.mktemp("noise") / "a.mp4"
    return make_clip(path, frames, movflags="+faststart")


def test_a_truncated_file_gives_what_it_has_and_then_says_so(noise, tmp_path):
    whole = list(open_video(noise))
    data = noise.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    video = open_video(path)
    frames, got = video.frames(), []
    with pytest.raises(ValueError, match=r"cut\.mp4 breaks off after (\d+) of 50 fr") as failure:
        for frame in frames:
            got.append(frame)
    assert 15 < len(got) < 35
    assert f"breaks off after {len(got)} of 50 frames; use its first {len(got)}" in str(failure)
    assert video.num_frames == len(got)
    for sequence in (got, list(video.frames(0, len(got)))):
        for a, b in zip(sequence, whole, strict=False):
            np.testing.assert_array_equal(a, b)
    back = list(video.frames(step=-1))
    assert len(back) == len(got)
    np.testing.assert_array_equal(back[0], got[-1])


def test_a_truncated_file_without_its_index_is_refused(mp4, tmp_path):
    data = mp4.read_bytes()  # its index is at the end
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cut\.mp4 is not .* its end is missing"):
        open_video(tmp_path / "cut.mp4")


def test_damage_within_a_file(noise, tmp_path):
    whole = list(open_video(noise))
    data = bytearray(noise.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60_000] = bytes(60_000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    video, got = open_video(path), []
    with pytest.raises(ValueError, match=r"damaged\.mp4 is damaged after (\d+) frames") as failure:
        for frame in video:
            got.append(frame)
    assert 5 < len(got) < 35
    assert f"after {len(got)} frames" in str(failure)
    np.testing.assert_array_equal(got[5], whole[5])
    np.testing.assert_array_equal(video[49], whole[49])  # from a keyframe behind the damage
    np.testing.assert_array_equal(video[2], whole[2])


def test_a_change_of_size_within_a_file(make_clip, tmp_path):
    parts = [
        make_clip(tmp_path / "a.ts", GREYS[:20]),
        make_clip(tmp_path / "b.ts", [grey(i, 32, 80) for i in range(20, 40)]),
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = open_video(path)
    frames = video.frames()
    assert numbers(itertools.islice(frames, 20)) == list(range(20))
    message = r"frame 20 of .*joined\.ts has 80 x 32 pixels, but frame 0 has 64 x 48; make all"
    with pytest.raises(ValueError, match=message):
        next(frames)
    assert video.num_frames == 40
    with pytest.raises(ValueError, match=r"frame 33 of .* has 80 x 32 pixels"):
        video[33]


def test_two_files_joined_are_numbered_through(make_clip, tmp_path):
    parts = [
        make_clip(tmp_path / "a.ts", GREYS[:20], times=lambda i: i + 40),
        make_clip(tmp_path / "b.ts", GREYS[20:]),
    ]
    path = tmp_path / "joined.ts"  # its times go back in the middle, none comes twice
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = open_video(path)
    assert [number(video[i]) for i in (30, 5, 49, 20, 19)] == [30, 5, 49, 20, 19]
    assert numbers(video.frames(step=-7)) == list(range(49, -1, -7))


# --- a real clip ---


def test_the_bedroom(media):
    video = open_video(media / "bedroom.mp4")
    assert (video.height, video.width, video.fps, video.num_frames) == (540, 960, 30, 200)
    kept = {i: pixels for i, pixels in enumerate(video.frames(stop=60)) if i % 20 == 7}
    for i in (47, 7, 27):
        np.testing.assert_array_equal(video[i], kept[i])
    for i, pixels in zip((47, 27, 7), video.frames(47, None, -20), strict=True):
        np.testing.assert_array_equal(pixels, kept[i])
    pixels, square = next(video.model_inputs(512, start=47))
    np.testing.assert_array_equal(pixels, kept[47])
    # two ways of scaling one picture; a frame further it would be 8
    assert np.abs(square - video.to_model_input(pixels, 512).astype(int)).mean() < 3


@pytest.mark.oracle
def test_model_inputs_are_near_the_official_loader(media):
    decord = pytest.importorskip("decord")
    path = media / "bedroom.mp4"
    video, reader = open_video(path), decord.VideoReader(str(path), width=1024, height=1024)
    ours, pillow, largest = 0.0, 0.0, 0
    for i in range(0, 200, 20):
        expected = reader[i].asnumpy().astype(int)
        difference = abs(video.model_input(i, 1024) - expected)
        ours, largest = ours + difference.mean() / 10, max(largest, difference.max())
        pillow += abs(video.to_model_input(video[i], 1024) - expected).mean() / 10
    print(f"mean {ours:.2f}, largest {largest}; by Pillow from RGB, mean {pillow:.2f}")
    assert (ours < 0.2) and (largest < 16) and (pillow > 5 * ours)
