"""CLIP from a folder: what is read, what is refused. Parity is in tests/oracle."""

import json
from pathlib import Path

import numpy as np
import pytest

import sam_jax
from sam_jax.checkpoint.native import read_safetensors, write_safetensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, clip_folder) -> Path:
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(folder: Path) -> sam_jax.Clip:
    return sam_jax.load_clip(folder)


def photo(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_embeddings_have_length_one_and_do_not_depend_on_company(clip: sam_jax.Clip) -> None:
    phrases = ["a red cup", "a cup", "circle"]
    together = clip.embed_text(phrases)
    assert together.shape == (3, 24) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for phrase, row in zip(phrases, together, strict=True):
        np.testing.assert_allclose(clip.embed_text([phrase])[0], row, atol=1e-6)
    images = clip.embed_images([photo(), photo(70, 33, seed=1)])
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(clip.embed_images([photo()])[0], images[0], atol=1e-6)


def test_a_mask_changes_what_is_seen_and_only_the_mask_counts(clip: sam_jax.Clip) -> None:
    left, all_of_it = np.zeros((40, 60), bool), np.ones((40, 60), bool)
    left[:, 10:20] = True
    whole = clip.embed_images([photo()])
    masked = clip.embed_images([photo(), photo()], [left, all_of_it])
    assert abs(masked[0] - masked[1]).max() > 1e-3
    # All patches, but not itself: near the published embedding, and not the same.
    assert abs(masked[1] - whole[0]).max() > 1e-6


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([np.ones((40, 61), bool)], r"bool \[40, 60\] as its picture, got bool \[40, 61\]"),
        ([np.ones((40, 60))], r"must be bool .* got float64"),
        ([np.arange(60) < np.full((40, 1), 9)], "covers nothing in the middle square"),
        ([], "0 masks for 1 pictures"),
    ],
    ids=["size", "dtype", "outside", "number"],
)
def test_masks_that_do_not_fit(clip: sam_jax.Clip, masks: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip.embed_images([photo()], masks)


def test_no_phrases_and_no_pictures(clip: sam_jax.Clip) -> None:
    with pytest.raises(ValueError, match="takes a list of phrases, got 'a cup'"):
        clip.embed_text("a cup")
    with pytest.raises(ValueError, match=r"takes a list of phrases, got \[\]"):
        clip.embed_text([])
    with pytest.raises(ValueError, match="no pictures"):
        clip.embed_images([])


def copy(folder: Path, target: Path, **config: object) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    values = json.loads((target / "config.json").read_text())
    for name, value in config.items():
        tower, _, field = name.partition("__")
        if field:
            values[tower] |= {field: value}
        else:
            values[tower] = value
    (target / "config.json").write_text(json.dumps(values))
    return target


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "siglip"}, "describes no CLIP: its model_type is 'siglip'"),
        ({"text_config__hidden_act": "gelu"}, "hidden_act is 'gelu', and only OpenAI's"),
        ({"vision_config__layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06, and only OpenAI's"),
        ({"text_config__intermediate_size": 64}, "intermediate_size is 64, .* with 128"),
        ({"text_config__vocab_size": "many"}, "vocab_size must be a whole number, got 'many'"),
        ({"vision_config__num_hidden_layers": 10**9}, "depth must be a whole number from 1 to 256"),
        ({"vision_config__patch_size": 5}, "image_size 32 must be a multiple of patch 5"),
        ({"text_config__num_attention_heads": 5}, "width 32 must be a multiple of num_heads 5"),
        ({"text_config__eos_token_id": 9999}, "eos_token 9999 is not below vocab_size"),
        ({"projection_dim": None}, "projection_dim must be a whole number, got None"),
        ({"projection_dim": 16}, "text_projection/kernel: expected .32, 16., found .32, 24."),
        ({"vision_config__num_hidden_layers": 3}, "- vision_model/encoder/layers_2/"),
        ({"text_config_dict": {"num_hidden_layers": 1}}, r"\+ text_model/encoder/layers_1/"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_configs_of_other_models(folder: Path, tmp_path: Path, config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sam_jax.load_clip(copy(folder, tmp_path, **config))


def test_folders_that_are_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is missing: it must be a CLIP checkpoint"):
        sam_jax.load_clip(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="is a file, not the folder"):
        sam_jax.load_clip(folder / "config.json")
    with pytest.raises(ValueError, match=r"has no config.json, but nothing"):
        sam_jax.load_clip(tmp_path)
    copy(folder, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": ')
    with pytest.raises(ValueError, match="is no JSON file, or is cut off"):
        sam_jax.load_clip(tmp_path)


def test_damaged_weights(folder: Path, tmp_path: Path) -> None:
    file = copy(folder, tmp_path) / "model.safetensors"
    state, _ = read_safetensors(file)
    broken = dict(state, logit_scale=np.full((), np.nan, np.float32))
    write_safetensors(file, broken, {})
    with pytest.raises(ValueError, match="logit_scale has NaN or infinite values"):
        sam_jax.load_clip(tmp_path)
    state.pop("logit_scale")
    write_safetensors(file, state | {"extra": np.zeros(3, np.float32)}, {})
    with pytest.raises(ValueError, match=r"(?s)1 missing, 1 unexpected.*- logit_scale.*\+ extra"):
        sam_jax.load_clip(tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=r"holds neither model.safetensors nor"):
        sam_jax.load_clip(tmp_path)
