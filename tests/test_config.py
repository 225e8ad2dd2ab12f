"""Configs refuse nonsense, survive JSON, and the presets are the released models."""

import dataclasses
import json

import pytest

from sam_jax.config import (
    Config,
    DecoderConfig,
    HieraConfig,
    MemoryConfig,
    Sam2Config,
    SamConfig,
    VitConfig,
    WordsConfig,
    from_json,
    to_json,
)
from sam_jax.presets import PRESETS, SAM2_1_HIERA_NANO, SAM2_1_HIERA_TINY, preset

_TRUNK = HieraConfig(8, 1, (1, 2, 3, 1), (4,))


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_json_round_trip(config: Config) -> None:
    text = to_json(config)
    assert "\n" not in text  # one line in the header of a file
    restored = from_json(text)
    assert restored == config
    assert hash(restored) == hash(config)  # lists would have stayed lists


def test_json_keeps_every_field() -> None:
    config = dataclasses.replace(
        SAM2_1_HIERA_TINY,
        image_size=512,
        decoder=DecoderConfig(depth=1, stability_delta=0.25, stability_fallback=False),
        memory=MemoryConfig(num_maskmem=3, no_object_embed=False),
        text_dim=32,
        words=WordsConfig(("red", "circle"), width=32),
    )
    restored = from_json(to_json(config))
    assert restored == config and hash(restored) == hash(config)


def _changed(**changes: object) -> str:
    return json.dumps(json.loads(to_json(SAM2_1_HIERA_NANO)) | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "family"),
        (_changed(family="sam3"), r"a family in \['sam', 'sam2'\]"),
        (_changed(colour=1), r"unknown fields \['colour'\]; it may come from a newer sam_jax"),
        (_changed(trunk=vars(_TRUNK) | {"pos_embed_grid": [7]}), "pos_embed_grid"),
        (_changed(trunk=3), "config.trunk must be an object, got int"),
        (_changed(decoder={"depht": 2}), r"config.decoder has unknown fields \['depht'\]"),
        (_changed(dim="wide"), "config.dim must be .*, got 'wide'"),
        (_changed(image_size=True), "config.image_size must be .*, got True"),
        (_changed(image_size=100), "multiple of 32, got 100"),
        (_changed(image_size=1 << 20), "image_size: only whole .* from 1 to 8192 .* got 1048576"),
        (_changed(decoder={"num_heads": 0}), "num_heads: only whole numbers from 1 .* got 0"),
        (_changed(decoder={"depth": 10**9}), "depth: only whole numbers from 1 to 256 "),
        (_changed(decoder={"stability_delta": float("nan")}), "stability_delta must be finite"),
        (_changed(memory={"dim": 48}), "dim 128 must be a multiple of memory.dim 48"),
        (_changed(words={"words": ["a"]}), "text_dim 0 must be words.width, 128"),
        (_changed(words={"words": []}), "words must be 1 to 8192 different ones, got 0"),
        (_changed(words={"words": ["a", "a"]}), "different ones, got 2"),
        (_changed(words={"words": ["a b", "C"]}), r"without blanks, got \['a b', 'C'\]"),
        (_changed(words={"words": ["a", 1]}), "config.words.words must be"),
        (_changed(words={"words": ["a"], "width": 6}), "width 6 must be a multiple of num_heads 4"),
        (_changed(words=3), "config.words must be an object, got int"),
        (_changed(text_dim=-1), "text_dim: only whole numbers from 0 to 8192 .* got -1"),
        (_changed(dim=-256), "dim: only whole numbers from 1 to 8192 are possible, got -256"),
        (_changed(dim=4, decoder={"num_heads": 1}), "dim 4 must be a multiple of 8"),
        (_changed(mask_channels=2), "mask_channels 2 must be a multiple of 4"),
        (_changed(family=[]), r"a family in \['sam', 'sam2'\]"),
        ("[" * 100_000, "not JSON"),
        ('{"family": "sam2", "name": "x"}', "trunk"),
    ],
)
def test_from_json_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(text)


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
