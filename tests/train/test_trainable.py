"""Which parameters move, and low-rank additions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sam_jax import models
from sam_jax.checkpoint.strict import flatten
from sam_jax.presets import SAM2_1_HIERA_NANO
from train.config import Lora, Recipe, Source, Stream
from train.trainable import join, lora_scale, split

IMAGES = Stream(source=Source(kind="synthetic"), batch=1, frames=1, objects=1)
BUFFER = "prompt_encoder/pe_layer/positional_encoding_gaussian_matrix"
KEY = jax.random.key(0)


def recipe(**fields: Any) -> Recipe:
    return Recipe(model="sam2.1-hiera-nano", folder="", steps=10, images=IMAGES, **fields)


@pytest.fixture(scope="module")
def params(random_params: Callable[..., Any]) -> Any:
    return random_params(models.build(SAM2_1_HIERA_NANO))


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_everything_but_the_buffer_is_trained(params: Any) -> None:
    trained, fixed = split(params, recipe(), KEY)
    assert set(fixed) == {BUFFER}
    assert set(trained) | {BUFFER} == set(flatten(params))
    assert_same(join(trained, fixed, None), params)


def test_patterns_freeze(params: Any) -> None:
    patterns = ("^image_encoder/trunk/blocks_[0-2]/", r"no_mem_embed$")
    trained, fixed = split(params, recipe(frozen=patterns), KEY)
    starts = tuple(f"image_encoder/trunk/blocks_{i}/" for i in range(3))
    expected = {path for path in flatten(params) if path.startswith(starts)}
    assert set(fixed) == expected | {BUFFER, "no_mem_embed"}
    assert_same(join(trained, fixed, None), params)


def test_additions_begin_as_nothing_and_then_are_all_that_moves(params: Any) -> None:
    lora = Lora(rank=2, alpha=6.0)
    trained, fixed = split(params, recipe(lora=lora, frozen=(".",)), KEY)
    assert set(fixed) == set(flatten(params))
    kernels = {path.rpartition("/")[0] for path in trained}
    assert "image_encoder/trunk/blocks_0/attn/qkv/kernel" in kernels
    assert "memory_attention/layers_1/cross_attn_image/v_proj/kernel" in kernels
    # qkv and proj of 7 blocks; 4 projections of 2 x 2 memory and 2 x 3 + 1 decoder attentions
    assert len(kernels) == 7 * 2 + 4 * (2 * 2 + 2 * 3 + 1)
    assert set(trained) == {f"{k}/lora_{x}" for k in kernels for x in "ab"}
    assert_same(join(trained, fixed, lora), params)

    def loss(trained: Any) -> jax.Array:
        return sum(((x - 1) ** 2).sum() for x in jax.tree.leaves(join(trained, fixed, lora)))  # type: ignore[return]

    optimizer = optax.sgd(1e-3)
    state = optimizer.init(trained)
    before = trained
    for _ in range(2):
        updates, state = optimizer.update(jax.grad(loss)(trained), state)
        trained = optax.apply_updates(trained, updates)
    assert all((trained[path] != before[path]).any() for path in trained)
    merged = flatten(join(trained, fixed, lora))
    for path, x in flatten(params).items():
        if path in kernels:
            product = trained[f"{path}/lora_a"] @ trained[f"{path}/lora_b"]
            np.testing.assert_allclose(merged[path], x + 3.0 * product, atol=1e-6)
        else:
            np.testing.assert_array_equal(merged[path], x)


def test_additions_are_their_kernels_own(params: Any) -> None:
    one = split(params, recipe(lora=Lora()), KEY)[0]
    again = split(params, recipe(lora=Lora()), KEY)[0]
    other = split(params, recipe(lora=Lora()), jax.random.key(1))[0]
    a = [path for path in one if path.endswith("lora_a")]
    assert all((one[path] == again[path]).all() and (one[path] != other[path]).any() for path in a)
    values = {float(one[path][0, 0]) for path in a}
    assert len(values) == len(a)
    assert all((one[path.replace("lora_a", "lora_b")] == 0).all() for path in a)
    spread = float(jnp.abs(one["image_encoder/trunk/blocks_5/attn/proj/kernel/lora_a"]).max())
    assert 0.9 * 128**-0.5 < spread <= 128**-0.5
    assert lora_scale(Lora(rank=8, alpha=16.0)) == 2.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"frozen": ("image_encodr",)},
            r"'image_encodr' matches no parameter; near are image_enco",
        ),
        ({"frozen": ("^memory_atention/layers_0/",)}, "near are memory_attention/layers_0, "),
        ({"frozen": ("zzz",)}, "matches no parameter; near are image_encoder, mask_decoder, "),
        ({"frozen": ("(",)}, r"frozen '\(' is no regular expression: "),
        ({"frozen": (".",)}, "leaves nothing to train"),
        ({"lora": Lora(kernels="qkw/kernel")}, "lora.kernels 'qkw/kernel' matches no parameter"),
        ({"lora": Lora(kernels="neck")}, "matches no matrix, only .*'image_encoder/neck/convs_0/b"),
        ({"lora": Lora(rank=0)}, "lora.rank must be at least 1, got 0"),
    ],
)
def test_patterns_that_cannot_be_meant(fields: Any, message: str, params: Any) -> None:
    with pytest.raises(ValueError, match=message):
        split(params, recipe(**fields), KEY)
