"""Image encoders as their authors publish them: the ViT of MAE. Of Hiera, see test_start.py."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.checkpoint import torch_file
from sam_jax.checkpoint.names import to_official
from sam_jax.checkpoint.strict import flatten
from sam_jax.models.vit import Vit
from sam_jax.types import Model
from train.pretrained import encoder_params, read_encoder

ROOT = "image_encoder/"
Flat = dict[str, np.ndarray]


@pytest.fixture
def params(small_sam: Model) -> Flat:
    """Of the model that gets the encoder; its grid is 6 x 6, its patches 16 pixels."""
    return {path: np.asarray(x) for path, x in flatten(small_sam.params).items()}


@pytest.fixture
def mae(params: Flat, small_sam: Model) -> Flat:
    """A ViT that learned by masking: a class token, a grid of 3 x 3, and a decoder."""
    own = {
        path: x
        for path, x in params.items()
        if path.startswith(ROOT) and not re.search("pos_embed|rel_pos|neck", path)
    }
    state = {
        name.removeprefix("image_encoder.").replace(".lin", ".fc"): np.ascontiguousarray(x)
        for name, x in to_official(own, small_sam.config).items()
    }
    places = np.arange(3, dtype=np.float32)
    grid = np.broadcast_to(places[:, None, None] + 10 * places[:, None], (3, 3, 16)).reshape(9, 16)
    state["pos_embed"] = np.concatenate([np.full((1, 16), 99, np.float32), grid])[None]
    unused = ("cls_token", "mask_token", "norm.weight", "norm.bias", "fc_norm.weight")
    unused += ("decoder_pos_embed", "decoder_embed.weight", "decoder_blocks.0.norm1.bias")
    unused += ("decoder_norm.weight", "decoder_pred.bias", "head.weight")
    return state | {name: np.zeros(3, np.float32) for name in unused}


def begin(state: Flat, small_sam: Model, params: Flat) -> tuple[Flat, str]:
    return encoder_params(state, small_sam.config, params, Path("mae.pth"))


def test_a_file_of_the_authors_is_known_by_its_names(tmp_path: Path, mae: Flat) -> None:
    torch_file.write(tmp_path / "mae.pth", mae, key="model")
    found = read_encoder(tmp_path / "mae.pth")
    assert found is not None and found.keys() == mae.keys()
    torch_file.write(tmp_path / "other.pth", {"a": np.zeros(1, np.float32)}, key="model")
    assert read_encoder(tmp_path / "other.pth") is None
    assert read_encoder(tmp_path) is None


def test_blocks_are_taken_as_they_are_and_the_rest_is_named(
    mae: Flat, small_sam: Model, params: Flat
) -> None:
    found, said = begin(mae, small_sam, params)
    assert said == (
        "ViT of mae.pth; zero: relative positions; random: its neck, all outside of image_encoder"
    )
    own = {path for path in params if path.startswith(ROOT)}
    assert own - found.keys() == {p for p in own if "rel_pos" in p or "neck" in p}
    for path in found.keys() - {f"{ROOT}pos_embed"}:
        np.testing.assert_array_equal(found[path], params[path], err_msg=path)


def test_the_table_is_stretched_without_the_class_token(
    mae: Flat, small_sam: Model, params: Flat
) -> None:
    table = begin(mae, small_sam, params)[0][f"{ROOT}pos_embed"]
    assert table.shape == (1, 6, 6, 16)
    assert table.max() < 30  # 99 is the class token's
    rows, columns = table[0, :, 2, 0], table[0, 2, :, 0]
    np.testing.assert_allclose(np.diff(rows)[2], 0.5, atol=0.1)
    np.testing.assert_allclose(np.diff(columns)[2], 5, atol=1)
    np.testing.assert_allclose(table.mean(), 11, atol=0.1)


def test_kernels_of_other_patches_are_stretched(mae: Flat, small_sam: Model, params: Flat) -> None:
    """The huge ViT of MAE has patches of 14 pixels."""
    plane = np.linspace(0, 1, 14, dtype=np.float32)
    kernel = np.broadcast_to(plane[:, None] + 2 * plane, (16, 3, 14, 14))
    found, _ = begin(mae | {"patch_embed.proj.weight": kernel}, small_sam, params)
    stretched = found[f"{ROOT}patch_embed/proj/kernel"]
    assert stretched.shape == (16, 16, 3, 16)
    centres = (np.arange(16) + 0.5) * 14 / 16 - 0.5
    expected = centres[:, None] / 13 + 2 * centres / 13
    np.testing.assert_allclose(stretched[2:-2, 2:-2, 0, 0], expected[2:-2, 2:-2], atol=0.01)


def test_relative_positions_of_a_file_are_taken(mae: Flat, small_sam: Model, params: Flat) -> None:
    tables = {p: x for p, x in params.items() if "rel_pos" in p}
    state = {p.removeprefix(ROOT).replace("blocks_", "blocks.").replace("/", "."): x
             for p, x in tables.items()}  # fmt: skip
    found, said = begin(mae | state, small_sam, params)
    assert "zero" not in said
    for path, x in tables.items():
        np.testing.assert_array_equal(found[path], x)


def test_another_encoder_is_refused(mae: Flat, small_sam: Model, params: Flat) -> None:
    wrong = mae | {"blocks.2.norm1.weight": np.zeros(16, np.float32)}
    del wrong["blocks.1.mlp.fc2.weight"]
    with pytest.raises(ValueError, match=r"1 missing, 1 unexpected") as error:
        begin(wrong, small_sam, params)
    assert f"- {ROOT}blocks_1/mlp/layers_1/kernel" in str(error.value)
    oblong = mae | {"pos_embed": np.zeros((1, 1 + 6, 16), np.float32)}
    with pytest.raises(ValueError, match="only those of square images can be used"):
        begin(oblong, small_sam, params)


def test_relative_positions_begin_at_zero(
    small_sam: Model, random_params: Callable[..., Any]
) -> None:
    encoder = small_sam.config.encoder
    images = jnp.zeros((1, 96, 96, 3))
    drawn = flatten(jax.jit(Vit(encoder, 32).init)(jax.random.key(0), images)["params"])
    tables = [x for path, x in drawn.items() if "rel_pos" in path]
    assert len(tables) == 4 and not any(x.any() for x in tables)
    assert drawn["pos_embed"].any()
