"""Configs refuse nonsense, and the presets are the released models."""

import dataclasses

import pytest

from sam_jax.config import (
    HieraConfig,
    Sam2Config,
    SamConfig,
    VitConfig,
)
from sam_jax.presets import PRESETS, SAM2_1_HIERA_NANO, SAM2_1_HIERA_TINY, preset

_TRUNK = HieraConfig(8, 1, (1, 2, 3, 1), (4,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": (1, 2, 3)}, "stages must be 4 counts"),
        ({"stages": (1, 0, 3, 1)}, r"stages: only whole numbers from 1 .*, got \(1, 0, 3, 1\)"),
        ({"window_spec": (8, 4)}, "one side per stage"),
        ({"window_spec": (8, 5, 14, 7)}, "must be even"),
        ({"global_att_blocks": (7,)}, "below the depth 7"),
        ({"global_att_blocks": (3,)}, "must not pool"),
        ({"num_heads": 3}, "embed_dim 8 must be a multiple of num_heads 3"),
    ],
)
def test_hiera_refuses(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(_TRUNK, **changes)


def test_vit_and_sam_refuse() -> None:
    with pytest.raises(ValueError, match="below the depth 2"):
        VitConfig(8, 2, 1, (2,))
    with pytest.raises(ValueError, match="multiple of num_heads 3"):
        VitConfig(8, 2, 3, (1,))
    with pytest.raises(ValueError, match="multiple of 16, got 1000"):
        SamConfig("x", VitConfig(8, 2, 1, (1,)), image_size=1000)


@pytest.mark.parametrize("size", [0, -32, 1000, 8224])
def test_sam2_refuses_sizes_off_the_grid(size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size.*, got {size}"):
        dataclasses.replace(SAM2_1_HIERA_NANO, image_size=size)


def test_sam2_refuses_a_width_that_heads_do_not_divide() -> None:
    with pytest.raises(ValueError, match="dim 24 must be a multiple"):
        Sam2Config("x", _TRUNK, dim=24)


def test_hiera_schedule_is_the_published_one() -> None:
    trunk = SAM2_1_HIERA_TINY.trunk
    assert trunk.depth == 12
    assert trunk.stage_dims == (96, 192, 384, 768)
    assert trunk.stage_ends == (0, 2, 9, 11)
    assert trunk.pool_blocks == (1, 3, 10)


def test_presets_by_name() -> None:
    assert len(PRESETS) == 12  # eleven released models and our nano
    assert all(preset(name) is config and config.name == name for name, config in PRESETS.items())
    assert PRESETS["sam2-hiera-tiny"].grid == 64
    assert PRESETS["sam2-hiera-tiny"].mask_size == 256
    assert SAM2_1_HIERA_NANO.grid == 16


def test_a_misspelt_preset_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'sam2.1-hiera-tiny'\?.*Known models: "):
        preset("sam2.1_hiera_tiny")
    with pytest.raises(ValueError, match=r"unknown model 'zzzz'\. Known models"):
        preset("zzzz")
