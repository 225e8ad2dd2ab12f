"""CLIP against transformers, with random weights, through the files that transformers writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import sam_jax
from sam_jax import clip as functional
from sam_jax.io.clip_input import to_clip_input

pytestmark = pytest.mark.oracle
transformers = pytest.importorskip("transformers", reason="run `make oracle`")
torch = pytest.importorskip("torch", reason="run `make oracle`")

LIMIT = 1e-4
TEXTS = [
    "a red cup",
    "The  LARGE striped circle, isn't it?",
    "x",
    "一只红色的杯子",
    "кот и собака 3",
]
SMALL_TEXT = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 3}
SMALL_TEXT |= {"num_attention_heads": 4, "max_position_embeddings": 40}
SMALL_IMAGE = {"hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 3}
SMALL_IMAGE |= {"num_attention_heads": 4, "patch_size": 8, "image_size": 32}


def _config(eos: int, vocabulary: int, **text: int) -> Any:
    text = SMALL_TEXT | {"eos_token_id": eos, "vocab_size": vocabulary} | text
    return transformers.CLIPConfig(text_config=text, vision_config=SMALL_IMAGE, projection_dim=24)


def _random_model(config: Any) -> Any:
    """Away from zero biases and unit norms, so that no parameter is without effect."""
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
        elif "embedding" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
        else:
            parameter.data *= 2
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, clip_tokenizer: Callable[..., Path]) -> Any:
    """`saved(config)`: their model, their tokenizer, ours, from one folder."""

    def make(config: Any) -> tuple[Any, Any, sam_jax.Clip]:
        folder = clip_tokenizer(tmp_path_factory.mktemp("clip"))
        model = _random_model(config)
        model.save_pretrained(folder)
        merges = (folder / "merges.txt").read_text("utf-8").splitlines()[1:]
        tokenizer = transformers.CLIPTokenizer(
            vocab=json.loads((folder / "vocab.json").read_text("utf-8")),
            merges=[tuple(line.split(" ")) for line in merges],
        )
        return model, tokenizer, sam_jax.load_clip(folder)

    return make


def _features(found: Any) -> np.ndarray:
    """Transformers returns the projected vector as the pooled output."""
    x = getattr(found, "pooler_output", found).detach().numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _their_text(model: Any, tokenizer: Any, **padding: Any) -> tuple[np.ndarray, np.ndarray]:
    encoded = tokenizer(TEXTS, return_tensors="pt", **padding)
    with torch.inference_mode():
        return encoded["input_ids"].numpy(), _features(model.get_text_features(**encoded))


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "named"])
def test_text(saved, legacy: bool, vocabulary_size: int) -> None:
    end = 2 if legacy else vocabulary_size - 1
    model, tokenizer, ours = saved(_config(end, vocabulary_size))
    ids, wanted = _their_text(model, tokenizer, padding="max_length", max_length=40)
    np.testing.assert_array_equal(ours.tokenizer(TEXTS), ids)
    found = ours.embed_text(TEXTS)
    np.testing.assert_allclose(found, wanted, atol=LIMIT)
    _, shorter = _their_text(model, tokenizer, padding=True)  # to the longest, with their mask
    np.testing.assert_allclose(found, shorter, atol=LIMIT)
    distance = np.linalg.norm(found[:, None] - found, axis=-1)[~np.eye(len(TEXTS), dtype=bool)]
    assert distance.min() > 100 * LIMIT  # it is no constant that is compared


def test_an_end_that_is_not_the_highest_number(saved, vocabulary_size: int) -> None:
    """The two ways to find the end differ, and each is the one that the config asks for."""
    end = vocabulary_size - 1
    tokens = np.array([[5, vocabulary_size + 3, 9, end, end, end]], np.int32)
    found = []
    for eos in (2, end):
        model, _, ours = saved(_config(eos, vocabulary_size + 8))
        with torch.inference_mode():
            wanted = _features(model.get_text_features(torch.from_numpy(tokens).long()))
        found.append(np.asarray(functional.encode_text(ours.model, tokens)))
        np.testing.assert_allclose(found[-1], wanted, atol=LIMIT)
    assert abs(found[0] - found[1]).max() > 100 * LIMIT


def test_pictures_in(docs_media: Path) -> None:
    """What the towers are given is theirs, for wide, tall and small pictures."""
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size=64)
    with Image.open(docs_media / "coffee.jpg") as picture:
        photo = picture.convert("RGB")
    for width, height in ((600, 400), (301, 511), (40, 52), (64, 64), (65, 200)):
        small = photo.resize((width, height))
        wanted = processor(small, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        np.testing.assert_allclose(to_clip_input(small, 64), wanted, atol=1e-6)


def _masked_by_hand(model: Any, pixels: Any, visible: np.ndarray) -> np.ndarray:
    """Their layers one by one, the last one with a mask on the output token's scores."""
    vision = model.vision_model
    scores = torch.zeros(len(visible), 1, visible.shape[1], visible.shape[1])
    scores[:, 0, 0][torch.from_numpy(~visible)] = -torch.inf
    with torch.inference_mode():
        x = vision.pre_layrnorm(vision.embeddings(pixels))
        for layer in vision.encoder.layers[:-1]:
            x = layer(x, attention_mask=None)
        x = vision.encoder.layers[-1](x, attention_mask=scores)
        return _features(model.visual_projection(vision.post_layernorm(x[:, 0])))


def test_images_whole_and_masked(saved, vocabulary_size: int) -> None:
    model, _, ours = saved(_config(2, vocabulary_size))
    pixels = np.random.default_rng(0).normal(0, 1, (3, 32, 32, 3)).astype(np.float32)
    theirs = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        wanted = _features(model.get_image_features(theirs))
    whole = np.asarray(functional.encode_images(ours.model, pixels, np.ones((1, 17), bool)))
    np.testing.assert_allclose(whole, wanted, atol=LIMIT)

    masks = np.zeros((3, 32, 32), bool)
    masks[0, 3:6, 20:30], masks[1, :16], masks[2] = True, True, True
    visible = np.asarray(functional.visible_tokens(jnp.asarray(masks), 8))
    assert visible.sum(1).tolist() == [2, 8, 16] and not visible[:, 0].any()
    masked = np.asarray(functional.encode_images(ours.model, pixels, visible))
    np.testing.assert_allclose(masked, _masked_by_hand(model, theirs, visible), atol=LIMIT)
    assert (abs(masked - whole).max(1) > 10 * LIMIT).all()


def test_a_pickle_is_read_as_well(saved, tmp_path: Path, clip_tokenizer) -> None:
    """Two of the four released ones have nothing else; older ones hold position numbers."""
    config = _config(2, 600)
    model = _random_model(config)
    folder = clip_tokenizer(tmp_path)
    config.save_pretrained(folder)
    state = model.state_dict() | {
        "text_model.embeddings.position_ids": torch.arange(40)[None],
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
    }
    torch.save(state, folder / "pytorch_model.bin")
    ours = sam_jax.load_clip(folder)
    tokens = np.array([[1, 7, 599]], np.int32)
    with torch.inference_mode():
        wanted = _features(model.get_text_features(torch.from_numpy(tokens).long()))
    np.testing.assert_allclose(functional.encode_text(ours.model, tokens), wanted, atol=LIMIT)


def test_base_patch32_at_full_size(tmp_path: Path, clip_tokenizer, docs_media: Path) -> None:
    model = _random_model(transformers.CLIPConfig())  # its defaults are B/32
    folder = clip_tokenizer(tmp_path)
    model.save_pretrained(folder)
    ours = sam_jax.load_clip(folder)
    tokens = np.random.default_rng(0).integers(300, 49406, (3, 77)).astype(np.int32)
    tokens[:, [8, 20, 76]] = 49407
    with Image.open(docs_media / "coffee.jpg") as picture:
        photo = picture.convert("RGB")
    pixels = to_clip_input(photo, 224)[None]
    with torch.inference_mode():
        text = _features(model.get_text_features(torch.from_numpy(tokens).long()))
        theirs = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        image = _features(model.get_image_features(theirs))
    np.testing.assert_allclose(functional.encode_text(ours.model, tokens), text, atol=LIMIT)
    np.testing.assert_allclose(ours.embed_images([photo]), image, atol=LIMIT)
