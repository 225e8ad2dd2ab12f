"""Configs survive JSON, which refuses nonsense."""

import dataclasses
import json

import pytest

from sam_jax.checkpoint.config_json import from_json, to_json
from sam_jax.config import Config, DecoderConfig, HieraConfig, MemoryConfig, WordsConfig
from sam_jax.presets import PRESETS, SAM2_1_HIERA_NANO, SAM2_1_HIERA_TINY

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
