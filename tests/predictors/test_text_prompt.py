"""`ImagePredictor.predict(text=...)`: phrases and embeddings, and who refuses them."""

from typing import Any

import numpy as np
import pytest

import sam_jax
from sam_jax.config import WordsConfig
from sam_jax.types import Model

WIDTH = 12


def encoder(phrases: Any) -> np.ndarray:
    """A direction for each phrase, of no particular length."""
    rows = [np.random.default_rng(list(p.encode())).normal(size=WIDTH) for p in phrases]
    return 5 * np.array(rows, np.float32)


@pytest.fixture(scope="module")
def photo(clip: np.ndarray) -> np.ndarray:
    return clip[0]


@pytest.fixture(scope="module")
def predictor(small_tracker: Any, photo: np.ndarray) -> sam_jax.ImagePredictor:
    predictor = sam_jax.ImagePredictor(small_tracker(text_dim=WIDTH), text_encoder=encoder)
    predictor.set_image(photo)
    return predictor


def logits(predictor: sam_jax.ImagePredictor, **prompts: Any) -> np.ndarray:
    return predictor.predict(**prompts, return_logits=True)[0]


def test_a_phrase_is_an_object(predictor) -> None:
    masks, ious, low = predictor.predict(text="a red cup")
    assert masks.shape == (3, 60, 80) and ious.shape == (3,) and low.shape == (3, 24, 24)
    one, _, _ = predictor.predict(text="a red cup", multimask_output=False)
    assert one.shape == (1, 60, 80)
    cup, cat = (logits(predictor, text=t) for t in ("a red cup", "a cat"))
    assert abs(cup - cat).max() > 1e-3
    together = logits(predictor, text=["a red cup", "a cat"])
    assert together.shape == (2, 3, 60, 80)
    np.testing.assert_allclose(together, [cup, cat], atol=1e-4)


def test_embeddings_may_have_any_length(predictor) -> None:
    phrase = logits(predictor, text="a cat")
    row = encoder(["a cat"])[0]
    np.testing.assert_allclose(logits(predictor, text=row), phrase, atol=1e-4)
    np.testing.assert_allclose(logits(predictor, text=[row / 7]), phrase[:], atol=1e-4)


def test_a_click_beside_it_is_one_more_token(predictor) -> None:
    click = {"point_coords": [[30, 20]], "point_labels": [1]}
    both = logits(predictor, text="a cat", **click)
    assert abs(both - logits(predictor, text="a cat")).max() > 1e-3
    assert abs(both - logits(predictor, **click)).max() > 1e-3
    boxes = np.array([[5, 6, 30, 40], [20, 10, 70, 50]])
    shared = logits(predictor, text="a cat", box=boxes)  # one text serves both
    np.testing.assert_allclose(shared[1], logits(predictor, text="a cat", box=boxes[1]), atol=1e-4)


def test_without_a_text_nothing_changes(predictor, tracker: Model, photo) -> None:
    plain = sam_jax.ImagePredictor(tracker)
    plain.set_image(photo)
    click = {"point_coords": [[30, 20]], "point_labels": [1]}
    np.testing.assert_allclose(logits(plain, **click), logits(predictor, **click), atol=1e-5)


def test_nothing_recompiles_from_phrase_to_phrase(predictor, compiled) -> None:
    predictor.predict(text="a cat")
    with compiled() as count:
        for phrase in ("a cup", "红色的杯子", "x" * 50):
            predictor.predict(text=phrase)
    assert count() == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty text says nothing: ''"),
        (" ", "an empty text says nothing"),
        ([], r"an empty text says nothing: \[\]"),
        (["a cat", "\n"], "an empty text says nothing"),
        (np.ones(WIDTH + 1), r"\[12\] or \[n, 12\] for this model, got shape \[13\]"),
        (np.ones((1, 1, WIDTH)), r"got shape \[1, 1, 12\]"),
        (np.zeros(WIDTH), "zero, NaN or infinite"),
        (np.full(WIDTH, np.nan), "zero, NaN or infinite"),
        ({"a": 1}, "text must be phrases or embeddings, got {'a': 1}"),
        (["a cat", 3], r"text must be phrases or embeddings, got \['a cat', 3\]"),
    ],
)
def test_texts_that_make_no_sense(predictor, text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor.predict(text=text)


def test_numbers_of_texts_and_boxes_must_agree(predictor) -> None:
    boxes = np.array([[5, 6, 30, 40], [20, 10, 70, 50], [0, 0, 9, 9]])
    with pytest.raises(ValueError, match=r"disagree in number: {'boxes': 3, 'texts': 2}"):
        predictor.predict(text=["a", "b"], box=boxes)


def test_a_batch_may_ask_by_text_for_some(predictor, photo) -> None:
    batch = sam_jax.ImagePredictor(predictor.model, text_encoder=encoder)
    batch.set_image_batch([photo, photo[:, ::-1], photo])
    click = {"point_coords_batch": [None, [[9, 9]], None], "point_labels_batch": [None, [1], None]}
    texts = ["a cat", None, ["a dog", "a cat"]]
    masks, _, low = batch.predict_batch(**click, text_batch=texts)
    assert [x.shape[0] for x in masks] == [3, 3, 2] and masks[2].shape[1] == 3
    np.testing.assert_allclose(low[0], predictor.predict(text="a cat")[2], atol=1e-3)
    np.testing.assert_allclose(low[2][1], low[0], atol=1e-3)
    with pytest.raises(ValueError, match="image 1 of the batch: an empty text"):
        batch.predict_batch(text_batch=["a cat", " ", "a dog"])


def test_without_an_encoder_or_a_projection(predictor, tracker: Model, photo) -> None:
    alone = sam_jax.ImagePredictor(predictor.model)
    alone.set_image(photo)
    with pytest.raises(ValueError, match=r"'a cat' must become an embedding first: .*load_clip"):
        alone.predict(text="a cat")
    released = sam_jax.ImagePredictor(tracker, text_encoder=encoder)
    released.set_image(photo)
    for text in ("a cat", np.ones(WIDTH)):
        with pytest.raises(ValueError, match=r"no text projection, nor has any released.*_boxes"):
            released.predict(text=text, point_coords=[[3, 3]], point_labels=[1])


def test_a_model_may_bring_its_own_encoder(small_tracker: Any, photo, tmp_path) -> None:
    """In its file, with its words."""
    words = WordsConfig(("a", "cat", "red"), width=WIDTH, depth=2, context=8)
    own = sam_jax.ImagePredictor(small_tracker(words=words))
    own.set_image(photo)
    cat = logits(own, text="a cat")
    assert abs(cat - logits(own, text="cat a")).max() > 1e-3  # order counts
    together = logits(own, text=["a cat", "red", "a"])
    np.testing.assert_allclose(together[0], cat, atol=1e-3)
    with pytest.raises(ValueError, match="'dog', which is none of the 3 words"):
        own.predict(text="a dog")
    sam_jax.save(own.model, tmp_path / "own.safetensors")
    again = sam_jax.ImagePredictor(sam_jax.load(tmp_path / "own.safetensors"))
    again.set_image(photo)
    np.testing.assert_array_equal(logits(again, text="a cat"), cat)


def test_a_checkpoint_keeps_the_projection(predictor, photo, tmp_path) -> None:
    sam_jax.save(predictor.model, tmp_path / "text.safetensors")
    loaded = sam_jax.load(tmp_path / "text.safetensors")
    assert loaded.config.text_dim == WIDTH
    again = sam_jax.ImagePredictor(loaded, text_encoder=encoder)
    again.set_image(photo)
    np.testing.assert_array_equal(logits(again, text="a cat"), logits(predictor, text="a cat"))
