import csv
import errno
import json
import os

import numpy as np
import pytest
from PIL import Image

from sam_jax.io.mask_sequences import (
    FrameMasks,
    FrameNpzs,
    ObjectPngs,
    PalettePngs,
    RleFile,
    ScoresFile,
    davis_palette,
    label_map,
)
from sam_jax.ops import rle

SIZE = (48, 64)


def square(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


LEFT, RIGHT, NOTHING = square(4, 8, 30, 40), square(20, 8, 60, 40), square(0, 0, 0, 0)


def result(frame=0, ids=(1, 2), masks=(LEFT, NOTHING), logits=None, **scores) -> FrameMasks:
    many = len(masks)
    low = np.zeros((many, 16, 16), np.float32) if logits is None else logits
    return FrameMasks(
        frame,
        ids,
        np.array(masks, bool).reshape(-1, *SIZE),
        scores.get("ious", np.linspace(0.5, 0.75, many, dtype=np.float32)),
        scores.get("object_logits", np.linspace(2, -1000, many, dtype=np.float32)),
        low,
    )


def listing(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_palette_pngs_hold_ids(tmp_path):
    with PalettePngs(tmp_path / "new" / "out") as writer:
        writer.write(result(7, (3, 255), (LEFT, square(40, 0, 64, 48))))
        writer.write(result(123456, (), np.zeros((0, *SIZE), bool), np.zeros((0, 16, 16), "f4")))
    assert listing(tmp_path / "new" / "out") == ["00007.png", "123456.png"]
    with Image.open(tmp_path / "new" / "out" / "00007.png") as picture:
        assert picture.mode == "P"
        assert bytes(picture.getpalette()) == davis_palette()
        values = np.array(picture)
    np.testing.assert_array_equal(values == 3, LEFT)
    np.testing.assert_array_equal(values == 255, square(40, 0, 64, 48))
    with Image.open(tmp_path / "new" / "out" / "123456.png") as picture:
        assert not np.array(picture).any()


def test_the_palette_is_that_of_davis():
    colors = np.frombuffer(davis_palette(), np.uint8).reshape(256, 3)
    assert colors[:9].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert colors[255].tolist() == [224, 224, 192]
    assert len(np.unique(colors, axis=0)) == 256


@pytest.mark.parametrize("wrong", [0, -1, 256])
def test_a_palette_has_255_numbers(tmp_path, wrong):
    with PalettePngs(tmp_path) as writer, pytest.raises(ValueError, match=rf"255, got {wrong}: wr"):
        writer.write(result(ids=(1, wrong)))
    assert listing(tmp_path) == []


def test_the_highest_logit_gets_the_pixel():
    both = LEFT & RIGHT
    columns = np.linspace(-4, 4, 16, dtype=np.float32)
    logits = np.stack([np.tile(-columns, (16, 1)), np.tile(columns, (16, 1))])
    labels = label_map(result(ids=(5, 2), masks=(LEFT, RIGHT), logits=logits))
    np.testing.assert_array_equal(labels[~both], np.where(LEFT, 5, RIGHT * 2)[~both])
    # the logits cross in the middle of the frame, between the columns 31 and 32; LEFT ends at 30
    assert (labels[both] == 5).all()
    labels = label_map(result(ids=(5, 2), masks=(LEFT | RIGHT, RIGHT), logits=logits))
    assert (labels[8:40, 20:32] == 5).all()
    assert (labels[8:40, 32:60] == 2).all()


def test_a_window_of_the_logits_is_enlarged_as_the_whole():
    random = np.random.default_rng(0)
    logits = random.standard_normal((3, 16, 16)).astype(np.float32)
    masks = (square(3, 5, 50, 44), square(17, 1, 64, 31), square(10, 10, 41, 48))
    labels = label_map(result(ids=(1, 2, 3), masks=masks, logits=logits))
    full = [
        np.array(Image.fromarray(one).resize(SIZE[::-1], Image.Resampling.BILINEAR))
        for one in logits
    ]
    strength = np.where(np.stack(masks), np.stack(full), -np.inf)
    expected = np.where(np.any(masks, axis=0), 1 + strength.argmax(0), 0)
    assert (labels == expected).mean() > 0.998  # but for the last bit of a number


def test_of_equals_and_without_logits_the_lowest_id_is_on_top():
    equal = result(ids=(9, 2, 4), masks=(LEFT, RIGHT, LEFT | RIGHT))
    without = FrameMasks(0, equal.ids, equal.masks, equal.ious, equal.object_logits)
    for labels in (label_map(equal), label_map(without)):
        assert (labels[RIGHT] == 2).all()
        assert (labels[LEFT & ~RIGHT] == 4).all()


def test_object_pngs_have_folders_and_may_overlap(tmp_path):
    with ObjectPngs(tmp_path, digits=6) as writer:
        for frame in (2, 1):  # in any order
            writer.write(result(frame, (1, 20_000, -3), (LEFT, RIGHT, NOTHING)))
    assert listing(tmp_path) == [
        f"{folder}/{frame}.png"
        for folder in ("-03", "001", "20000")
        for frame in ("000001", "000002")
    ]
    for folder, mask in (("001", LEFT), ("20000", RIGHT), ("-03", NOTHING)):
        with Image.open(tmp_path / folder / "000001.png") as picture:
            assert picture.mode == "L"
            np.testing.assert_array_equal(np.array(picture), mask * np.uint8(255))


def test_npz_holds_everything(tmp_path):
    logits = np.random.default_rng(0).standard_normal((2, 16, 16)).astype(np.float32)
    frame = result(3, (2**62, -5), (LEFT, NOTHING), logits)
    with FrameNpzs(tmp_path) as writer:
        writer.write(frame)
    with np.load(tmp_path / "00003.npz") as arrays:
        assert sorted(arrays) == ["ids", "ious", "logits", "masks", "object_logits"]
        assert arrays["ids"].tolist() == [2**62, -5]
        for name in ("ious", "logits", "masks", "object_logits"):
            np.testing.assert_array_equal(arrays[name], getattr(frame, name))
    nothing = FrameMasks(5, (), np.zeros((0, *SIZE), bool), *[np.zeros(0, np.float32)] * 2)
    with FrameNpzs(tmp_path) as writer:
        writer.write(nothing)
    with np.load(tmp_path / "00005.npz") as arrays:
        assert arrays["masks"].shape == (0, *SIZE)
        assert arrays["logits"].size == 0
    without = FrameMasks(4, frame.ids, frame.masks, frame.ious, frame.object_logits)
    with FrameNpzs(tmp_path) as writer, pytest.raises(ValueError, match="frame 4 has no logits"):
        writer.write(without)


def test_rle_file(tmp_path):
    path = tmp_path / "clip.json"
    with RleFile(path) as writer:
        writer.write(result(0, (1, -7)))
        writer.write(result(1, (), np.zeros((0, *SIZE), bool), np.zeros((0, 16, 16), "f4")))
        writer.write(result(2, (2**60,), (RIGHT,)))
    entries = json.loads(path.read_text())
    assert [(e["frame"], e["object"]) for e in entries] == [(0, 1), (0, -7), (2, 2**60)]
    assert len(path.read_text().splitlines()) == 5
    np.testing.assert_array_equal(rle.decode(entries[0]["segmentation"]), LEFT)
    assert entries[0]["bbox"] == [4, 8, 26, 32]
    assert entries[0]["area"] == LEFT.sum()
    assert entries[0]["predicted_iou"] == 0.5
    assert entries[0]["object_score"] == pytest.approx(0.880797)
    assert entries[1]["area"] == 0
    assert entries[1]["bbox"] == [0, 0, 0, 0]
    assert entries[1]["object_score"] == 0


def test_scores_file(tmp_path):
    with ScoresFile(tmp_path / "s.csv") as writer:
        writer.write(result(4))
        writer.write(result(5, ids=(1, -2)))
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "frame",
        "object",
        "predicted_iou",
        "object_score",
        "object_logit",
        "area",
    ]
    assert [(row["frame"], row["object"]) for row in rows] == [
        ("4", "1"),
        ("4", "2"),
        ("5", "1"),
        ("5", "-2"),
    ]
    assert rows[0] | {"object_score": ""} == {
        "frame": "4",
        "object": "1",
        "predicted_iou": "0.5",
        "object_score": "",
        "object_logit": "2",
        "area": str(LEFT.sum()),
    }
    assert float(rows[0]["object_score"]) == pytest.approx(0.880797)
    assert (rows[1]["object_score"], rows[1]["object_logit"], rows[1]["area"]) == (
        "0",
        "-1000",
        "0",
    )


CLIP_FILES = [RleFile, ScoresFile]


def read(path) -> list:
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize("kind", CLIP_FILES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_written_before_an_exception_is_valid(tmp_path, kind, error):
    path = tmp_path / ("a.json" if kind is RleFile else "a.csv")
    path.write_text("from an earlier run")
    with pytest.raises(error), kind(path) as writer:
        writer.write(result(0))
        writer.write(result(1))
        assert path.read_text() == "from an earlier run"
        raise error
    assert [int(entry["frame"]) for entry in read(path)] == [0, 0, 1, 1]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", CLIP_FILES)
def test_an_exception_before_the_first_frame_replaces_nothing(tmp_path, kind):
    path = tmp_path / "a.json"
    path.write_text("from an earlier run")
    with pytest.raises(KeyboardInterrupt), kind(path):
        raise KeyboardInterrupt
    assert path.read_text() == "from an earlier run"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", CLIP_FILES)
def test_a_clip_without_frames_is_a_valid_file(tmp_path, kind):
    path = tmp_path / ("a.json" if kind is RleFile else "a.csv")
    with kind(path):
        pass
    assert read(path) == []


@pytest.mark.parametrize("kind", CLIP_FILES)
def test_a_full_disk_leaves_whole_entries(tmp_path, kind):
    """The third write takes a few bytes only, then the disk is full."""
    path = tmp_path / ("a.json" if kind is RleFile else "a.csv")

    class FullDisk:
        def __init__(self, file):
            self.file = file
            self.room = 10

        def write(self, data):
            if len(data) > 4 and self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if len(data) > 4:
                data, self.room = data[: self.room], 0
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    with pytest.raises(ValueError, match=r"cannot write .*No space left"), kind(path) as writer:
        writer.write(result(0))
        writer.write(result(1))
        writer._file = FullDisk(writer._file)
        writer.write(result(2))
    assert [int(entry["frame"]) for entry in read(path)] == [0, 0, 1, 1]


def test_memory_does_not_grow(tmp_path):
    import tracemalloc

    frame = result()
    with RleFile(tmp_path / "a.json") as entries, ScoresFile(tmp_path / "a.csv") as scores:
        peaks = []
        tracemalloc.start()
        for _ in range(3):
            tracemalloc.reset_peak()
            for _ in range(50):
                entries.write(frame)
                scores.write(frame)
            peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 4096
    assert len(read(tmp_path / "a.json")) == 300


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame": -1}, "frames count from 0, got frame -1"),
        ({"ids": (1, 1)}, r"2 masks need as many different ids, got \[1, 1\]"),
        ({"ids": (1,)}, r"2 masks need as many different ids, got \[1\]"),
        ({"ids": (1, 2**63)}, "object ids must fit in 64 bits, got 9223372036854775808"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        result(**changes)


def test_a_missing_folder_is_found_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write to the output folder .*not a folder"):
        PalettePngs(tmp_path / "file")
    with pytest.raises(ValueError, match="does not exist"), RleFile(tmp_path / "none" / "a.json"):
        pass
