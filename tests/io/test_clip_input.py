"""Which part of a picture CLIP sees. That the pixels are transformers', tests/oracle shows."""

import numpy as np
import pytest
from PIL import Image

from sam_jax.io.clip_input import MEAN, STD, to_clip_input, to_clip_mask


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_picture_of_the_right_size_is_only_normalised() -> None:
    image = photo(32, 32)
    found = to_clip_input(image, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found * STD + MEAN, image / 255, atol=1e-6)
    np.testing.assert_array_equal(to_clip_input(Image.fromarray(image), 32), found)


def test_of_a_long_picture_the_middle_is_seen() -> None:
    image = photo(32, 80)
    np.testing.assert_array_equal(to_clip_input(image, 32), to_clip_input(image[:, 24:56], 32))
    tall = image.swapaxes(0, 1)
    np.testing.assert_array_equal(to_clip_input(tall, 32), to_clip_input(tall[24:56], 32))


@pytest.mark.parametrize(("height", "width"), [(32, 80), (100, 40), (17, 33), (300, 301), (5, 5)])
def test_a_mask_stays_on_its_object(height: int, width: int) -> None:
    """A white rectangle on black: the mask is where the picture is bright, and around it."""
    mask = np.zeros((height, width), bool)
    mask[height // 3 : -(height // 3), width // 3 : -(width // 3)] = True
    bright = to_clip_input(np.repeat(mask[..., None], 3, -1) * np.uint8(255), 32)
    bright = (bright * STD + MEAN)[..., 0]
    found = to_clip_mask(mask, 32)
    assert found.shape == (32, 32)
    assert found[bright > 0.5].all()
    assert bright[~found].max() < 0.5


def test_a_single_pixel_is_not_lost() -> None:
    mask = np.zeros((300, 300), bool)
    mask[150, 150] = True
    assert to_clip_mask(mask, 32).sum() == 1


def test_pictures_that_are_none() -> None:
    with pytest.raises(ValueError, match="uint8"):
        to_clip_input(photo(8, 8) / 255, 32)
