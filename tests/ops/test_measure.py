"""Measured in tiles is measured whole."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.config import HieraConfig, Sam2Config, SamConfig, VitConfig
from sam_jax.ops.masks import mask_to_box, stability_score
from sam_jax.ops.measure import measure
from sam_jax.predictors.crops import canvas_of, crops_of, view_of
from sam_jax.types import MaskLimits, PictureView

SQUASHED = Sam2Config("squashed", HieraConfig(8, 1, (1, 1, 1, 1), ()), image_size=128)
KEPT = SamConfig("kept", VitConfig(8, 1, 1, ()), image_size=128)
MEASURE = jax.jit(partial(measure, tile=(64, 128)))


def limits(threshold: float = 0.0, offset: float = 1.0) -> MaskLimits:
    numbers = (0.0, 0.0, threshold, threshold + offset, threshold - offset, 0.7)
    return MaskLimits(*(np.float32(number) for number in numbers))


def blobs(seed: int) -> np.ndarray:
    """Logits [4 32 32] of smooth shapes, the last one nowhere above -2."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    centre, radius = random.uniform(4, 28, (4, 2)), random.uniform(3, 9, 4)
    distance = np.hypot(y - centre[:, :1, None], x - centre[:, 1:, None])
    logits = 1.3 * (radius[:, None, None] - distance) + 0.3 * random.standard_normal((4, 32, 32))
    logits[3] = -3
    return logits.astype(np.float32)


def one(view: PictureView) -> PictureView:
    return jax.tree.map(lambda x: x[0], view)


@pytest.mark.parametrize("config", [SQUASHED, KEPT], ids=lambda config: config.name)
@pytest.mark.parametrize("size", [(90, 140), (20, 17), (1, 300), (128, 128), (500, 333)])
def test_equal_to_the_whole_picture(config: Sam2Config | SamConfig, size: tuple[int, int]) -> None:
    (crop,) = crops_of(*size, 0, 0.3)
    logits = blobs(sum(size))
    for threshold, offset in ((0.0, 1.0), (-0.4, 0.3)):
        box, stability = MEASURE(logits, one(view_of([crop], config)), limits(threshold, offset))
        full = jnp.asarray(canvas_of(crop, config).to_picture(logits))
        np.testing.assert_array_equal(box, mask_to_box(full > threshold))
        expected = stability_score(full, threshold, offset, empty=0.0)
        np.testing.assert_allclose(stability, expected, atol=1e-6)
    assert (box[3] == 0).all() and stability[3] == 0


def test_pictures_of_all_sizes_share_a_program() -> None:
    counted = jax.jit(partial(measure, tile=(64, 128)))
    for size in ((90, 140), (1000, 20), (1024, 1024)):
        counted(blobs(0), one(view_of(crops_of(*size, 0, 0.3), SQUASHED)), limits())
    assert counted._cache_size() == 1


def test_tiles_must_divide_the_padded_size() -> None:
    view = one(view_of(crops_of(10, 10, 0, 0.3), SQUASHED))
    with pytest.raises(ValueError, match=r"tiles of \(48, 128\) do not divide 1024 x 1024"):
        jax.eval_shape(partial(measure, tile=(48, 128)), blobs(0), view, limits())
