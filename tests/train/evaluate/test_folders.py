"""Folders of masks: written and read in both layouts, and what is wrong with them said clearly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam_jax.io.mask_sequences import davis_palette
from train.evaluate.folders import BadFolder, Layout, read_labels, score_folders, write_frame
from train.evaluate.jf import Score, score_objects


def write_video(root: Path, video: Any, layout: Layout, shift: int = 0) -> None:
    """All frames; objects that are absent have a mask where each has a picture."""
    numbers = sorted({i for t in range(len(video)) for i in video.masks(t)})
    for t in range(len(video)):
        shown = video.masks(t)
        masks = {i: shown.get(i, np.zeros((video.height, video.width), bool)) for i in numbers}
        moved = {i: np.roll(mask, shift, 1) for i, mask in masks.items()}
        write_frame(root / video.name, video.frame_name(t), moved, layout=layout)


@pytest.fixture
def folders(tmp_path: Path, two_boxes: Any) -> Callable[[Layout], tuple[Path, Path]]:
    """`folders(layout)`: the truth, and predictions two pixels beside it."""

    def make(layout: Layout) -> tuple[Path, Path]:
        write_video(tmp_path / "truth", two_boxes, layout)
        write_video(tmp_path / "found", two_boxes, layout, shift=2)
        return tmp_path / "truth", tmp_path / "found"

    return make


def test_davis_pictures_are_palette_pictures_with_low_ids_on_top(tmp_path: Path) -> None:
    both = {3: np.ones((2, 4), bool), 2: np.arange(8).reshape(2, 4) % 4 < 2}
    write_frame(tmp_path / "video", "00007", both, layout="davis")
    with Image.open(tmp_path / "video" / "00007.png") as picture:
        assert picture.mode == "P"
        assert bytes(picture.getpalette() or []) == davis_palette()
        assert np.array(picture).tolist() == [[2, 2, 3, 3]] * 2


def test_sav_pictures_are_zero_and_one_in_a_folder_for_each_object(tmp_path: Path) -> None:
    write_frame(tmp_path / "video", "00007", {3: np.eye(2, dtype=bool)}, layout="sav")
    assert read_labels(tmp_path / "video" / "003" / "00007.png").tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("layout", ["davis", "sav"])
def test_scores_of_folders_are_those_of_their_masks(
    folders: Callable, layout: Layout, two_boxes: Any
) -> None:
    truth, found = folders(layout)
    frames = [two_boxes.masks(t) for t in (1, 2, 3)]
    moved = [{i: np.roll(mask, 2, 1) for i, mask in masks.items()} for masks in frames]
    expected = score_objects(zip(moved, frames, strict=True))
    assert score_folders(truth, found) == {"two": expected}
    assert 0.5 < expected[2].j < 1
    assert score_folders(truth, truth, skip_ends=False)["two"] == {1: Score(1, 1), 2: Score(1, 1)}


def test_annotations_are_found_below_the_root(folders: Callable, tmp_path: Path) -> None:
    truth, found = folders("davis")
    truth = truth.rename(tmp_path / "Annotations")
    assert score_folders(tmp_path, found)["two"].keys() == {1, 2}
    (truth / "480p").mkdir()
    (truth / "two").rename(truth / "480p" / "two")
    assert score_folders(tmp_path, found)["two"].keys() == {1, 2}


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forks with threads
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # its processes; they do not use jax
def test_folders_score_as_in_the_official_evaluator(folders: Callable) -> None:
    official = pytest.importorskip("vos_benchmark.benchmark", exc_type=ImportError)
    truth, found = folders("davis")
    *_, metrics = official.benchmark([str(truth)], [str(found)], num_processes=1, verbose=False)
    j, f = metrics[0]["two"]
    ours = score_folders(truth, found)["two"]
    assert {i: 100 * s.j for i, s in ours.items()} == pytest.approx(j)
    assert {i: 100 * s.f for i, s in ours.items()} == pytest.approx(f)


def test_a_video_without_predictions_is_refused_or_left_out(
    folders: Callable, two_boxes: Any
) -> None:
    truth, found = folders("davis")
    (truth / "two").rename(truth / "other")
    write_video(truth, two_boxes, "davis")
    with pytest.raises(BadFolder, match=r"1 of the 2 videos of .*'other'.*--partial-ok"):
        score_folders(truth, found)
    assert score_folders(truth, found, partial_ok=True).keys() == {"two"}


def test_folders_of_nothing_in_common_are_refused_always(folders: Callable) -> None:
    truth, found = folders("davis")
    (truth / "two").rename(truth / "other")
    with pytest.raises(BadFolder, match="1 of the 1 videos"):
        score_folders(truth, found, partial_ok=True)


def test_a_missing_frame_is_named(folders: Callable) -> None:
    truth, found = folders("davis")
    (found / "two" / "00002.png").unlink()
    with pytest.raises(BadFolder, match=r"no prediction .*found/two/00002.png"):
        score_folders(truth, found)


def test_a_missing_object_is_named(folders: Callable) -> None:
    truth, found = folders("sav")
    for path in (found / "two" / "002").iterdir():
        path.unlink()
    (found / "two" / "002").rmdir()
    with pytest.raises(BadFolder, match=r"no prediction .*found/two/002/00001.png"):
        score_folders(truth, found)


def test_another_size_is_named(folders: Callable) -> None:
    truth, found = folders("davis")
    Image.new("P", (48, 36)).save(found / "two" / "00001.png")
    with pytest.raises(BadFolder, match=r"00001.png has 48 x 36 pixels, but .* 96 x 72"):
        score_folders(truth, found)


def test_other_trouble_is_named(folders: Callable, tmp_path: Path) -> None:
    truth, found = folders("davis")
    with pytest.raises(BadFolder, match="nowhere is missing"):
        score_folders(tmp_path / "nowhere", found)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFolder, match="no folders of videos: it is empty"):
        score_folders(tmp_path / "empty", found)
    (found / "two" / "00001.png").write_bytes(b"half a file")
    with pytest.raises(BadFolder, match=r"00001.png cannot be read"):
        score_folders(truth, found)
    Image.new("RGB", (96, 72)).save(found / "two" / "00001.png")
    with pytest.raises(BadFolder, match=r"00001.png is in RGB"):
        score_folders(truth, found)


def test_layouts_must_agree(folders: Callable, two_boxes: Any, tmp_path: Path) -> None:
    truth, _ = folders("davis")
    write_video(tmp_path / "single", two_boxes, "sav")
    with pytest.raises(BadFolder, match=r"a folder for each object.*--per-object-png"):
        score_folders(truth, tmp_path / "single")


def test_one_picture_for_all_has_255_objects_at_most(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"object 300 of video: .*--per-object-png"):
        write_frame(tmp_path / "video", "0", {300: np.ones((2, 2), bool)}, layout="davis")
