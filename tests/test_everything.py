"""Segment everything, as a pure function, beside the answers to single clicks."""

import operator
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import sam_jax
from sam_jax.everything import EverythingOptions, find_masks
from sam_jax.image import encode_image
from sam_jax.ops.masks import mask_to_box, stability_score
from sam_jax.predictors.crops import Crop, canvas_of, crops_of, point_grid, view_of
from sam_jax.types import FoundMasks, ImageFeatures, MaskLimits, Model, PointGrid

OPTIONS = EverythingOptions(points_per_batch=8, capacity=64)
SIZE = (200, 300)  # height, width
IOU, STABILITY, OFFSET = 0.2, 0.6, 0.1  # the shipped weights are timid on photos
FIND = jax.jit(find_masks, static_argnames="options")


@pytest.fixture(scope="module")
def model() -> Model:
    return sam_jax.load("sam2.1-hiera-nano")


@pytest.fixture(scope="module")
def picture(docs_media: Path) -> np.ndarray:
    with Image.open(docs_media / "coffee.jpg") as photo:
        return np.array(photo.convert("RGB").resize(SIZE[::-1]))


def limits(iou: float = IOU, stability: float = STABILITY, overlap: float = 0.7) -> MaskLimits:
    numbers = (iou, stability, 0.0, OFFSET, -OFFSET, overlap)
    return MaskLimits(*(jnp.float32(number) for number in numbers))


def features_of(model: Model, pictures: list[np.ndarray], crops: list[Crop]) -> ImageFeatures:
    pairs = zip(pictures, crops, strict=True)
    inputs = [canvas_of(c, model.config).paint(c.pixels(p)) for p, c in pairs]
    return jax.jit(encode_image)(model, np.stack(inputs))


def grid_of(model: Model, side: int, count: int = 1) -> PointGrid:
    points = point_grid(side).astype(np.float32) * model.config.image_size
    return PointGrid(np.tile(points, (count, 1, 1)), np.ones((count, side * side), bool))


def find(model: Model, picture: np.ndarray, crop: Crop, **changes: Any) -> FoundMasks:
    """One picture or crop, on 5 x 5 points."""
    arguments = {"grid": grid_of(model, 5), "limits": limits(), "options": OPTIONS} | changes
    features = features_of(model, [picture], [crop])
    view = view_of([crop], model.config)
    found = FIND(
        model, features, arguments["grid"], view, arguments["limits"], options=arguments["options"]
    )
    return jax.tree.map(lambda x: np.asarray(x[0]), found)


def whole(picture: np.ndarray) -> Crop:
    return crops_of(*picture.shape[:2], 0, 0.3)[0]


def expected(model: Model, picture: np.ndarray, crop: Crop, refine: bool) -> dict[int, Any]:
    """index -> (iou, stability, box) of what passes the limits: one click at a time, full masks."""
    predictor = sam_jax.ImagePredictor(model)
    predictor.set_image(crop.pixels(picture))
    height, width = crop.size
    passed = {}
    for point, xy in enumerate(point_grid(5) * [width, height]):
        masks, ious, low = predictor.predict([xy], [1], return_logits=True)
        for candidate in range(3):
            mask, iou = masks[candidate], ious[candidate]
            if refine:
                mask, iou = (
                    x[0]
                    for x in predictor.predict(
                        [xy], [1], None, low[[candidate]], False, return_logits=True
                    )[:2]
                )
            logits = jnp.asarray(mask)
            stability = float(stability_score(logits, 0.0, OFFSET, empty=0.0))
            box = np.asarray(mask_to_box(logits > 0)) + [*crop.box[:2]] * 2
            edges = np.abs(box - crop.box) <= 20
            inner = np.abs(box - [0, 0, *crop.whole[::-1]]) > 20
            if iou > IOU and stability >= STABILITY and not (edges & inner).any():
                passed[3 * point + candidate] = (iou, stability, box - [*crop.box[:2]] * 2)
    return passed


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("number", [0, 2])  # the whole, and a part of it
def test_equal_to_clicks_one_by_one(
    model: Model, picture: np.ndarray, refine: bool, number: int
) -> None:
    crop = crops_of(*SIZE, 1, 0.3)[number]
    reference = expected(model, picture, crop, refine)
    options = EverythingOptions(points_per_batch=8, capacity=80, refine=refine)
    # IoUs of boxes reach 1 at most: nothing is a duplicate
    found = find(model, picture, crop, limits=limits(overlap=1.0), options=options)
    assert 3 < len(reference) < 75
    assert int(found.passed) == len(reference)
    assert set(found.index[found.valid].tolist()) == set(reference)
    for slot in np.flatnonzero(found.valid):
        iou, stability, box = reference[int(found.index[slot])]
        np.testing.assert_allclose(found.iou[slot], iou, atol=1e-5)
        np.testing.assert_allclose(found.stability[slot], stability, atol=2e-3)
        np.testing.assert_array_equal(found.box[slot], box)


def contents(found: FoundMasks) -> dict[int, tuple[float, ...]]:
    slots = np.flatnonzero(found.valid)
    return {
        int(found.index[i]): (*found.box[i].tolist(), round(float(found.iou[i]), 4)) for i in slots
    }


def test_duplicates_go_and_the_better_stays(model: Model, picture: np.ndarray) -> None:
    loose = find(model, picture, whole(picture), limits=limits(overlap=1.0))
    strict = find(model, picture, whole(picture), limits=limits(overlap=0.3))
    assert 0 < strict.valid.sum() < loose.valid.sum() == loose.passed == strict.passed
    best = loose.index[np.argmax(loose.iou)]
    assert best in strict.index[strict.valid]


def test_batches_do_not_change_what_is_found(model: Model, picture: np.ndarray) -> None:
    crop = whole(picture)
    together = EverythingOptions(points_per_batch=25, capacity=64)
    uneven = EverythingOptions(points_per_batch=7, capacity=64)
    reference = contents(find(model, picture, crop))
    assert len(reference) > 1
    assert contents(find(model, picture, crop, options=together)) == reference
    assert contents(find(model, picture, crop, options=uneven)) == reference


def test_only_where_asked(model: Model, picture: np.ndarray) -> None:
    """Points that are not asked, first or last, are as if they were not there."""
    grid = grid_of(model, 5)
    asked = np.random.default_rng(0).random((1, 25)) < 0.5
    everywhere = find(model, picture, whole(picture), limits=limits(overlap=1.0))
    some = find(
        model,
        picture,
        whole(picture),
        grid=grid.replace(asked=asked),
        limits=limits(overlap=1.0),
    )
    inside = {i: v for i, v in contents(everywhere).items() if asked[0, i // 3]}
    assert 0 < len(inside) < everywhere.valid.sum()
    assert contents(some) == inside
    nothing = find(model, picture, whole(picture), grid=grid.replace(asked=np.zeros((1, 25), bool)))
    assert not nothing.valid.any() and nothing.passed == 0


@pytest.mark.parametrize("capacity", [1, 5])
def test_the_best_stay_when_there_are_too_many(
    model: Model, picture: np.ndarray, capacity: int
) -> None:
    crop, loose = whole(picture), limits(overlap=1.0)
    everything = find(model, picture, crop, limits=loose)
    assert everything.passed > capacity
    few = find(
        model,
        picture,
        crop,
        limits=loose,
        options=EverythingOptions(points_per_batch=8, capacity=capacity),
    )
    assert few.passed == everything.passed
    best = np.sort(everything.iou)[-capacity:]
    np.testing.assert_allclose(np.sort(few.iou), best, atol=1e-6)
    for slot in range(capacity):  # each with its own mask
        (same,) = np.flatnonzero(everything.index == few.index[slot])
        np.testing.assert_allclose(few.logits[slot], everything.logits[same], atol=1e-4)


def test_zero_lets_all_pass(model: Model, picture: np.ndarray) -> None:
    options = EverythingOptions(points_per_batch=8, capacity=80)
    found = find(model, picture, whole(picture), limits=limits(0, 0, 1.0), options=options)
    assert found.passed == found.valid.sum() == 75


def test_one_mask_a_point(model: Model, picture: np.ndarray) -> None:
    options = EverythingOptions(points_per_batch=8, capacity=64, multimask=False)
    found = find(model, picture, whole(picture), limits=limits(0, 0, 1.0), options=options)
    assert sorted(found.index[found.valid].tolist()) == list(range(25))


def test_small_regions_are_removed_before_measuring(model: Model, picture: np.ndarray) -> None:
    crop, all_pass = whole(picture), limits(0, 0, 1.0)
    options = EverythingOptions(points_per_batch=8, capacity=80)
    plain = find(model, picture, crop, limits=all_pass, options=options)
    clean = EverythingOptions(points_per_batch=8, capacity=80, max_region_area=6)
    found = find(model, picture, crop, limits=all_pass, options=clean)
    order, other = np.argsort(plain.index), np.argsort(found.index)
    changed = (plain.logits[order] != found.logits[other]) & (plain.index[order] >= 0)[
        :, None, None
    ]
    assert changed.any() and changed.mean() < 0.2
    assert (np.abs(found.logits[other][changed]) == 10).all()
    assert (plain.box[order] != found.box[other]).any()


def test_many_pictures_and_sizes_in_one_program(model: Model, picture: np.ndarray) -> None:
    pictures = [picture, picture[:150, 50:170], picture[100:, 100:]]
    crops = [whole(picture) for picture in pictures]
    find_all = jax.jit(partial(find_masks, options=OPTIONS))
    arguments = (grid_of(model, 5, 3), view_of(crops, model.config), limits())
    found = find_all(model, features_of(model, pictures, crops), *arguments)
    for i, pixels in enumerate(pictures):
        alone = find(model, pixels, crops[i])
        mine = jax.tree.map(np.asarray, jax.tree.map(operator.itemgetter(i), found))
        assert contents(mine) == contents(alone)
    others = [whole(pixels.transpose(1, 0, 2)) for pixels in pictures]
    find_all(
        model,
        features_of(model, pictures, crops),
        grid_of(model, 5, 3),
        view_of(others, model.config),
        limits(iou=0.1, overlap=0.2),
    )
    assert find_all._cache_size() == 1


PROGRAM = """
import sys
from functools import partial

import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_compilation_cache_dir", sys.argv[2] or None)
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
import sam_jax
from sam_jax.everything import EverythingOptions, find_masks
from sam_jax.image import encode_image
from sam_jax.io.images import read_image, to_model_input
from sam_jax.predictors.crops import crops_of, point_grid, view_of
from sam_jax.sharding import make_mesh, over_objects
from sam_jax.types import MaskLimits, PointGrid

model = sam_jax.load("sam2.1-hiera-nano")
side = model.config.image_size
photo = read_image(sys.argv[1])
pictures = np.stack([to_model_input(photo[:, 50 * i : 50 * i + 300], side) for i in range(4)])
points = point_grid(4).astype(np.float32) * side
grid = PointGrid(np.tile(points, (4, 1, 1)), np.ones((4, 16), bool))
view = view_of([crops_of(200 + i, 300, 0, 0.3)[0] for i in range(4)], model.config)
limits = MaskLimits(*np.float32([0.2, 0.3, 0, 0.1, -0.1, 0.3]))
options = EverythingOptions(points_per_batch=8, capacity=48)

def search(model, pictures, grid, view, limits):
    features = encode_image(model, pictures)
    return find_masks(model, features, grid, view, limits, options=options)

mesh = make_mesh()
assert mesh.size == 4
arguments = [jax.device_put(x, NamedSharding(mesh, P("data"))) for x in (pictures, grid, view)]
spread = jax.jit(over_objects(search, mesh))
compiled = spread.lower(model, *arguments, limits).compile()
text = compiled.as_text()
found = [name for name in COLLECTIVES if name + "(" in text or name + "-start(" in text]
assert not found, found
spread = compiled(model, *arguments, limits)
alone = jax.jit(search)(model, pictures, grid, view, limits)
assert 4 < alone.valid.sum() < alone.passed.sum()
for name in ("valid", "index", "passed", "box"):
    np.testing.assert_array_equal(getattr(spread, name), getattr(alone, name), err_msg=name)
np.testing.assert_allclose(spread.iou, alone.iou, atol=1e-5)
print("all equal")
"""


def test_equal_sharded_and_whole_without_collectives(docs_media: Path) -> None:
    collectives = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    cache = jax.config.jax_compilation_cache_dir or ""
    program = PROGRAM.replace("COLLECTIVES", repr(collectives))
    result = subprocess.run(
        [sys.executable, "-c", program, str(docs_media / "coffee.jpg"), cache],
        check=False,
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "all equal" in result.stdout
