"""Ways of asking the same thing agree, and nothing recompiles. Parity is in tests/golden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import image
from sam_jax.config import DecoderConfig
from sam_jax.models import build
from sam_jax.presets import SAM2_1_HIERA_NANO
from sam_jax.types import PAD, Masks, Model, Prompts


@pytest.fixture(scope="module")
def model(random_params):
    module = build(SAM2_1_HIERA_NANO)
    return Model(params=random_params(module), module=module)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((2, 256, 256, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def features(model, images):
    return jax.jit(image.encode_image)(model, images)


predict = jax.jit(image.predict, static_argnames="multimask")


def make_prompts(labels, seed=1, mask=None):
    labels = np.asarray(labels, np.int32)
    points = np.random.default_rng(seed).uniform(0, 256, (*labels.shape, 2)).astype(np.float32)
    has_mask = np.full(1 if mask is None else len(mask), mask is not None)
    mask = np.zeros((1, 64, 64, 1), np.float32) if mask is None else mask
    return Prompts(points=points, labels=labels, mask=mask, has_mask=has_mask)


def one_image(tree, i):
    return jax.tree.map(lambda x: x[i : i + 1], tree)


def assert_close(a: Masks, b: Masks):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5, rtol=1e-5), a, b)


def test_equal_padded_and_unpadded_points(model, features):
    prompts = make_prompts([[1, 0, -1]])
    padded = prompts.replace(
        points=np.pad(prompts.points, ((0, 0), (0, 5), (0, 0)), constant_values=77),
        labels=np.pad(prompts.labels, ((0, 0), (0, 5)), constant_values=PAD),
    )
    one = one_image(features, 0)
    plain = predict(model, one, prompts, multimask=True)
    assert_close(predict(model, one, padded, multimask=True), plain)
    # while a not-a-point token, unlike padding, is read
    told = padded.replace(labels=np.where(padded.labels == PAD, -1, padded.labels))
    assert abs(predict(model, one, told, multimask=True).logits - plain.logits).max() > 1e-3


def test_equal_many_prompts_and_one_by_one(model, features):
    labels = [[1, -1], [0, -1], [1, 1], [2, 3], [1, -1], [-1, PAD], [PAD, PAD], [0, 0]]
    prompts = make_prompts(labels)
    one = one_image(features, 0)
    together = predict(model, one, prompts, multimask=False)
    for i in range(len(labels)):
        alone = prompts.replace(points=prompts.points[i : i + 1], labels=prompts.labels[i : i + 1])
        assert_close(one_image(together, i), predict(model, one, alone, multimask=False))


@pytest.mark.parametrize("with_mask", [False, True])
def test_equal_batch_of_images_and_one_by_one(model, images, features, with_mask):
    mask = np.random.default_rng(3).normal(0, 5, (12, 64, 64, 1)).astype(np.float32)
    prompts = make_prompts([[1, -1]] * 12, mask=mask if with_mask else None)
    together = predict(model, features, prompts, multimask=True)  # six for each image
    for i in range(2):
        own = slice(6 * i, 6 * i + 6)
        alone = prompts.replace(points=prompts.points[own], labels=prompts.labels[own])
        if with_mask:
            alone = alone.replace(mask=mask[own], has_mask=prompts.has_mask[own])
        encoded = jax.jit(image.encode_image)(model, images[i : i + 1])
        expected = predict(model, encoded, alone, multimask=True)
        assert_close(jax.tree.map(lambda x, own=own: x[own], together), expected)


def test_has_mask_decides_whether_the_mask_counts(model, features):
    one = one_image(features, 0)
    mask = np.random.default_rng(3).normal(0, 5, (2, 64, 64, 1)).astype(np.float32)
    both = make_prompts([[1, -1]] * 2, mask=mask)
    neither = predict(model, one, both.replace(has_mask=np.zeros(2, bool)), multimask=True)
    assert_close(neither, predict(model, one, make_prompts([[1, -1]] * 2), multimask=True))
    second = predict(model, one, both.replace(has_mask=np.array([False, True])), multimask=True)
    assert_close(one_image(second, 0), one_image(neither, 0))
    assert abs(second.logits[1] - neither.logits[1]).max() > 1e-3


def test_prompts_must_divide_among_the_images(model, features):
    with pytest.raises(ValueError, match="3 prompts do not divide among 2 images"):
        predict(model, features, make_prompts([[1, -1]] * 3), multimask=True)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 256, 256, 3), np.uint8),
        np.zeros((1, 3, 256, 256), np.float32),
        np.zeros((1, 250, 256, 3), np.float32),
        np.zeros((256, 256, 3), np.float32),
    ],
    ids=["uint8", "channels-first", "size", "no-batch"],
)
def test_images_that_are_no_model_input(model, images):
    with pytest.raises(ValueError, match=r"\[b, 256, 256, 3\], got .* \["):
        image.encode_image(model, jnp.asarray(images))


def test_compile_once_for_any_values(model, features):
    # All jits of one function share a cache; a new function has its own.
    call = jax.jit(lambda *inputs: image.predict(*inputs, multimask=True))
    one = one_image(features, 0)
    for seed, labels in enumerate([[1, -1], [0, PAD], [2, 3]]):
        call(model, one, make_prompts([labels], seed))
    assert call._cache_size() == 1


def test_bfloat16_keeps_the_masks(model, images):
    params = model.params
    half = Model(params=params, module=build(SAM2_1_HIERA_NANO, jnp.bfloat16))
    prompts = make_prompts([[1, -1]] * 2)
    results = []
    for m in (model, half):
        encoded = jax.jit(image.encode_image)(m, images)
        results.append(predict(m, encoded, prompts, multimask=True))
    full, low = results
    assert low.logits.dtype == low.iou.dtype == jnp.float32
    assert ((full.logits > 0) == (low.logits > 0)).mean() > 0.98
    np.testing.assert_allclose(low.iou, full.iou, atol=0.03)


def stub_masks(area_low, area_high, iou):
    """A single mask with `area_low` pixels above -delta and `area_high` above +delta."""
    logits = np.full((1, 4, 10, 10), -1.0, np.float32)
    single = logits[0, 0].reshape(-1)
    single[:area_low] = 0.0
    single[:area_high] = 1.0
    for i in range(1, 4):
        logits[0, i] = 10 * i
    return Masks(
        logits=jnp.asarray(logits),
        iou=jnp.asarray([iou], jnp.float32),
        token=jnp.arange(4.0).reshape(1, 4, 1),
        object_logit=jnp.zeros(1),
    )


@pytest.mark.parametrize(
    ("low", "high", "fallback", "value"),
    [(50, 50, True, 0), (50, 48, True, 20), (50, 49, True, 0), (50, 10, False, 0), (0, 0, True, 0)],
    ids=["stable", "unstable", "at-threshold", "switched-off", "empty-counts-as-stable"],
)
def test_unstable_single_masks_give_way_to_the_best_of_three(low, high, fallback, value):
    config = DecoderConfig(stability_fallback=fallback)
    chosen = image.select_masks(
        config, stub_masks(low, high, [0.3, 0.1, 0.9, 0.2]), multimask=False
    )
    if value:
        assert (chosen.logits == value).all()
        np.testing.assert_allclose(chosen.iou, [[0.9]])
    else:
        np.testing.assert_allclose(chosen.iou, [[0.3]])
    assert chosen.token[0, 0, 0] == 0  # the object pointer stays with the single-mask token


def test_multimask_returns_the_three_in_their_order():
    masks = stub_masks(5, 5, [0.3, 0.1, 0.9, 0.2])
    chosen = image.select_masks(DecoderConfig(), masks, multimask=True)
    np.testing.assert_array_equal(chosen.logits[0, :, 0, 0], [10, 20, 30])
    np.testing.assert_allclose(chosen.iou, [[0.1, 0.9, 0.2]])
