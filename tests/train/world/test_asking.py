"""What scenes are asked with is in the vocabulary, and means what it should."""

import re

import numpy as np
import pytest

from train.data.synthetic import Synthetic
from train.world.asking import NOUNS, VOCABULARY, absent_phrase, phrase_of
from train.world.colours import COLOURS
from train.world.phrases import Words, shortest

Described = list[dict[int, Words]]


@pytest.fixture(scope="module")
def described() -> Described:
    return [Synthetic("train", 1, 128)[i].words(0) for i in range(40)]


def test_every_word_is_known(described: Described) -> None:
    for words in described:
        for w in words.values():
            assert w.noun in NOUNS
            assert set(w.full.split()) <= set(VOCABULARY) and len(w.full.split()) <= 14
    assert len(set(VOCABULARY)) == len(VOCABULARY) < 120


def test_phrases_single_out(described: Described) -> None:
    rng, counts = np.random.default_rng(0), {"shortest": 0, "colour": 0, "all": 0}
    coloured: list[bool] = []
    for words in described:
        for layer, own in words.items():
            phrase, least = phrase_of(words, layer, rng), shortest(words, layer)
            assert (phrase is None) == (least is None)
            if phrase is None or least is None:
                continue
            counts["shortest"] += phrase == least
            counts["colour"] += bool(own.colour) and f"{own.colour} " in phrase
            counts["all"] += phrase == own.full
            details = next(d for d in own.said() if own.phrase(*d) == phrase)
            others = [w for i, w in words.items() if i != layer]
            assert not any(own.fits(other, details) for other in others)
        coloured += [bool(w.colour) for i, w in words.items() if shortest(words, i) is not None]
    assert counts["colour"] > 0.7 * sum(coloured)
    assert min(counts.values()) > 0.2 * len(coloured)


def test_what_is_absent_fits_nothing(described: Described) -> None:
    rng, found, held_out = np.random.default_rng(0), set(), 0
    for words in described:
        for _ in range(10):
            phrase = absent_phrase(words, rng, held_out=False)
            anything = absent_phrase(words, rng, held_out=True)
            assert phrase is not None and anything is not None
            found.add(phrase)
            for w in words.values():
                assert phrase not in {w.phrase(*details) for details in w.said()}
            held_out += _is_held_out(anything)
            assert not _is_held_out(phrase)
    assert len(found) > 150 and held_out > 10
    assert absent_phrase({1: _words("blob")}, np.random.default_rng(1), held_out=True) != "blob"


def _words(noun: str, colour: str = "") -> Words:
    return Words(noun, noun, colour, "", "", "", "")


def _is_held_out(phrase: str) -> bool:
    said = re.search(rf"\b({'|'.join(COLOURS)}) ((?:plain|striped|checked) )?(.*)", phrase)
    if said is None:
        return False
    (noun,) = [n for n in NOUNS if re.match(rf"{n}(?! box)( (of|at|on|in) the|$)", said[3])]
    return _words(noun, said[1]).held_out


def test_what_is_absent_is_asked_for_like_what_is_there(described: Described) -> None:
    """Else a model would know it by its form, and never look."""
    rng, lengths = np.random.default_rng(0), {"there": [], "absent": []}
    for words in described:
        for layer in words:
            if (phrase := phrase_of(words, layer, rng)) is not None:
                lengths["there"].append(len(phrase.split()))
                absent = absent_phrase(words, rng, held_out=True)
                lengths["absent"].append(len((absent or phrase).split()))
    there, absent = (np.bincount(x, minlength=15) / len(x) for x in lengths.values())
    assert abs(there - absent).sum() < 0.25
