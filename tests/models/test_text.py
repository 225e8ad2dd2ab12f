"""CLIP's towers, and the text token of the prompt encoder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import image, models
from sam_jax.checkpoint import strict
from sam_jax.checkpoint.clip import from_clip
from sam_jax.checkpoint.names import from_official, to_official
from sam_jax.clip_config import CLIP_PRESETS, ClipTextConfig
from sam_jax.models.clip import Clip, abstract_clip_params
from sam_jax.models.text import TextTower
from sam_jax.presets import SAM2_1_HIERA_NANO
from sam_jax.types import Model, Prompts

# Of the released checkpoints.
COUNTS = {
    "clip-vit-base-patch32": 151_277_313,
    "clip-vit-base-patch16": 149_620_737,
    "clip-vit-large-patch14": 427_616_513,
    "clip-vit-large-patch14-336": 427_944_193,
}


@pytest.mark.parametrize("name", COUNTS)
def test_shapes_and_names_are_those_of_the_released_files(name: str, recorded) -> None:
    abstract = abstract_clip_params(Clip(CLIP_PRESETS[name]))
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract)) == COUNTS[name]
    found = from_clip(recorded("hf", name))
    assert len(found) == len(recorded("hf", name))
    strict.merge(abstract, found, name)


def _tower(random_params, **changes: int):
    config = ClipTextConfig(16, 2, 2, context=12, vocab_size=50, **changes)
    module = TextTower(config)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 12), jnp.int32))
    params = random_params(shapes["params"])
    run = jax.jit(lambda params, tokens: module.apply({"params": params}, tokens))
    return lambda tokens: run(params, tokens)


def test_what_follows_the_end_has_no_effect(random_params) -> None:
    tower = _tower(random_params)
    text = np.array([[48, 3, 7, 49]])
    plain = tower(text)
    for filling in (49, 0, 5):
        padded = np.concatenate([text, np.full((1, 6), filling)], 1)
        np.testing.assert_allclose(tower(padded), plain, atol=1e-6)
    for i in range(3):  # while each word before it has
        changed = text.copy()
        changed[0, i] = 20
        assert abs(tower(changed) - plain).max() > 1e-3


def test_the_end_is_the_highest_number_or_the_named_one(random_params) -> None:
    highest, named = _tower(random_params), _tower(random_params, eos_token=40)
    same = np.array([[9, 3, 40, 40]])
    np.testing.assert_allclose(highest(same), named(same), atol=1e-6)
    added = np.array([[9, 45, 40, 40]])  # a word that was added to the vocabulary later
    assert abs(highest(added) - named(added)).max() > 1e-3


def test_a_text_longer_than_the_table(random_params) -> None:
    with pytest.raises(ValueError, match="a text of 13 tokens, and the model reads 12"):
        _tower(random_params)(np.zeros((1, 13), np.int32))


@pytest.fixture(scope="module")
def model(random_params) -> Model:
    module = models.build(dataclasses.replace(SAM2_1_HIERA_NANO, text_dim=24))
    return Model(params=random_params(module), module=module)


@pytest.fixture(scope="module")
def features(model: Model):
    pixels = np.random.default_rng(0).random((2, 256, 256, 3)).astype(np.float32)
    return jax.jit(image.encode_image)(model, pixels)


def _prompts(n: int, **given: np.ndarray) -> Prompts:
    points = np.random.default_rng(1).uniform(0, 256, (n, 2, 2)).astype(np.float32)
    labels = np.tile(np.array([1, -1], np.int32), (n, 1))
    mask, has_mask = np.zeros((1, 64, 64, 1), np.float32), np.zeros(1, bool)
    return dataclasses.replace(Prompts(points, labels, mask, has_mask), **given)


def _texts(n: int, seed: int = 2, has: bool = True) -> dict[str, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(n, 24)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return {"text": x, "has_text": np.full(n, has)}


encode_prompts = jax.jit(image.encode_prompts)
predict = jax.jit(image.predict, static_argnames="multimask")


def test_the_projection_is_one_more_kernel_and_nothing_else(model: Model) -> None:
    plain = strict.flatten(models.abstract_params(models.build(SAM2_1_HIERA_NANO)))
    ours = strict.flatten(model.params)
    assert set(ours) - set(plain) == {
        "prompt_encoder/text_projection/kernel",
        "prompt_encoder/text_projection/bias",
    }
    assert ours["prompt_encoder/text_projection/kernel"].shape == (24, 128)
    # The official code has no place for it.
    assert from_official(to_official(ours, model.config)).keys() == plain.keys()


def test_a_text_is_one_more_token(model: Model, features) -> None:
    tokens = encode_prompts(model, _prompts(4))
    more = encode_prompts(model, _prompts(4, **_texts(4)))
    assert more.sparse.shape == (4, 3, 128)
    np.testing.assert_array_equal(more.sparse[:, :2], tokens.sparse)
    assert bool(more.valid.all())
    plain = predict(model, features, _prompts(4), multimask=True)
    found = predict(model, features, _prompts(4, **_texts(4)), multimask=True)
    other = predict(model, features, _prompts(4, **_texts(4, seed=3)), multimask=True)
    assert abs(found.logits - plain.logits).max() > 1e-3
    assert abs(found.logits - other.logits).max() > 1e-3


def test_has_text_decides_whether_it_counts(model: Model, features) -> None:
    plain = predict(model, features, _prompts(2), multimask=True)
    without = predict(model, features, _prompts(2, **_texts(2, has=False)), multimask=True)
    np.testing.assert_allclose(without.logits, plain.logits, atol=2e-5)
    some = _texts(2) | {"has_text": np.array([False, True])}
    second = predict(model, features, _prompts(2, **some), multimask=True)
    np.testing.assert_allclose(second.logits[0], plain.logits[0], atol=2e-5)
    assert abs(second.logits[1] - plain.logits[1]).max() > 1e-3


def test_text_alone_and_compiled_once(model: Model, features) -> None:
    alone = {"labels": np.full((2, 2), -2, np.int32)}  # PAD: no point at all
    call = jax.jit(lambda *inputs: image.predict(*inputs, multimask=True))
    results = [call(model, features, _prompts(2, **alone, **_texts(2, seed=s))) for s in range(3)]
    assert call._cache_size() == 1
    assert abs(results[0].logits - results[1].logits).max() > 1e-3
    assert all(bool(jnp.isfinite(r.logits).all()) for r in results)


def test_models_without_the_projection_refuse(model: Model, random_params) -> None:
    module = models.build(SAM2_1_HIERA_NANO)
    plain = Model(params=random_params(module), module=module)
    with pytest.raises(ValueError, match=r"no text projection, nor has any released.*text_boxes"):
        encode_prompts(plain, _prompts(1, **_texts(1)))
    wide = {"text": np.ones((1, 512), np.float32), "has_text": np.ones(1, bool)}
    with pytest.raises(ValueError, match="must be 24 wide, got 512"):
        encode_prompts(model, _prompts(1, **wide))


def test_init_makes_the_projection() -> None:
    module = models.build(dataclasses.replace(SAM2_1_HIERA_NANO, text_dim=24))
    kernel = models.abstract_params(module)["prompt_encoder"]["text_projection"]["kernel"]
    assert kernel.shape == (24, 128)
