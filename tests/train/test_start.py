"""Weights to begin with: random ones, of a model, of a pretrained image encoder."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import models
from sam_jax.checkpoint import native, torch_file
from sam_jax.checkpoint.names import to_official
from sam_jax.checkpoint.strict import flatten
from sam_jax.config import DecoderConfig, HieraConfig, MemoryConfig, Sam2Config, WordsConfig
from train import start
from train.config import Recipe, Source, Stream

CONFIG = Sam2Config(
    "small",
    HieraConfig(8, 1, (1, 1, 1, 1), global_att_blocks=(), window_spec=(4, 4, 4, 2)),
    image_size=32,
    dim=32,
    decoder=DecoderConfig(depth=1, num_heads=2, mlp_dim=32, iou_hidden_dim=16),
    memory=MemoryConfig(dim=8, attention_layers=1, mlp_dim=32, fuser_layers=1),
)
IMAGES = Stream(source=Source(kind="synthetic"), batch=1, frames=1, objects=1)
TRUNK = "image_encoder/trunk/"
KEY = jax.random.key(0)
Flat = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return models.build(CONFIG)


@pytest.fixture(scope="module")
def params(module: nn.Module, random_params: Callable[..., Any]) -> Flat:
    """What a file holds."""
    return flatten(random_params(module))


@pytest.fixture
def cheap_random(params: Flat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights that need not be compiled: everywhere -1."""
    minus = {path: np.full_like(x, -1) for path, x in params.items()}
    monkeypatch.setattr(start, "random_params", lambda *_: start.unflatten(minus))


def begin(x: Path | str, module: nn.Module) -> tuple[Flat, str]:
    recipe = Recipe(model="small", folder="", steps=1, images=IMAGES, start=str(x))
    params, description = start.initial_params(recipe, module, KEY)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
    return {path: np.asarray(x) for path, x in flatten(params).items()}, description


def test_weights_learned_at_one_size_begin_another(
    params: Flat, module: nn.Module, tmp_path: Path
) -> None:
    native.write(tmp_path / "small.safetensors", CONFIG, params)
    larger = models.build(dataclasses.replace(CONFIG, image_size=64))
    found, _ = begin(tmp_path / "small.safetensors", larger)
    assert found.keys() == params.keys()
    for path, x in params.items():
        np.testing.assert_array_equal(found[path], x)


def test_random_weights_are_inclined(
    module: nn.Module, random_params: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = jax.tree.map(jnp.array, random_params(module))  # what flax draws takes a minute
    monkeypatch.setattr(start, "init_params", lambda *_: jax.tree.map(jnp.copy, before))
    params, description = begin("", module)
    drawn = flatten(before)
    assert description == "random weights"
    layer = "mask_decoder/transformer/layers_0/cross_attn_token_to_image"
    np.testing.assert_allclose(
        params[f"{layer}/k_proj/kernel"], 6 * params[f"{layer}/q_proj/kernel"], rtol=1e-6
    )
    for name in ("mask_decoder/mask_tokens", "prompt_encoder/point_embeddings_2"):
        assert params[name].std() == pytest.approx(1, abs=1e-5)
    memory = "memory_attention/layers_0/cross_attn_image"
    shift = params[f"{memory}/q_proj/bias"] - drawn[f"{memory}/q_proj/bias"]
    np.testing.assert_allclose(shift, 2, rtol=1e-6)
    scale = drawn["memory_attention/norm/scale"]
    np.testing.assert_allclose(params["memory_attention/norm/scale"], 1.6 * scale, rtol=1e-6)
    for name in ("prompt_encoder/no_mask_embed", f"{memory}/v_proj/bias", f"{TRUNK}pos_embed"):
        np.testing.assert_array_equal(params[name], drawn[name])
    assert {k: x.shape for k, x in params.items()} == {k: x.shape for k, x in drawn.items()}


def test_weights_of_a_model(tmp_path: Path, module: nn.Module, params: Flat) -> None:
    path = tmp_path / "a.safetensors"
    native.write(path, dataclasses.replace(CONFIG, name="another name"), params)
    found, description = begin(path, module)
    assert description == f"weights of {path}"
    for name, x in params.items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)


def test_a_model_with_text_begins_one_without_it_and_the_other_way_round(
    tmp_path: Path, params: Flat, random_params: Callable[..., Any], monkeypatch
) -> None:
    path = tmp_path / "a.safetensors"
    native.write(path, CONFIG, params)
    words = WordsConfig(("red",), width=8, depth=1, num_heads=2)
    larger = models.build(dataclasses.replace(CONFIG, text_dim=8, words=words))
    drawn = jax.tree.map(jnp.array, random_params(larger))
    monkeypatch.setattr(start, "init_params", lambda *_: jax.tree.map(jnp.copy, drawn))
    found, description = begin(path, larger)
    assert description == f"weights of {path}; random: all that reads text"
    added = found.keys() - params.keys()
    assert {name.split("/")[0] for name in added} == {"prompt_encoder", "text_encoder"}
    for name, x in params.items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)
    # A phrase becomes a token as large as that of a click.
    assert found["prompt_encoder/text_projection/kernel"].std() == pytest.approx(1, abs=1e-5)
    native.write(path, larger.config, found)
    back, description = begin(path, models.build(CONFIG))
    assert description == f"weights of {path}; left out: all that reads text"
    assert back.keys() == params.keys()
    for name, x in params.items():
        np.testing.assert_array_equal(back[name], x, err_msg=name)


def test_weights_of_another_model(tmp_path: Path, module: nn.Module, params: Flat) -> None:
    path = tmp_path / "a.safetensors"
    decoder = dataclasses.replace(CONFIG.decoder, stability_delta=0.1)
    native.write(path, dataclasses.replace(CONFIG, decoder=decoder), params)
    message = (
        r"a\.safetensors is of another model, 'small', than the recipe's, 'small': "
        r"decoder\.stability_delta is 0\.1, not 0\.05$"
    )
    with pytest.raises(ValueError, match=message):
        begin(path, module)


def test_nothing_there_and_nothing_known(tmp_path: Path, module: nn.Module) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        begin(tmp_path / "a.pt", module)
    with pytest.raises(ValueError, match=r"Did you mean 'sam2\.1-hiera-tiny'"):
        begin("sam2.1-hiera-tny", module)
    torch_file.write(tmp_path / "b.pt", {"a": np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match="holds no SAM model"):
        begin(tmp_path / "b.pt", module)
    (tmp_path / "c.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"c\.pt is not a checkpoint"):
        begin(tmp_path / "c.pt", module)


# Pretrained encoders


@pytest.fixture(scope="module")
def hiera(params: Flat) -> Flat:
    """A Hiera that learned by masking, as its authors name and shape it; pictures of 112 pixels."""
    trunk = {k: x for k, x in params.items() if k.startswith(TRUNK) and "pos_embed" not in k}
    state = {
        re.sub(
            r"mlp\.layers\.(\d)",
            lambda m: f"mlp.fc{int(m[1]) + 1}",
            name.removeprefix("image_encoder.trunk."),
        ): np.ascontiguousarray(x)
        for name, x in to_official(trunk, CONFIG).items()
    }
    places = np.linspace(0, 1, 28, dtype=np.float32)
    table = np.broadcast_to(places[:, None, None] + 2 * places[:, None], (28, 28, 8))
    state["pos_embed"] = table.reshape(1, -1, 8)
    unused = ("encoder_norm.weight", "mask_token", "decoder_pos_embed", "decoder_embed.bias")
    unused += ("decoder_blocks.0.norm1.bias", "multi_scale_fusion_heads.0.weight", "norm.weight")
    return state | {name: np.zeros(3, np.float32) for name in unused}


@pytest.mark.parametrize("key", ["model_state", "model", None])
@pytest.mark.usefixtures("cheap_random")
def test_a_pretrained_trunk(
    key: str | None, tmp_path: Path, module: nn.Module, params: Flat, hiera: Flat
) -> None:
    torch_file.write(tmp_path / "mae.pth", hiera, key=key)
    found, description = begin(tmp_path / "mae.pth", module)
    assert description == (
        f"trunk of {tmp_path / 'mae.pth'}; random: {TRUNK}pos_embed_window, "
        "all outside of image_encoder/trunk"
    )
    for name, x in found.items():
        if not name.startswith(TRUNK) or name.endswith("window"):
            assert (x == -1).all(), name
        elif not name.endswith("pos_embed"):
            np.testing.assert_array_equal(x, params[name], err_msg=name)
    position = found[f"{TRUNK}pos_embed"][0, :, :, 0]
    assert position.shape == (7, 7)
    centres = (np.arange(7) * 4 + 1.5) / 27  # of 4 places each
    inner = slice(1, -1)
    expected = centres[:, None] + 2 * centres
    np.testing.assert_allclose(position[inner, inner], expected[inner, inner], atol=0.01)


@pytest.mark.usefixtures("cheap_random")
def test_tables_of_our_own_shape_are_taken_as_they_are(
    tmp_path: Path, module: nn.Module, params: Flat, hiera: Flat
) -> None:
    tables = {name: params[TRUNK + name] for name in ("pos_embed", "pos_embed_window")}
    own = {k: np.ascontiguousarray(x.transpose(0, 3, 1, 2)) for k, x in tables.items()}
    native.write_safetensors(tmp_path / "a.safetensors", hiera | own, {})
    found, description = begin(tmp_path / "a.safetensors", module)
    for name, x in tables.items():
        np.testing.assert_array_equal(found[TRUNK + name], x)
    assert description.endswith("; random: all outside of image_encoder/trunk")


@pytest.mark.usefixtures("cheap_random")
def test_a_pretrained_trunk_that_does_not_fit(
    tmp_path: Path, module: nn.Module, hiera: Flat
) -> None:
    def message(state: Flat) -> str:
        torch_file.write(tmp_path / "mae.pth", state, key="model_state")
        with pytest.raises(ValueError) as error:
            begin(tmp_path / "mae.pth", module)
        return str(error.value)

    wrong = dict(hiera) | {"blocks.4.norm1.weight": np.zeros(64, np.float32)}
    wrong["blocks.1.norm1.bias"] = np.zeros(9, np.float32)
    del wrong["blocks.3.mlp.fc2.weight"]
    text = message(wrong)
    assert "(1 missing, 1 unexpected, 1 of other shape" in text
    assert f"- {TRUNK}blocks_3/mlp/layers_1/kernel" in text
    assert f"+ {TRUNK}blocks_4/norm1/scale (64,)" in text
    damaged = hiera | {"patch_embed.proj.bias": np.full(8, np.nan, np.float32)}
    assert f"- {TRUNK}patch_embed/proj/bias has NaN" in message(damaged)
    oblong = hiera | {"pos_embed": np.zeros((1, 28 * 27, 8), np.float32)}
    assert "only those of square images can be used" in message(oblong)
