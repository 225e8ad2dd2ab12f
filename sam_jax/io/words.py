"""Phrases to tokens, for models that know a list of words: see `sam_jax.config.WordsConfig`."""

import difflib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

_LISTED = 12  # words in a message


def word_tokens(
    texts: Sequence[str], words: Sequence[str], context: int
) -> Int32[np.ndarray, "n context"]:
    """The places of a text's words in the list, in any case, between its beginning and its end.

    After those of the words come the tokens of the two, and the end fills the rest.

    Raises:
      ValueError: an empty text, a word that is not in the list, or too many of them: the beginning
        of a text alone would be another text.
    """
    number = {word: i for i, word in enumerate(words)}
    start, end = len(words), len(words) + 1
    rows = np.full((len(texts), context), end, np.int32)
    for row, text in zip(rows, texts, strict=True):
        said = text.lower().split()
        if not said:
            raise ValueError(f"an empty text says nothing: {text!r:.40}")
        if unknown := [word for word in said if word not in number]:
            near = difflib.get_close_matches(unknown[0], words, _LISTED) or [
                *words[:_LISTED],
                "...",
            ]
            raise ValueError(
                f"the text {text!r:.80} has {unknown[0]!r:.40}, which is none of the {len(words)} "
                f"words that this model was trained with: {', '.join(near)}"
            )
        if len(said) > context - 2:
            raise ValueError(
                f"the text {text!r:.80} has {len(said)} words, more than the {context - 2} that "
                "the model reads: shorten it"
            )
        row[0], row[1 : 1 + len(said)] = start, [number[word] for word in said]
    return rows
