"""Batches with phrases: of the objects beside them, and of none that must not be seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.nano_text import config as nano_text
from train.config import Recipe
from train.data.pipeline import make_loader
from train.data.synthetic import Synthetic
from train.types import Batch
from train.world.asking import VOCABULARY

SIZE = 128


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    images = replace(nano_text.images, batch=4, objects=6)
    return replace(nano_text, images=images, videos=None, folder=str(tmp_path), workers=0)


def take(recipe: Recipe, count: int, **options: int) -> list[Batch]:
    loader = make_loader(recipe, SIZE, **options)
    try:
        return [next(loader) for _ in range(count)]
    finally:
        loader.close()


def said(tokens: np.ndarray) -> str:
    start, end = len(VOCABULARY), len(VOCABULARY) + 1
    assert tokens[0] == start
    row = tokens[1:].tolist()
    return " ".join(VOCABULARY[i] for i in row[: row.index(end)])


def test_phrases_are_of_the_objects_beside_them(recipe: Recipe) -> None:
    scenes, named = Synthetic("train", 1, SIZE), 0
    order = make_loader(recipe, SIZE)._batches._parent  # numbers of scenes, before `prepare`
    for k, batch in enumerate(take(recipe, 8)):
        assert batch.tokens.shape == (24, nano_text.words.context)
        assert batch.tokens.dtype == np.int32 and batch.named.shape == (24,)
        assert batch.valid[batch.named].all()
        for n in np.flatnonzero(batch.named):
            phrase, mask = said(batch.tokens[n]), batch.masks[0, n]
            scene = scenes[int(order[k][n // 6][1])]
            words = scene.words(0)
            fitting = {i for i, w in words.items() if phrase in {w.phrase(*d) for d in w.said()}}
            if not mask.any():  # nothing in the picture is called so
                assert not fitting and not batch.valid[n + 1 : n - n % 6 + 6].any()
                continue
            (own,) = fitting
            assert np.array_equal(scene.masks(0)[own], mask), phrase
            assert not words[own].held_out
            named += 1
    assert named > 110


def test_what_has_a_phrase_is_asked_for_first_and_again_where_there_is_room(recipe: Recipe) -> None:
    again = others = 0
    for batch in take(recipe, 8):
        for i in range(0, 24, 6):
            rows = [n for n in range(i, i + 6) if batch.valid[n] and batch.masks[0, n].any()]
            seen = [batch.masks[0, n].tobytes() for n in rows]
            named = [batch.named[n] for n in rows]
            others += named.count(False)
            assert named.count(False) <= 1
            first = seen[: named.index(False)] if False in named else seen
            assert len(set(first)) == len(first) or False not in named
            again += len(seen) - len(set(seen))
    assert again > 20 and others > 10


def test_half_of_the_pictures_are_asked_for_what_they_do_not_show(recipe: Recipe) -> None:
    batches = take(recipe, 15)
    absent = np.stack([b.named & ~b.masks[0].any((1, 2)) for b in batches]).reshape(-1, 6)
    assert 0.3 < absent.any(1).mean() < 0.7
    assert (absent.sum(1) <= 1).all()


def test_phrases_depend_on_the_number_of_the_batch_alone(recipe: Recipe) -> None:
    whole = take(recipe, 3)
    helped = take(replace(recipe, workers=1), 3)
    halves = [take(recipe, 3, process_index=i, process_count=2) for i in (0, 1)]
    for k, batch in enumerate(whole):
        for name in ("images", "masks", "valid", "tokens", "named"):
            value = getattr(batch, name)
            np.testing.assert_array_equal(value, getattr(helped[k], name))
            axis = 1 if name in ("images", "masks") else 0
            parts = [getattr(half[k], name) for half in halves]
            np.testing.assert_array_equal(value, np.concatenate(parts, axis))


def test_without_a_share_of_text_batches_have_no_phrases(recipe: Recipe) -> None:
    images = replace(recipe.images, prompts=replace(recipe.images.prompts, text_share=0))
    (plain,), (asked,) = take(replace(recipe, images=images), 1), take(recipe, 1)
    assert plain.tokens.shape == (0, 0) and plain.named.shape == (0,)
    np.testing.assert_array_equal(plain.images, asked.images)
