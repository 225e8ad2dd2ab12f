"""Hiera and its neck at tiny width, against recorded outputs of the official code."""

import jax
import jax.numpy as jnp
import pytest

from sam_jax.image import encode_image
from sam_jax.ops.colour import MEAN, STD
from sam_jax.ops.windows import unpartition


@pytest.mark.parametrize("case", ["windowed", "pooling", "global", "padded", "padded_pooling"])
def test_golden_block(golden, case: str) -> None:
    case = golden("hiera_block", case)
    index = case.extra["index"]
    x = case.run(lambda m, x: m.image_encoder.trunk.blocks[index](x), case.inputs["x"])
    case.check(x=x)


@pytest.mark.parametrize("model", ["tiny", "wide"])
def test_golden_position_table(golden, model: str) -> None:
    case = golden("position", model)
    side = case.extra["side"]
    table = case.run(lambda m: m.image_encoder.trunk.position(side, side))
    case.check(table=table[..., :2])


@pytest.mark.parametrize("model", ["tiny", "wide"])
def test_golden_image_encoder(golden, model: str) -> None:
    case = golden("image_encoder", model)
    image = jnp.asarray(case.inputs["image"], jnp.float32)[None] / 255
    features = jax.jit(encode_image)(case.model, image)
    normalised = (image - jnp.asarray(MEAN)) / jnp.asarray(STD)
    stages = case.run(lambda m, x: m.image_encoder.trunk(x), normalised)
    side = image.shape[1]
    case.check(
        stage3=unpartition(stages[2], side // 16, side // 16),
        stage4=unpartition(stages[3], side // 32, side // 32),
        embed=features.embed,
        high_res0=features.high_res[0],
        high_res1=features.high_res[1],
    )
