"""The mask generator's face: records, modes, crops, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sam_jax
from sam_jax.ops import rle
from sam_jax.predictors import everything as generator_module
from sam_jax.predictors.crops import crops_of
from sam_jax.predictors.duplicates import strict_limit
from sam_jax.predictors.generator_options import GeneratorOptions
from sam_jax.predictors.records import Candidate, without_small_regions
from sam_jax.predictors.search import search, search_in_steps
from sam_jax.presets import SAM_VIT_B
from sam_jax.types import Model

# The shipped weights are timid on photos.
LOOSE: dict[str, Any] = {
    "points_per_side": 6,
    "pred_iou_thresh": 0.2,
    "stability_score_thresh": 0.6,
    "stability_score_offset": 0.1,
    "max_candidates": 128,
}


@pytest.fixture(scope="module")
def model() -> Model:
    return sam_jax.load("sam2.1-hiera-nano")


@pytest.fixture(scope="module")
def photo(docs_media: Path) -> np.ndarray:
    with Image.open(docs_media / "coffee.jpg") as picture:
        return np.array(picture.convert("RGB").resize((300, 200)))


@pytest.fixture(scope="module")
def records(model: Model, photo: np.ndarray) -> list[dict[str, Any]]:
    return sam_jax.AutomaticMaskGenerator(model, **LOOSE).generate(photo)


def test_records_have_the_official_keys_and_agree_with_their_mask(records) -> None:
    assert len(records) > 3
    for record in records:
        assert list(record) == [
            "segmentation",
            "area",
            "bbox",
            "predicted_iou",
            "point_coords",
            "stability_score",
            "crop_box",
        ]
        mask = record["segmentation"]
        assert mask.shape == (200, 300) and mask.dtype == bool
        assert record["area"] == mask.sum() > 0
        (rows,), (columns,) = np.nonzero(mask.any(1)), np.nonzero(mask.any(0))
        left, top = columns[0], rows[0]
        assert record["bbox"] == [left, top, columns[-1] - left, rows[-1] - top]
        assert record["crop_box"] == [0, 0, 300, 200]
        assert record["predicted_iou"] > 0.2 and record["stability_score"] >= 0.6
        ((x, y),) = record["point_coords"]
        assert (x / 50) % 1 == pytest.approx(0.5) and (y / 200 * 6) % 1 == pytest.approx(0.5)
        assert all(isinstance(value, float) for value in (*record["bbox"], x, y))
    ious = [record["predicted_iou"] for record in records]
    assert ious == sorted(ious, reverse=True)


def test_output_modes(model, photo, records) -> None:
    for mode, kind in (("uncompressed_rle", list), ("coco_rle", str)):
        coded = sam_jax.AutomaticMaskGenerator(model, **LOOSE, output_mode=mode).generate(photo)
        assert len(coded) == len(records)
        for code, plain in zip(coded, records, strict=True):
            assert isinstance(code["segmentation"]["counts"], kind)
            np.testing.assert_array_equal(rle.decode(code["segmentation"]), plain["segmentation"])
            assert {**code, "segmentation": 0} == {**plain, "segmentation": 0}


def same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    return len(ours) == len(theirs) and all(
        np.array_equal(a["segmentation"], b["segmentation"]) and a["bbox"] == b["bbox"]
        for a, b in zip(ours, theirs, strict=True)
    )


def test_a_batch_is_each_alone(model, photo, records) -> None:
    generator = sam_jax.AutomaticMaskGenerator(model, **LOOSE)
    other = photo[:, ::-1]
    batch = generator.generate_batch([photo, Image.fromarray(other), photo])
    assert same(batch[0], records) and same(batch[2], records)
    assert same(batch[1], generator.generate(other)) and not same(batch[1], records)
    assert generator.generate_batch([]) == []


def test_crops_of_several_pictures_are_kept_apart(model, photo, monkeypatch) -> None:
    """As an accelerator has them: eight crops together, of different pictures."""
    settings = {**LOOSE, "points_per_side": 3, "crop_n_layers": 1}
    generator = sam_jax.AutomaticMaskGenerator(model, **settings)
    alone = [generator.generate(photo), generator.generate(photo[:150])]
    boxes = {tuple(record["crop_box"]) for record in alone[0]}
    assert len(boxes) > 1 and (0, 0, 300, 200) in boxes
    from sam_jax.predictors import search

    groups = []

    def together(jobs: list, devices: int) -> list:
        groups.append([jobs[:8], jobs[8:]])
        return groups[-1]

    monkeypatch.setattr(search, "_batches", together)
    batch = generator.generate_batch([photo, photo[:150]])
    assert [len(group) for group in groups[0]] == [8, 2]
    assert same(batch[0], alone[0]) and same(batch[1], alone[1])


def test_given_points(model, photo, records) -> None:
    settings = {**LOOSE, "points_per_side": None}
    points = np.array([record["point_coords"][0] for record in records]) / [300, 200]
    found = sam_jax.AutomaticMaskGenerator(model, **settings, point_grids=[points]).generate(photo)
    assert {tuple(r["point_coords"][0]) for r in found} <= {
        tuple(r["point_coords"][0]) for r in records
    }
    assert found[0]["predicted_iou"] == pytest.approx(records[0]["predicted_iou"], abs=1e-5)


def test_nothing_in_a_black_picture(model) -> None:
    generator = sam_jax.AutomaticMaskGenerator(model, points_per_side=4, max_candidates=64)
    assert generator.generate(np.zeros((60, 80, 3), np.uint8)) == []
    crops = sam_jax.AutomaticMaskGenerator(
        model, points_per_side=4, crop_n_layers=1, max_candidates=64
    )
    assert crops.generate(np.zeros((60, 80, 3), np.uint8)) == []


def test_one_pixel(model) -> None:
    settings = {**LOOSE, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    found = sam_jax.AutomaticMaskGenerator(model, **settings).generate(
        np.zeros((1, 1, 3), np.uint8)
    )
    assert found and all(record["segmentation"].shape == (1, 1) for record in found)


def test_what_is_dropped_is_said(model, photo, records) -> None:
    generator = sam_jax.AutomaticMaskGenerator(model, **{**LOOSE, "max_candidates": 3})
    with pytest.warns(
        UserWarning, match=r"picture 0: \d+ masks passed.*raise max_candidates \(3\)"
    ):
        found = generator.generate(photo)
    assert 0 < len(found) <= 3
    assert found[0]["predicted_iou"] == pytest.approx(records[0]["predicted_iou"], abs=1e-5)


@pytest.mark.filterwarnings("ignore:.*masks passed")
@pytest.mark.parametrize(
    ("more", "batches"),
    [
        ({"points_per_side": 3, "crop_n_layers": 1, "box_nms_thresh": 0.4}, 10),
        ({"max_candidates": 7}, 5),
    ],
)
def test_in_steps_the_same_is_found(model, photo, more, batches) -> None:
    options = GeneratorOptions(**{**LOOSE, **more}, points_per_batch=8)
    (whole,) = search(model, [photo], options)
    steps, progress = search_in_steps(model, photo, options), []
    while True:
        try:
            progress.append(next(steps))
        except StopIteration as end:
            found = end.value
            break
    assert [(one.done, one.total) for one in progress] == [(i + 1, batches) for i in range(batches)]
    if "max_candidates" in more:
        assert progress[-1].held == options.max_candidates
    else:
        assert progress[-1].held > len(whole)  # duplicates of the last crop
    assert len(found) == len(whole) > 2
    for ours, theirs in zip(found, whole, strict=True):
        np.testing.assert_array_equal(ours.logits, theirs.logits)
        np.testing.assert_array_equal(ours.box, theirs.box)
        for name in ("crop", "iou", "stability", "point"):
            assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points_per_side": 0}, "points_per_side must be a whole number from 1 on, got 0"),
        ({"points_per_side": -3}, "points_per_side must be a whole number from 1 on, got -3"),
        ({"points_per_side": 1025}, "points_per_side must be at most 1024, got 1025: memory grows"),
        ({"points_per_batch": 16385}, "points_per_batch must be at most 16384, got 16385"),
        ({"max_candidates": 65537}, "max_candidates must be at most 65536, got 65537"),
        ({"points_per_side": None}, "give points_per_side or point_grids, got neither"),
        ({"point_grids": [[[0.5, 0.5]]]}, "give points_per_side or point_grids, got both"),
        ({"pred_iou_thresh": 1.2}, "pred_iou_thresh must lie in 0..1, got 1.2"),
        ({"pred_iou_thresh": float("nan")}, "pred_iou_thresh must lie in 0..1, got nan"),
        ({"stability_score_thresh": -0.1}, "stability_score_thresh must lie in 0..1, got -0.1"),
        ({"box_nms_thresh": 7}, "box_nms_thresh must lie in 0..1, got 7"),
        ({"crop_nms_thresh": -1}, "crop_nms_thresh must lie in 0..1, got -1"),
        ({"crop_overlap_ratio": 1.0}, "crop_overlap_ratio must be below 1"),
        ({"stability_score_offset": -1}, "stability_score_offset must be a logit from 0 on"),
        ({"mask_threshold": float("inf")}, "mask_threshold must be a finite logit, got inf"),
        ({"crop_n_layers": 6}, "crop_n_layers must be at most 5, got 6: that is 4096 crops"),
        ({"crop_n_layers": True}, "crop_n_layers must be a whole number from 0 on, got True"),
        ({"points_per_batch": 0}, "points_per_batch must be a whole number from 1 on, got 0"),
        ({"min_mask_region_area": -1}, "min_mask_region_area must be a whole number from 0 on"),
        ({"max_candidates": 0}, "max_candidates must be a whole number from 1 on, got 0"),
        (
            {"points_per_side": 3, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
            "no points are left in layer 2 of the crops: points_per_side is 3",
        ),
        ({"output_mode": "png"}, "output_mode must be one of binary_mask, uncompressed_rle, coco"),
        (
            {"points_per_side": None, "point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1},
            "point_grids has 1 grids for 2 layers",
        ),
        ({"points_per_side": None, "point_grids": [[[5, 5]]]}, r"point_grids\[0\] must lie in 0"),
        ({"points_per_side": None, "point_grids": [[0.5]]}, r"\[0\] must be xy \[p 2\], got shape"),
    ],
)
def test_refused(model, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        GeneratorOptions(**arguments)


def test_images_are_checked(model) -> None:
    generator = sam_jax.AutomaticMaskGenerator(model, points_per_side=2, max_candidates=64)
    with pytest.raises(ValueError, match=r"image must be uint8 in 0\.\.255, got float32"):
        generator.generate(np.zeros((20, 20, 3), np.float32))


def test_defaults_of_the_families(model) -> None:
    assert GeneratorOptions().iou_limit(model.config) == 0.8
    assert GeneratorOptions().iou_limit(SAM_VIT_B) == 0.88
    assert GeneratorOptions(pred_iou_thresh=0.5).iou_limit(SAM_VIT_B) == 0.5


def test_limits_are_compared_as_in_float64() -> None:
    for threshold in (0.1, 0.3, 0.6, 0.7, 0.9):
        nearest = np.float32(threshold)
        for value in (np.nextafter(nearest, np.float32(0)), nearest, np.nextafter(nearest, 1)):
            assert (value > strict_limit(threshold)) == (float(value) > threshold)


def test_small_regions_are_removed() -> None:
    mask = np.zeros((12, 12), bool)
    mask[1:8, 1:8] = True
    mask[3, 3] = False  # a hole of one pixel
    mask[5:7, 5:7] = False  # and of four
    mask[10, 10] = True  # an island of one
    expected = mask.copy()
    expected[3, 3], expected[10, 10] = True, False
    clean, changed = without_small_regions(mask, 4)  # fewer than four
    assert changed
    np.testing.assert_array_equal(clean, expected)
    again, changed = without_small_regions(clean, 4)
    assert not changed
    np.testing.assert_array_equal(again, clean)


def test_of_small_islands_the_largest_stays() -> None:
    mask = np.zeros((9, 9), bool)
    mask[0, 0] = mask[4, 4] = mask[4, 5] = True
    clean, changed = without_small_regions(mask, 10)
    assert changed and clean.sum() == 2 and clean[4, 4]
    # diagonal neighbours belong together
    np.testing.assert_array_equal(without_small_regions(np.eye(5, dtype=bool), 5)[0], np.eye(5))


def test_sam_1_prefers_masks_without_small_regions() -> None:
    """Two equal boxes: the mask that had to be changed goes, though its IoU is higher."""
    (crop,) = crops_of(20, 20, 0, 0.3)
    dirty, pure, other = (np.zeros((20, 20), bool) for _ in range(3))
    dirty[2:12, 2:12] = pure[2:12, 2:12] = True
    dirty[4, 4], dirty[19, 19] = False, True
    other[14:18, 14:18] = True
    pairs = [
        (Candidate(crop, np.zeros((4, 4)), iou, 1.0, (1.0, 1.0), np.zeros(4, int)), mask)
        for iou, mask in ((0.9, dirty), (0.8, pure), (0.7, other))
    ]
    kept = generator_module._cleaned(pairs, 3, 0.7)
    assert [candidate.iou for candidate, _ in kept] == [0.8, 0.7]
