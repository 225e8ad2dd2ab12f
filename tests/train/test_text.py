"""Pictures that are asked for by phrases: what the user says, and what a step learns from it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.config import WordsConfig
from sam_jax.image import apply
from sam_jax.io.canvas import Canvas
from sam_jax.predictors.prompts import check_prompts
from sam_jax.types import FOREGROUND, NOT_A_POINT, PAD, Model, Prompts
from train.config import Augment, LossWeights, Optimizer, Prompting, Recipe, Source, Stream
from train.optimizer import make_optimizer
from train.rollout import rollout
from train.step import encode, init_state, make_step
from train.trainable import split
from train.types import Batch
from train.user import Phrases, User, _correct, _first_prompts, _is_ambiguous

WORDS = WordsConfig(("left", "right", "thing"), width=16, depth=1, num_heads=2, context=5)
PROMPTS = Prompting(point_share=1, box_share=0, corrections=1, text_share=1)
STILL = Augment(**{name: 0 for name in vars(Augment())})


def user(**changes: Any) -> User:
    return User(
        by_mask=jnp.array(False),
        shown=jnp.array(True),
        corrected=jnp.array(True),
        locating=jnp.array(False),
        prompting=replace(PROMPTS, **changes),
        weights=LossWeights(),
        remat=False,
    )


def first(model: Model, masks: np.ndarray, named: Any, **changes: Any) -> Prompts:
    text = jnp.eye(len(masks), WORDS.width)
    phrases = Phrases(text, jnp.asarray(named, bool))
    return _first_prompts(
        jax.random.key(0), user(**changes), jnp.asarray(masks), model.config, phrases
    )


def squares(n: int) -> np.ndarray:
    masks = np.zeros((n, 96, 96), bool)
    for i in range(n):
        masks[i, 10 : 30 + i % 20, 20:60] = True
    return masks


def asked(model: Model, **prompts: Any) -> list[int]:
    """The labels that ImagePredictor would ask with, in order."""
    given = {"point_coords": None, "point_labels": None, "box": None, "mask_input": None} | prompts
    canvas = Canvas(96, 96, 96, keep_aspect=False)
    text = np.eye(1, WORDS.width, dtype=np.float32)
    arrays = check_prompts(
        *given.values(), canvas=canvas, normalize_coords=True, config=model.config, text=text
    )
    return sorted(arrays.labels[0].tolist())


def without_padding(labels: Any) -> list[int]:
    return sorted(label for label in np.asarray(labels).tolist() if label != PAD)


@pytest.fixture(params=["SAM 2", "SAM 1"])
def model(request: pytest.FixtureRequest, small_tracker: Callable[..., Model], small_sam) -> Model:
    return small_tracker() if request.param == "SAM 2" else small_sam


def test_a_phrase_stands_alone_as_when_predicting(model: Model) -> None:
    prompts = first(model, squares(2), [True, False])
    assert prompts.has_text.tolist() == [True, False]
    assert without_padding(prompts.labels[0]) == asked(model) == []
    assert without_padding(prompts.labels[1]) == [NOT_A_POINT, FOREGROUND]
    assert _is_ambiguous(prompts, model.config).tolist() == [True, True]


def test_a_click_after_a_phrase_is_closed_as_when_predicting(model: Model) -> None:
    masks = squares(2)
    prompts, size = first(model, masks, [True, False]), model.config.mask_size
    nothing = jnp.full((2, size, size), -9.0)
    again = [
        _correct(
            jax.random.key(1), user(), prompts, nothing, jnp.asarray(masks), jnp.array(2), clicks
        )
        for clicks in (jnp.array(True), jnp.array(False))
    ]
    click = asked(model, point_coords=[[30, 20]], point_labels=[1])
    assert without_padding(again[0].labels[0]) == click == [NOT_A_POINT, FOREGROUND]
    assert without_padding(again[1].labels[0]) == []  # the last mask alone
    assert again[0].has_text.tolist() == [True, False]
    # A text counts as a click does, so two prompts have one answer.
    assert not _is_ambiguous(again[0], model.config).any()


def test_shares_of_phrases(small_tracker: Callable[..., Model]) -> None:
    n, model = 400, small_tracker()
    masks = squares(n)
    masks[::4] = False
    named = np.arange(n) % 2 == 0
    prompts = first(model, masks, named, text_share=0.6, box_share=0.5)
    has_text = np.asarray(prompts.has_text)
    alone = np.asarray((prompts.labels == PAD).all(1))
    assert not has_text[~named].any()
    assert (has_text & alone)[::4].all()  # what is not there is always asked for, by phrase alone
    there = slice(2, None, 4)
    assert 0.5 < alone[there].mean() < 0.7
    assert 0.1 < (has_text & ~alone)[there].mean() / (~alone[there]).mean() < 0.45
    closed = np.asarray(prompts.labels[:, -1] == NOT_A_POINT)
    assert (closed == ~alone).all()
    never = first(model, masks[there], named[there], text_share=0.0)
    assert not np.asarray((never.labels == PAD).all(1)).any()


def batch(seed: int) -> Batch:
    """Two squares like each other; only the phrase says which is meant. The third is not there."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (1, 2, 96, 96, 3), np.uint8)
    masks = np.zeros((1, 6, 96, 96), bool)
    for b in range(2):
        y = rng.integers(10, 60, 2)
        masks[0, 3 * b, y[0] : y[0] + 24, 8:40] = True
        masks[0, 3 * b + 1, y[1] : y[1] + 24, 56:88] = True
        image[0, b][masks[0, 3 * b : 3 * b + 2].any(0)] += np.uint8(150)
    left, right, thing = [3, 0, 4, 4, 4], [3, 1, 4, 4, 4], [3, 2, 4, 4, 4]
    tokens = np.array([left, right, thing] * 2, np.int32)
    every = jnp.ones(6, bool)
    arrays = map(jnp.asarray, (image, masks))
    return Batch(*arrays, valid=every, tokens=jnp.asarray(tokens), named=every)


def test_steps_teach_the_tower_with_the_model(small_tracker: Callable[..., Model]) -> None:
    """And gradients reach every part of it."""
    model, key = small_tracker(words=WORDS), jax.random.key(0)
    stream = Stream(
        source=Source(kind="synthetic"),
        batch=2,
        frames=1,
        objects=3,
        prompts=replace(PROMPTS, corrections=0),
        augment=STILL,
    )
    recipe = Recipe(
        model="small",
        folder="unused",
        steps=60,
        words=WORDS,
        images=stream,
        losses=LossWeights(stride=4),
        optimizer=Optimizer(
            learning_rate=3e-3, encoder_rate=None, schedule="constant", layer_decay=1, clip=1
        ),
        dtype="float32",
    )
    trained, fixed = split(model.params, recipe, key)
    before = jax.tree.map(np.asarray, trained)
    optimizer = make_optimizer(recipe, model.config, trained)
    state = init_state(trained, fixed, optimizer, recipe)
    lowered = jax.jit(make_step(model.module, optimizer, recipe)).lower(state, key, batch(0))
    step = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    totals, absent = [], []
    for i in range(40):
        state, metrics = step(state, key, batch(i))
        totals.append(float(metrics.total))
        absent.append(float(metrics.losses.object))
    assert np.mean(totals[-5:]) < 0.7 * np.mean(totals[:5])
    assert np.mean(absent[-5:]) < np.mean(absent[:5])
    tower = [path for path in before if path.startswith("text_encoder/")]
    still = {path for path in tower if np.array_equal(before[path], state.trained[path])}
    assert len(tower) > 15 and not {p for p in still if not p.endswith("k_proj/bias")}


def test_phrases_of_a_batch_reach_the_objects(small_tracker: Callable[..., Model]) -> None:
    """Another phrase changes the losses of its own object's picture, and fillers' do not count."""
    model, given, key = small_tracker(words=WORDS), batch(0), jax.random.key(0)

    def dice(given: Batch) -> jax.Array:
        return rollout(
            model,
            encode(model, given.images, key),
            given,
            key,
            prompting=replace(PROMPTS, corrections=0),
            weights=LossWeights(stride=4),
            remat=False,
            locating=jnp.array(False),
        ).dice

    lowered = jax.jit(dice).lower(given)
    dice = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
    plain = float(dice(given))
    other = replace(given, tokens=given.tokens.at[0].set(given.tokens[1]))
    assert float(dice(other)) != plain
    no_name = replace(given, named=given.named.at[0].set(False))
    assert float(dice(no_name)) != plain  # a click stands in
    unheard = replace(no_name, tokens=other.tokens)
    assert float(dice(unheard)) == float(dice(no_name))


def test_embeddings_take_the_place_of_phrases(small_tracker: Callable[..., Model]) -> None:
    """The same numbers as the tower makes are the same prompts."""
    own, key, given = small_tracker(words=WORDS), jax.random.key(0), batch(0)
    text = apply(own, "encode_text", given.tokens)
    none = Batch(given.images, given.masks, given.valid).tokens
    embedded = replace(given, tokens=none, text=text)

    def dice(given: Batch) -> jax.Array:
        return rollout(
            own,
            encode(own, given.images, key),
            given,
            key,
            prompting=replace(PROMPTS, corrections=0),
            weights=LossWeights(stride=4),
            remat=False,
            locating=jnp.array(False),
        ).dice

    def compiled(batch: Batch) -> Any:
        options = {"xla_backend_optimization_level": 0}
        return jax.jit(dice).lower(batch).compile(compiler_options=options)(batch)

    assert compiled(embedded) == pytest.approx(float(compiled(given)), rel=1e-4)


def test_encoded_phrases_have_length_1(small_tracker: Callable[..., Model]) -> None:
    text = apply(small_tracker(words=WORDS), "encode_text", batch(0).tokens)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, rtol=1e-5)
    assert abs(text[0] - text[1]).max() > 1e-2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": None}, "text_share needs words, for a text tower; or text_dim and embeddings"),
        ({"words": None, "text_dim": 8}, "or text_dim and embeddings, which python -m train.embed"),
        ({"text_dim": 8}, "set neither text_dim nor embeddings"),
        ({"source": Source(kind="sa1b", root="x")}, "the source sa1b has none; synthetic has"),
        ({"augment": replace(STILL, flip=0.5)}, "images.augment.flip must be 0"),
        ({"augment": replace(STILL, grey=0.1)}, "images.augment.grey must be 0"),
        ({"prompts": replace(PROMPTS, text_share=1.5)}, "is a chance, 0 to 1, got 1.5"),
        ({"losses": LossWeights(locate_steps=3)}, "locate_steps must be 0"),
        ({"frames": 2}, "videos.prompts.text_share must be 0"),
    ],
)
def test_recipes_that_cannot_be_meant(changes: dict[str, Any], message: str) -> None:
    stream = {
        "source": Source(kind="synthetic"),
        "batch": 1,
        "frames": 1,
        "objects": 2,
        "prompts": PROMPTS,
        "augment": STILL,
    }
    recipe = {"words": WORDS, "losses": LossWeights(), "text_dim": 0}
    stream |= {name: value for name, value in changes.items() if name in stream}
    recipe |= {name: value for name, value in changes.items() if name in recipe}
    kind = "images" if stream["frames"] == 1 else "videos"
    with pytest.raises(ValueError, match=message):
        Recipe(model="any", folder="", steps=1, **{kind: Stream(**stream)}, **recipe)
