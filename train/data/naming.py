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
_CHOICE = 4  # times as many objects as there is room for, of which those with a phrase come first
NOTHING = -1


class Described(Protocol):
    """A video that says what can be said of its objects, by id."""

    def words(self, t: int) -> Mapping[int, Words]: ...


@dataclass(frozen=True)
class Naming:
    """How objects are named in training: without held-out pairs of colour and noun."""

    config: WordsConfig

    def candidates(self, room: int) -> int:
        """How many objects of a picture to offer, where `room` are to be asked for."""
        return _CHOICE * room

    def __call__(
        self, video: Described, t: int, ids: Sequence[int], room: int, rng: np.random.Generator
    ) -> tuple[list[int], dict[str, np.ndarray]]:
        """Whom a picture is asked for: those with a phrase, one without, and for what room is left
        the first ones again, by other phrases.

        Returns:
          Places in `ids`, at most `room`, or `NOTHING` for a phrase of nothing in the picture; and
          `tokens` and `named` of a batch.
        """
        words = video.words(t)
        order = rng.permutation(len(ids)).tolist()
        named = [row for row in order if self._has_name(words, ids[row], rng)][:room]
        rows = (named + [row for row in order if row not in named][:1])[:room]
        if named:
            rows += rng.choice(named, room - len(rows)).tolist()
        known = set(named)
        phrases = [phrase_of(words, ids[row], rng) if row in known else None for row in rows]
        absent = absent_phrase(words, rng, held_out=False) if rng.random() < _ABSENT else None
        if absent is not None:
            rows, phrases = [*rows[: room - 1], NOTHING], [*phrases[: room - 1], absent]
        return rows, self._arrays(phrases, room)

    def _has_name(self, words: Mapping[int, Words], i: int, rng: np.random.Generator) -> bool:
        # What is small can hardly be seen; the paper, too, takes larger things only (D.5).
        if i not in words or words[i].held_out or words[i].size == "small":
            return False
        if words[i].whole and rng.random() > _PART:
            return False
        return phrase_of(words, i, rng) is not None

    def _arrays(self, phrases: Sequence[str | None], room: int) -> dict[str, np.ndarray]:
        named = np.zeros(room, bool)
        named[: len(phrases)] = [phrase is not None for phrase in phrases]
        tokens = np.zeros((room, self.config.context), np.int32)
        said = [phrase for phrase in phrases if phrase is not None]
        tokens[named] = word_tokens(said, self.config.words, self.config.context)
        return {"tokens": tokens, "named": named}
