"""Turning, resizing and colours against what the official transforms call in torchvision."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from train.config import Augment
from train.data.augment import augment

pytestmark = pytest.mark.oracle
NOTHING = Augment(**{field.name: 0.0 for field in dataclasses.fields(Augment)})


@pytest.fixture
def clip() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    image = Image.fromarray(random).resize((214, 120), Image.Resampling.BICUBIC)
    ys, xs = np.mgrid[:120, :214]
    mask = (ys - 55) ** 2 / 2 + (xs - 100) ** 2 < 900
    return np.asarray(image)[None], mask[None, None]


@pytest.mark.parametrize("size", [256, 96])
def test_turn_and_resize(official, clip: tuple[np.ndarray, np.ndarray], size: int) -> None:
    import torch
    from torchvision.transforms import InterpolationMode as Mode
    from torchvision.transforms import functional

    options = dataclasses.replace(NOTHING, rotation=25.0, shear=20.0)
    images, masks = augment(*clip, size=size, options=options, rng=np.random.default_rng(3))
    rng = np.random.default_rng(3)
    rng.random()  # the flip
    angle, shear = rng.uniform(-25, 25), rng.uniform(-20, 20)

    def turn(image, mode: Mode, fill):
        values = {"angle": angle, "shear": [shear, 0.0], "translate": [0, 0], "scale": 1.0}
        return functional.affine(image, **values, interpolation=mode, fill=fill)

    picture = turn(Image.fromarray(clip[0][0]), Mode.BILINEAR, (123, 116, 103))
    np.testing.assert_array_equal(images[0], functional.resize(picture, [size, size]))
    mask = turn(torch.from_numpy(clip[1][0].astype(np.uint8)), Mode.NEAREST, 0.0)
    resized = functional.resize(mask[None], [size, size])[0, 0].numpy() > 0
    # Pillow rounds coverage to 1/255 after each direction: of a border, some pixels in a hundred.
    assert (masks[0, 0] != resized).sum() < 0.002 * resized.sum()


def test_colours(official, clip: tuple[np.ndarray, np.ndarray]) -> None:
    from torchvision.transforms import functional

    options = dataclasses.replace(NOTHING, brightness=0.4, contrast=0.3, saturation=0.6)
    images, _ = augment(*clip, size=96, options=options, rng=np.random.default_rng(5))
    rng = np.random.default_rng(5)
    rng.random(), rng.uniform(), rng.uniform()  # flip, angle, shear
    factors, order = rng.uniform([0.6, 0.7, 0.4], [1.4, 1.3, 1.6]), rng.permutation(3)
    picture = functional.resize(Image.fromarray(clip[0][0]), [96, 96])
    adjust = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
    )
    for i in order:
        picture = adjust[i](picture, factors[i])
    np.testing.assert_array_equal(images[0], picture)
