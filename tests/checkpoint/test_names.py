"""Official names <-> ours, over the recorded lists of the eleven released models."""

import re

import numpy as np
import pytest

from sam_jax import models
from sam_jax.checkpoint import strict
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.checkpoint.names import from_official, to_official
from sam_jax.config import Sam2Config
from sam_jax.presets import PRESETS

RELEASED = [name for name in PRESETS if name != "sam2.1-hiera-nano"]
SAM2 = [name for name in RELEASED if isinstance(PRESETS[name], Sam2Config)]


def test_names_the_lists_are_those_of_the_released_models(recorded) -> None:
    counts = {name: len(recorded("official", name)) for name in RELEASED}
    assert len(counts) == 11
    assert counts["sam2.1-hiera-tiny"] == 471 and counts["sam2-hiera-tiny"] == 468
    assert sum(counts[name] for name in SAM2) == 5004


@pytest.mark.parametrize("model", RELEASED)
def test_names_are_one_to_one_without_leftover_digits(model: str, recorded) -> None:
    official = recorded("official", model)
    ours = from_official(official)
    assert len(ours) == len(official)
    for path in ours:
        assert "." not in path
        assert not re.search(r"(^|/)\d", path), path
        assert not path.endswith("/weight"), path


@pytest.mark.parametrize("model", RELEASED)
def test_names_come_back(model: str, recorded) -> None:
    official = recorded("official", model)
    back = to_official(from_official(official), PRESETS[model])
    assert list(back) == list(official)
    for name, array in official.items():
        assert back[name].shape == array.shape
        assert back[name].flat[0] == array.flat[0], name


@pytest.mark.parametrize("model", SAM2)
def test_names_and_shapes_are_those_of_the_module(model: str, recorded) -> None:
    module = models.build(PRESETS[model])
    found = from_official(recorded("official", model))
    tree = strict.merge(models.abstract_params(module), found)
    assert len(strict.flatten(tree)) == len(found)


@pytest.mark.parametrize(
    ("official", "shape", "ours", "axes"),
    [
        ("image_encoder.trunk.blocks.3.attn.qkv.weight", (6, 2),
         "image_encoder/trunk/blocks_3/attn/qkv/kernel", (1, 0)),
        ("image_encoder.trunk.pos_embed", (1, 2, 3, 4),
         "image_encoder/trunk/pos_embed", (0, 2, 3, 1)),
        ("image_encoder.trunk.pos_embed_window", (1, 2, 3, 4),
         "image_encoder/trunk/pos_embed_window", (0, 2, 3, 1)),
        ("image_encoder.pos_embed", (1, 2, 3, 4), "image_encoder/pos_embed", (0, 1, 2, 3)),
        ("image_encoder.neck.convs.0.conv.weight", (2, 3, 1, 1),
         "image_encoder/neck/convs_0/kernel", (2, 3, 1, 0)),
        ("image_encoder.neck.2.weight", (2, 3, 1, 1), "image_encoder/neck_2/kernel", (2, 3, 1, 0)),
        ("sam_prompt_encoder.point_embeddings.0.weight", (1, 4),
         "prompt_encoder/point_embeddings_0", (0, 1)),
        ("sam_mask_decoder.output_upscaling.0.weight", (4, 3, 2, 2),
         "mask_decoder/output_upscaling_0/kernel", (2, 3, 1, 0)),
        ("mask_decoder.transformer.layers.1.mlp.lin2.weight", (2, 3),
         "mask_decoder/transformer/layers_1/mlp/layers_1/kernel", (1, 0)),
        ("memory_encoder.fuser.layers.0.gamma", (4,),
         "memory_encoder/fuser/layers_0/gamma", (0,)),
        ("memory_attention.layers.0.norm1.weight", (4,),
         "memory_attention/layers_0/norm1/scale", (0,)),
        ("no_mem_embed", (1, 1, 4), "no_mem_embed", (0, 1, 2)),
        ("maskmem_tpos_enc", (7, 1, 1, 4), "maskmem_tpos_enc", (0, 1, 2, 3)),
    ],
)  # fmt: skip
def test_names_and_axes_one_by_one(
    official: str, shape: tuple[int, ...], ours: str, axes: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    ((path, value),) = from_official({official: array}).items()
    assert path == ours
    assert np.array_equal(value, array.transpose(axes))
    assert np.shares_memory(value, array)
    family = (
        "sam2-hiera-tiny"
        if re.match("sam_|.*trunk|memory|no_|maskmem|.*convs", official)
        else "sam-vit-base"
    )
    ((name, back),) = to_official({path: value}, PRESETS[family]).items()
    assert name == official
    assert np.array_equal(back, array)


def test_names_sam1_buffers_are_dropped() -> None:
    state = {"pixel_mean": np.zeros((3, 1, 1)), "pixel_std": np.ones((3, 1, 1))}
    assert from_official(state) == {}


def test_names_two_names_for_one_parameter() -> None:
    state = {"a.mlp.lin1.weight": np.zeros((1, 1)), "a.mlp.layers.0.weight": np.zeros((1, 1))}
    with pytest.raises(
        CheckpointError,
        match=r"'a\.mlp\.lin1\.weight' and 'a\.mlp\.layers\.0\.weight' both .*'a/mlp/l",
    ):
        from_official(state)
