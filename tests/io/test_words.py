"""Phrases of listed words become tokens, and others are refused."""

import numpy as np
import pytest

from sam_jax.io.words import word_tokens

WORDS = ("blue", "circle", "red")


def test_words_are_their_places_between_two_marks() -> None:
    tokens = word_tokens(["red circle", "  BLUE\n"], WORDS, context=5)
    assert tokens.dtype == np.int32
    assert tokens.tolist() == [[3, 2, 1, 4, 4], [3, 0, 4, 4, 4]]
    assert word_tokens(["red red red"], WORDS, context=5).tolist() == [[3, 2, 2, 2, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ", "an empty text says nothing"),
        ("red circel", "'circel', which is none of the 3 words .* trained with: circle$"),
        ("红", "'红', which is none of the 3 words .*: blue, circle, red"),
        ("red " * 1000, "has 1000 words, more than the 3 that the model reads"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        word_tokens([text], WORDS, context=5)
