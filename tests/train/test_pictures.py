"""Pictures of answers, by models that track and by one that cannot."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.types import Model
from train.pictures import answers
from train.types import Batch


@pytest.mark.parametrize("tracks", [True, False], ids=["sam2", "sam1"])
def test_a_row_for_each_picture(
    tracks: bool, small_tracker: Callable[..., Model], small_sam: Model
) -> None:
    model = small_tracker() if tracks else small_sam
    images = np.random.default_rng(0).integers(0, 256, (1, 2, 96, 96, 3), np.uint8)
    masks = np.zeros((1, 4, 96, 96), bool)
    masks[:, :, 20:60, 30:70] = True
    valid = masks[0].any((1, 2))
    batch = Batch(images=jnp.asarray(images), masks=jnp.asarray(masks), valid=jnp.asarray(valid))
    picture = answers(model, batch)
    header = picture.shape[0] - 2 * 96
    assert picture.shape == (header + 2 * 96, 2 * 96, 3) and 0 < header < 30
    truth, answer = picture[header : header + 96, :96], picture[header : header + 96, 96:]
    assert (truth[5, 5] == images[0, 0, 5, 5]).all()  # outside of all objects
    assert (truth[40, 50] != images[0, 0, 40, 50]).any()
    assert (answer != images[0, 0]).any()
