import json
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sam_jax.io.video_writer import VideoWriter
from sam_jax.io.videos import open_video

FRAMES = [np.full((32, 48, 3), 20 + 10 * i, np.uint8) for i in range(20)]
COLOURS = np.zeros((32, 48, 3), np.uint8)
COLOURS[:, :16], COLOURS[:, 16:32], COLOURS[:, 32:] = [220, 30, 40], [30, 200, 60], [20, 60, 230]


def write(path: Path, frames, fps: float | None = 25, **options) -> Path:
    with VideoWriter(path, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_what_is_written_can_be_read(tmp_path):
    path = write(tmp_path / "a.mp4", FRAMES)
    video = open_video(path)
    assert (video.height, video.width, video.num_frames, video.fps) == (32, 48, 20, 25)
    for frame, expected in zip(video, FRAMES, strict=True):
        assert abs(frame.mean() - expected.mean()) < 2
    assert [child.name for child in tmp_path.iterdir()] == ["a.mp4"]


def test_colours_survive(tmp_path):
    video = open_video(write(tmp_path / "a.mp4", [COLOURS] * 3, crf=10))
    for column in (8, 24, 40):
        np.testing.assert_allclose(video[2][16, column], COLOURS[16, column].astype(int), atol=6)


def test_plays_in_browsers(tmp_path):
    import av

    path = write(tmp_path / "a.mp4", FRAMES)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it plays while it is downloaded
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)


@pytest.mark.parametrize(("height", "width"), [(33, 49), (32, 49), (33, 48), (1, 1), (2, 3)])
def test_odd_sizes_are_padded_by_their_edges(tmp_path, height, width):
    frame = np.full((height, width, 3), 60, np.uint8)
    frame[-1], frame[:, -1] = 200, 200
    pixels = open_video(write(tmp_path / "a.mp4", [frame] * 3, crf=1))[1]
    assert pixels.shape == (height + height % 2, width + width % 2, 3)
    assert abs(pixels[-1, -1].astype(int) - 200).max() < 12


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(None, 25), (30, 30), (30000 / 1001, 30000 / 1001), (0.5, 0.5), (12.5,) * 2],
)
def test_frame_rates(tmp_path, fps, expected):
    video = open_video(write(tmp_path / "a.mp4", FRAMES[:6], fps))
    assert video.fps == pytest.approx(expected, rel=1e-6)


def test_lower_crf_is_nearer_and_larger(tmp_path):
    noise = list(np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8))
    fine, coarse = (write(tmp_path / f"{crf}.mp4", noise, crf=crf) for crf in (5, 40))
    assert fine.stat().st_size > 2 * coarse.stat().st_size


# --- ends before the end ---


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_leaves_a_playable_file(tmp_path, error):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")

    def interrupted():
        yield from FRAMES[:7]
        assert path.read_bytes() == b"before"
        raise error("stop")

    with pytest.raises(error, match="stop"):
        write(path, interrupted())
    assert [round((f.mean() - 20) / 10) for f in open_video(path)] == list(range(7))
    assert [child.name for child in tmp_path.iterdir()] == ["a.mp4"]


def test_ctrl_c_in_a_process_leaves_a_playable_file(tmp_path):
    program = f"""
import os, signal, numpy as np
from sam_jax.io.video_writer import VideoWriter
with VideoWriter({json.dumps(str(tmp_path / "a.mp4"))}, 25) as writer:
    for i in range(100):
        writer.write(np.full((32, 48, 3), 2 * i, np.uint8))
        if i == 40:
            os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert b"KeyboardInterrupt" in done.stderr
    assert open_video(tmp_path / "a.mp4").num_frames in (40, 41, 42)


def test_without_a_frame_nothing_is_left(tmp_path):
    path = tmp_path / "a.mp4"
    write(path, [])
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 25):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="uint8"):
        write(path, [FRAMES[0] / 255])
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"before")
    write(path, [])
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize("frames", [200, 3])  # full while writing, full while finishing
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, frames):
    noise = np.random.default_rng(0).integers(0, 256, (3, 240, 320, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may grow beyond
    try:
        with pytest.raises(ValueError, match=r"cannot write .*a\.mp4: .*File too large") as failure:
            write(tmp_path / "a.mp4", (noise[i % 3] for i in range(frames)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ".tmp" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_threads_write_side_by_side(tmp_path):
    threads = [
        threading.Thread(target=write, args=(tmp_path / f"{i}.mp4", FRAMES)) for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [open_video(tmp_path / f"{i}.mp4").num_frames for i in range(3)] == [20, 20, 20]


# --- refusals ---


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.avi", {}, r"cannot write .*a\.avi: the name of a video must end in \.mp4"),
        ("no/a.mp4", {}, r"cannot write .*a\.mp4: the folder .*no does not exist"),
        ("a.mp4", {"fps": 0}, r"fps must be from 0\.01 to 1000, got 0\.0"),
        ("a.mp4", {"fps": float("nan")}, r"fps must be from 0\.01 to 1000, got nan"),
        ("a.mp4", {"crf": 52}, "crf must be from 0 to 51, got 52"),
    ],
)
def test_refused_before_the_first_frame(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        VideoWriter(tmp_path / name, **({"fps": 25} | options))


def test_a_change_of_size_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    message = r"frame 2 has 48 x 30 pixels, but the frames of .*a\.mp4 have 48 x 32; make all"
    with pytest.raises(ValueError, match=message):
        write(path, [*FRAMES[:2], FRAMES[2][:30]])
    assert open_video(path).num_frames == 2


def test_writing_after_the_end_is_refused(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(FRAMES[0])
    with pytest.raises(ValueError, match=r"a\.mp4 is finished; no more frames can be written"):
        writer.write(FRAMES[1])


def test_an_interrupt_before_the_first_frame_is_done_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoWriter, "_encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.mp4", FRAMES[:2])
    assert list(tmp_path.iterdir()) == []
