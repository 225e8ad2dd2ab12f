"""What is built is what was there, however often the building was interrupted."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from train.build import Build, build
from train.config import Source
from train.data.records import MANIFEST
from train.data.sources import open_source
from train.data.video import BadSource, BrokenSample

REPO = Path(__file__).resolve().parents[3]


def records(folder: Path):
    opened = open_source(Source(kind="records", root=str(folder)), frames=1, size=1)
    return pickle.loads(pickle.dumps(opened))


def shards(folder: Path) -> dict[str, int]:
    """Names, and when they were written."""
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("*.array_record*")}


def assert_same_videos(one, two, *, exact: bool = True) -> None:
    assert [video.name for video in one] == [video.name for video in two]
    for a, b in zip(one, two, strict=True):
        for t, u in zip(a.annotated, b.annotated, strict=True):
            assert a.frame_name(t) == b.frame_name(u)
            if exact:
                np.testing.assert_array_equal(a.image(t), b.image(u))
            else:
                assert np.abs(a.image(t).astype(int) - b.image(u)).mean() < 4
            masks, others = a.masks(t), b.masks(u)
            assert list(masks) == list(others)
            for number in masks:
                np.testing.assert_array_equal(masks[number], others[number])


def test_records_hold_the_source(davis: Path, sa1b: Path, tmp_path: Path) -> None:
    for kind, root, shard in (("davis", davis, 2), ("sa1b", sa1b, 1)):
        source = Source(kind=kind, root=str(root))
        out = tmp_path / f"{kind}_records"
        manifest = build(Build(source=source, out=out, shard=shard))
        assert manifest == {"samples": 3, "shards": -(-3 // shard), "skipped": []}
        assert_same_videos(records(out), open_source(source, frames=1, size=1))


def test_tensorflow_datasets_reads_them(davis: Path, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    build(Build(source=Source(kind="davis", root=str(davis), stride=2), out=tmp_path / "out"))
    data = tfds.builder_from_directory(tmp_path / "out").as_data_source("train")
    assert len(data) == 3
    example = data[1]
    assert example["name"] == b"clip1"
    assert example["frame_names"] == [b"00000", b"00002", b"00004"]
    first = davis / "JPEGImages/480p/clip1/00000.jpg"
    assert example["images"][0] == first.read_bytes()
    assert json.loads(example["masks"][0])["counts"].keys() == {"1", "3"}
    assert "tensorflow" not in sys.modules


def test_synthetic_records(tmp_path: Path) -> None:
    source = Source(kind="synthetic")
    with pytest.raises(BadSource, match="say how many --samples"):
        build(Build(source=source, out=tmp_path / "out"))
    build(Build(source=source, out=tmp_path / "out", samples=2, frames=2, size=48))
    painted = open_source(source, frames=2, size=48)[:2]
    assert_same_videos(records(tmp_path / "out"), painted, exact=False)


def test_broken_samples_are_left_out_and_named(davis: Path, tmp_path: Path) -> None:
    (davis / "JPEGImages/480p/clip1/00002.jpg").write_bytes(b"")
    source = Source(kind="davis", root=str(davis))
    manifest = build(Build(source=source, out=tmp_path / "out", shard=1))  # an empty shard
    assert manifest["samples"] == 2
    assert "00002.jpg is empty" in manifest["skipped"][0]["problem"]
    assert [video.name for video in records(tmp_path / "out")] == ["clip0", "clip2"]
    for folder in (davis / "JPEGImages/480p").iterdir():
        (folder / "00000.jpg").write_bytes(b"")
    with pytest.raises(BadSource, match=r"nothing could be written .*00000.jpg is empty"):
        build(Build(source=source, out=tmp_path / "none"))


def test_only_what_was_begun_goes_on(davis: Path, tmp_path: Path) -> None:
    source = Source(kind="davis", root=str(davis))
    build(Build(source=source, out=tmp_path / "out", shard=2))
    before = shards(tmp_path / "out")
    build(Build(source=source, out=tmp_path / "out", shard=2))
    assert shards(tmp_path / "out") == before
    with pytest.raises(BadSource, match=r"begun with other settings \(shard\)"):
        build(Build(source=source, out=tmp_path / "out", shard=1))
    (tmp_path / "out/plan.json").unlink()
    with pytest.raises(BadSource, match="holds files of something else"):
        build(Build(source=source, out=tmp_path / "out", shard=2))


@pytest.mark.parametrize("wrong", [{"shard": 0}, {"samples": 0}, {"frames": 0}, {"size": -1}])
def test_numbers_that_are_none_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 1"):
        Build(source=Source(kind="synthetic"), out=tmp_path, **wrong)


def test_damaged_records(davis: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(Build(source=Source(kind="davis", root=str(davis)), out=out))
    (shard,) = out.glob("*.array_record*")
    content = bytearray(shard.read_bytes())
    place = content.index((davis / "JPEGImages/480p/clip0/00001.jpg").read_bytes())
    content[place : place + 100] = bytes(100)
    shard.write_bytes(content)
    assert records(out)[1].image(1).any()
    with pytest.raises(BrokenSample, match=r"out, record 0: Corrupted"):
        records(out)[0].image(1)
    (out / MANIFEST).unlink()
    with pytest.raises(BadSource, match="run that again"):
        records(out)


def _command(root: Path, out: Path) -> list[str]:
    fields = ["--kind", "davis", "--root", str(root), "--shard", "1", str(out)]
    return [sys.executable, "-m", "train.build", *fields]


def _until(happened: Callable[[], bool], process: subprocess.Popen) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, "the process ended by itself"
        assert time.monotonic() < end
        time.sleep(0.002)


def test_killed_in_the_middle(davis: Path, tmp_path: Path) -> None:
    big = davis / "JPEGImages/480p/clip1/00001.jpg"  # takes a while: a pipe, read when it is fed
    content = big.read_bytes()
    whole, out = tmp_path / "whole", tmp_path / "out"
    build(Build(source=Source(kind="davis", root=str(davis)), out=whole, shard=1))
    big.unlink()
    os.mkfifo(big)
    process = subprocess.Popen(_command(davis, out), cwd=REPO, stdout=subprocess.DEVNULL)
    first = out / "videos-train.array_record-00000-of-00003"
    _until(lambda: first.exists() and any(out.glob(".sam_jax_*")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert shards(out).keys() == {first.name}
    assert not (out / MANIFEST).exists()
    assert any(out.glob(".sam_jax_*"))
    kept = shards(out)[first.name]
    big.unlink()
    big.write_bytes(content)
    subprocess.run(_command(davis, out), cwd=REPO, check=True, stdout=subprocess.DEVNULL)
    assert shards(out)[first.name] == kept
    assert shards(out).keys() == shards(whole).keys()
    assert_same_videos(records(out), records(whole))
    assert (out / MANIFEST).read_text() == (whole / MANIFEST).read_text()
    assert not any(out.rglob(".sam_jax_*"))


def test_errors_of_the_command_are_one_line(tmp_path: Path) -> None:
    result = subprocess.run(
        _command(tmp_path / "nowhere", tmp_path / "out"),
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: the folder of videos,")
    assert "Traceback" not in result.stderr
