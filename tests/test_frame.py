"""The parts of a step, on one frame."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import frame, video
from sam_jax.frame import NO_OBJECT, TrackOptions, no_prompts
from sam_jax.image import apply, select_masks
from sam_jax.types import PAD, ImageFeatures, Model, ObjectAnswer, Prompts

SIDE, MASK = 96, 24


@pytest.fixture(scope="module")
def model(small_tracker: Callable[..., Model]) -> Model:
    return small_tracker()


@pytest.fixture(scope="module")
def features(model: Model, drifting: Callable[..., np.ndarray]) -> ImageFeatures:
    """Of one image, without the batch axis."""
    return jax.tree.map(lambda x: x[0], video.jit_encode(model, drifting(1)))


@jax.jit
def _decode(model: Model, features: ImageFeatures, prompts: Prompts) -> tuple:
    """The answer, and the candidates it is chosen from."""
    embed = apply(model, "without_memory", features.embed)
    embed = jnp.broadcast_to(embed, (len(prompts.labels), *embed.shape))
    tokens = apply(model, "encode_prompts", prompts)
    masks = apply(model, "decode_masks", embed, features.high_res, tokens)
    config = model.config.decoder
    answer = frame.decode(model, embed, features.high_res, prompts)
    return answer, *(select_masks(config, masks, multimask=several) for several in (False, True))


def prompts_of(*labels: list[int]) -> Prompts:
    points = np.random.default_rng(0).uniform(10, 86, (len(labels), 4, 2)).astype(np.float32)
    points[:, 1] = np.maximum(points[:, 1], points[:, 0] + 5)  # a box has its corners in order
    padded = np.array([[*row, *[PAD] * (4 - len(row))] for row in labels], np.int32)
    return no_prompts(len(labels), MASK).replace(points=points, labels=padded)


def test_one_click_is_ambiguous_and_more_are_not(model: Model, features) -> None:
    """The best of three for none or one; a box is two clicks already."""
    kinds = {"none": [-1, -1], "click": [1, -1], "box": [2, 3, -1], "clicks": [1, 0, -1]}
    answer, single, several = _decode(model, features, prompts_of(*kinds.values()))
    best = np.asarray(several.iou).argmax(1)
    # `none` is what tracked objects get: an explicit not-a-point, and the closing one
    for i, ambiguous in enumerate([True, True, False, False]):
        logits = several.logits[i, best[i]] if ambiguous else single.logits[i, 0]
        other = single.logits[i, 0] if ambiguous else several.logits[i, best[i]]
        if answer.object_logit[i] <= 0:
            logits = jnp.full_like(logits, NO_OBJECT)
        np.testing.assert_array_equal(answer.logits[i], logits)
        assert abs(answer.logits[i] - other).max() > 1e-3
        expected = several.iou[i, best[i]] if ambiguous else single.iou[i, 0]
        assert answer.iou[i] == expected


def test_a_text_counts_as_a_click(small_tracker: Callable[..., Model], drifting) -> None:
    """With one click beside it, the single mask answers, as the image predictor is to be asked."""
    model = small_tracker(text_dim=8)
    config = model.config
    certain = replace(config, decoder=replace(config.decoder, stability_fallback=False))
    model = replace(model, module=model.module.clone(config=certain))
    features = jax.tree.map(lambda x: x[0], video.jit_encode(model, drifting(1)))
    text = np.tile(np.eye(1, 8, dtype=np.float32), (4, 1))
    prompts = prompts_of([], [1, -1], [1, -1], [2, 3, -1])
    prompts = prompts.replace(text=text, has_text=np.array([True, True, False, True]))
    answer, single, several = _decode(model, features, prompts)
    for i, ambiguous in enumerate([True, False, True, False]):
        iou = several.iou[i].max() if ambiguous else single.iou[i, 0]
        assert answer.iou[i] == iou
        assert several.iou[i].max() != single.iou[i, 0]


def test_absent_objects_have_no_mask_and_the_learned_pointer(
    small_tracker: Callable[..., Model], features
) -> None:
    prompts = prompts_of([-1, -1], [1, -1], [2, 3, -1], [1, 0, -1])
    for presence, there in ((30.0, True), (-30.0, False)):
        model = small_tracker(presence)
        answer, *_ = _decode(model, features, prompts)
        assert ((answer.object_logit > 0) == there).all()
        assert ((answer.logits == NO_OBJECT).all((1, 2)) == (not there)).all()
        learned = (answer.pointer == model.params["no_obj_ptr"]).all(1)
        assert (learned == (not there)).all()


def test_holes_become_just_foreground() -> None:
    logits = np.full((1, MASK, MASK), 5.0, np.float32)
    logits[0, 3, 3:11] = -5  # 8 pixels
    logits[0, 8, 3:12] = -5  # 9 pixels
    filled = frame.fill_holes(jnp.asarray(logits), TrackOptions())
    expected = logits.copy()
    expected[0, 3, 3:11] = np.float32(0.1)
    np.testing.assert_array_equal(filled, expected)
    untouched = frame.fill_holes(jnp.asarray(logits), TrackOptions(fill_hole_area=0))
    np.testing.assert_array_equal(untouched, logits)


_remember = jax.jit(frame.remember, static_argnames="options")


def test_masks_of_prompted_frames_are_remembered_as_0_and_1(model: Model, features) -> None:
    """Two masks that agree above 0 leave the same memory then, and only then."""
    soft = np.random.default_rng(0).normal(0, 1, (1, MASK // 4, MASK // 4)).astype(np.float32)
    soft = np.kron(soft, np.ones((4, 4), np.float32))
    logits = np.concatenate([soft, 3 * soft])
    answer = ObjectAnswer(jnp.asarray(logits), jnp.ones(2), jnp.ones(2), jnp.zeros((2, 32)))
    for binarize in (True, False):
        options = TrackOptions(binarize_prompted=binarize)
        for prompted in (True, False):
            asked = jnp.full(2, prompted)
            kept = _remember(model, features, answer.logits, answer, asked, options=options)
            assert kept.features.dtype == jnp.bfloat16
            a, b = np.asarray(kept.features, np.float32)
            assert np.array_equal(a, b) == (binarize and prompted)


def test_the_memory_of_an_absent_object_says_so(model: Model, features) -> None:
    logits, none = jnp.full((2, MASK, MASK), NO_OBJECT), jnp.zeros(2, bool)
    answer = ObjectAnswer(logits, jnp.ones(2), jnp.array([1.0, -1.0]), jnp.ones((2, 32)))
    kept = _remember(model, features, logits, answer, none, options=TrackOptions())
    there, gone = np.asarray(kept.features, np.float32)
    shift = np.asarray(model.params["no_obj_embed_spatial"][0])
    # every pixel is rounded to bfloat16, so the mean is nearer than most of them
    np.testing.assert_allclose((gone - there).mean((0, 1)), shift, atol=0.15)
    assert abs(shift).max() > 0.3


def test_seeing_skips_or_selects_and_is_the_same(model: Model, features) -> None:
    """A branch for one object, a choice for several: one object's memory is seen by it alone."""
    state = video.init_state(model, 2)
    filled = jax.tree.map(
        lambda x: (
            jax.random.normal(jax.random.key(0), x.shape, x.dtype)
            if jnp.issubdtype(x.dtype, jnp.floating)
            else jnp.zeros_like(x)
        ),
        state.bank,
    )
    state = replace(state, bank=filled, frame=jnp.ones(2, jnp.int32))
    recalled = video.recall(state)
    with_memory = jnp.array([True, False])
    see = jax.jit(frame.see, static_argnames="skip")
    both = see(model, features, state.bank, recalled, with_memory)
    plain = apply(model, "without_memory", features.embed)
    np.testing.assert_allclose(both[1], plain, atol=1e-6)
    assert abs(both[0] - plain).max() > 1e-2
    for i in range(2):
        bank, mine, flag = jax.tree.map(
            lambda x, i=i: x[i : i + 1], (state.bank, recalled, with_memory)
        )
        alone = see(model, features, bank, mine, flag, skip=True)
        np.testing.assert_allclose(alone[0], both[i], atol=1e-4)


def test_compile_of_videos_copies_no_parameters(model: Model, drifting) -> None:
    """One object in each of several videos: a branch under vmap would give each its own weights."""
    images = drifting(3)
    features = jax.eval_shape(video.jit_encode, model, images)
    state = jax.eval_shape(lambda: video.init_state(model, 3))
    none = jnp.zeros(3, bool)
    inputs = video.FrameInput(features, no_prompts(3, MASK), none, none)
    options = TrackOptions(one_by_one=False)
    program = jax.make_jaxpr(lambda *x: video.step(*x, options))(model, state, inputs)
    kernel = model.params["memory_encoder"]["mask_downsampler"]["encoder_3"]["kernel"]
    copied = f"f32[3,{','.join(map(str, kernel.shape))}]"
    assert copied not in str(program)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("max_prompted", 1, "max_prompted must be None or at least 2, got 1"),
        ("max_prompted", -1, "max_prompted must be None or at least 2, got -1"),
        ("stride", 0, "stride must be at least 1, got 0"),
        ("fill_hole_area", -1, "fill_hole_area must not be negative, got -1"),
    ],
)
def test_options_that_mean_nothing_are_refused(option: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackOptions(**{option: value})
