"""Every preset builds, at its own and at other input sizes, without computing anything."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from sam_jax import image
from sam_jax.config import Sam2Config
from sam_jax.models import abstract_params, build
from sam_jax.presets import PRESETS
from sam_jax.types import Model, Prompts

# Of the released checkpoints; upstream keeps the Fourier matrix as a buffer, not a parameter.
COUNTS = {
    "sam2.1-hiera-tiny": (38_962_498, 471),
    "sam2.1-hiera-small": (46_060_354, 519),
    "sam2.1-hiera-base-plus": (80_850_178, 615),
    "sam2.1-hiera-large": (224_446_642, 903),
    "sam2-hiera-tiny": (38_945_986, 468),
    "sam2-hiera-small": (46_043_842, 516),
    "sam2-hiera-base-plus": (80_833_666, 612),
    "sam2-hiera-large": (224_430_130, 900),
    "sam-vit-base": (93_735_472, 314),
    "sam-vit-large": (312_342_832, 482),
    "sam-vit-huge": (641_090_608, 594),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_of_the_released_models(name):
    leaves = jax.tree.leaves(abstract_params(build(PRESETS[name])))
    assert (sum(leaf.size for leaf in leaves) - 256, len(leaves)) == COUNTS[name]
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_nano_is_small():
    leaves = jax.tree.leaves(abstract_params(build(PRESETS["sam2.1-hiera-nano"])))
    assert 2e6 < sum(leaf.size for leaf in leaves) < 4.1e6


@pytest.mark.parametrize(
    ("side", "dtype"), [(None, jnp.float32), (480, jnp.bfloat16)], ids=["own-size", "480-half"]
)
@pytest.mark.parametrize("config", PRESETS.values(), ids=lambda config: config.name)
def test_shapes_of_a_prediction(config, side, dtype):
    config = config if side is None else dataclasses.replace(config, image_size=side)
    module = build(config, dtype)
    d, grid, hm = config.dim, config.grid, config.mask_size

    def run(params, images, prompts):
        model = Model(params=params, module=module)
        features = image.encode_image(model, images)
        return features, image.predict(model, features, prompts, multimask=True)

    shape = jax.ShapeDtypeStruct
    prompts = Prompts(
        points=shape((6, 4, 2), jnp.float32),
        labels=shape((6, 4), jnp.int32),
        mask=shape((6, hm, hm, 1), jnp.float32),
        has_mask=shape((6,), bool),
    )
    images = shape((2, config.image_size, config.image_size, 3), jnp.float32)
    features, masks = jax.eval_shape(run, abstract_params(module), images, prompts)
    assert features.embed == shape((2, grid, grid, d), dtype)
    fine = shape((2, hm, hm, d // 8), dtype), shape((2, 2 * grid, 2 * grid, d // 4), dtype)
    assert features.high_res == (fine if isinstance(config, Sam2Config) else ())
    assert masks.logits == shape((6, 3, hm, hm), jnp.float32)
    assert masks.iou == shape((6, 3), jnp.float32)
    assert masks.object_logit == shape((6,), jnp.float32)


def test_init_gives_finite_parameters_with_torch_like_spread():
    from sam_jax.models import init_params

    params = init_params(build(PRESETS["sam2.1-hiera-nano"]), jax.random.key(0))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))
    kernel = params["image_encoder"]["trunk"]["blocks_0"]["attn"]["qkv"]["kernel"]
    bound = 32**-0.5
    assert 0.9 * bound < abs(kernel).max() <= bound
