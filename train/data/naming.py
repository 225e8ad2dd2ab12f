"""Phrases for the objects of training pictures, as tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sam_jax.config import WordsConfig
from sam_jax.io.words import word_tokens
from train.world.asking import absent_phrase, phrase_of
from train.world.phrases import Words

_PART = 0.25  # how often a part of something gets its phrase: there are many
_ABSENT = 0.5  # how many pictures are asked for something that they do not show


class Described(Protocol):
    """A video that says what can be said of its objects, by id."""

    def words(self, t: int) -> Mapping[int, Words]: ...


@dataclass(frozen=True)
class Naming:
    """How objects are named in training: without held-out pairs of colour and noun."""

    config: WordsConfig

    def __call__(
        self, video: Described, t: int, ids: Sequence[int], room: int, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], bool]:
        """`tokens` and `named` of a batch, for `room` objects, of which `ids` are the first.

        Returns:
          The two, and whether the last phrase is of nothing in the picture; it then takes the place
          of the last object.
        """
        words = video.words(t)
        phrases = [self._of(words, i, rng) for i in ids] + [None] * (room - len(ids))
        absent = absent_phrase(words, rng, held_out=False) if rng.random() < _ABSENT else None
        if absent is not None:
            phrases[-1] = absent
        named = np.array([phrase is not None for phrase in phrases])
        tokens = np.zeros((room, self.config.context), np.int32)
        said = [phrase for phrase in phrases if phrase is not None]
        tokens[named] = word_tokens(said, self.config.words, self.config.context)
        return {"tokens": tokens, "named": named}, absent is not None

    def _of(self, words: Mapping[int, Words], i: int, rng: np.random.Generator) -> str | None:
        chance, phrase = rng.random(), None
        # What is small can hardly be seen; the paper, too, takes larger things only (D.5).
        if i in words and not words[i].held_out and words[i].size != "small":
            phrase = phrase_of(words, i, rng)
            phrase = None if words[i].whole and chance > _PART else phrase
        return phrase
