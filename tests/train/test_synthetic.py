"""The synthetic world: exact visible masks, the same for the same seed."""

import numpy as np
import pytest

from train.outlines import OUTLINES, THINGS
from train.synthetic import MIN_PIXELS, Scene, make_batch, make_scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(np.random.default_rng(seed), 96) for seed in range(12)]


def test_a_scene_is_the_same_for_the_same_seed() -> None:
    first, again, other = (make_batch((0, seed), 2, 3, size=64, photos=False) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_batch_shapes() -> None:
    images, masks = make_batch((3,), 2, 3, size=64, photos=False)
    assert (images.shape, images.dtype) == ((2, 64, 64, 3), np.uint8)
    assert (masks.shape, masks.dtype) == ((6, 64, 64), bool)
    assert masks.any((1, 2)).all()


def test_every_pixel_belongs_to_one_thing(scenes: list[Scene]) -> None:
    for scene in scenes:
        whole = [i for i, parent in enumerate(scene.parents) if i and not parent]
        covered = np.sum([scene.mask(i) for i in whole], 0)
        assert np.array_equal(covered, scene.layers > 0)


def test_parts_lie_inside_their_things(scenes: list[Scene]) -> None:
    parts = 0
    for scene in scenes:
        for layer, parent in enumerate(scene.parents):
            if parent:
                assert parent < layer
                assert not (scene.mask(layer) & ~scene.mask(parent)).any()
                parts += scene.mask(layer).any()
    assert parts > 10


def test_targets_are_neither_specks_nor_everything(scenes: list[Scene]) -> None:
    for scene in scenes:
        areas = np.array([t.sum() for t in scene.targets().values()])
        assert (areas >= MIN_PIXELS * (96 / 256) ** 2).all()
        assert (areas <= 0.9 * 96**2).all()


def test_a_mask_is_where_the_painting_changed() -> None:
    """The last thing painted hides what is below it, and its mask is exactly that."""
    layers = np.array([[0, 1, 1], [2, 2, 3], [0, 3, 3]])
    scene = Scene(np.zeros((3, 3, 3), np.uint8), layers, parents=(0, 0, 1, 2))
    assert np.array_equal(scene.mask(3), layers == 3)
    assert np.array_equal(scene.mask(2), layers >= 2)
    assert np.array_equal(scene.mask(1), layers >= 1)


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_fill_the_unit_frame(name: str) -> None:
    for seed in range(20):
        outline = OUTLINES[name](np.random.default_rng(seed))
        points = np.concatenate([p for p, _ in outline])
        assert outline[0][1]
        assert np.isfinite(points).all()
        assert 0.5 < np.abs(points).max() < 2


def test_things_name_known_outlines() -> None:
    stack = list(THINGS)
    while stack:
        thing = stack.pop()
        assert thing.outline in OUTLINES
        stack += thing.parts
