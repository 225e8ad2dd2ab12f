"""Which phrases a synthetic scene is asked with: of its objects, and of what it does not show."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from train.world.colours import COLOURS
from train.world.outlines import SHAPE_NAMES
from train.world.phrases import Words
from train.world.things import NAMES

NOUNS = tuple(sorted({*NAMES, *SHAPE_NAMES}))
_OTHERS = "large small plain striped checked at on in of the top bottom left right middle"
VOCABULARY = tuple(
    sorted({word for phrase in (*NOUNS, *COLOURS, _OTHERS) for word in phrase.split()})
)
# How often all is said that can be; and else, the shortest that says the colour. Colours and places
# are seen first, and phrases without them teach little until they are.
_ALL, _COLOUR = 0.2, 0.7
_TRIES = 20  # to name something that is not there


def phrase_of(words: Mapping[int, Words], layer: int, rng: np.random.Generator) -> str | None:
    """A phrase that means one object of a scene. None if there is none.

    All that can be said; the shortest that says the colour; the shortest; or any between.
    """
    details = _details_of(words, layer, rng)
    return None if details is None else words[layer].phrase(*details)


def _details_of(
    words: Mapping[int, Words], layer: int, rng: np.random.Generator
) -> tuple[str, ...] | None:
    """What such a phrase says beside the noun."""
    clear = _clear(words, layer)
    if not clear:
        return None
    if rng.random() < _ALL:
        return clear[-1]
    coloured = [details for details in clear if "colour" in details]
    if coloured and rng.random() < _COLOUR:
        return coloured[0]
    return clear[0 if rng.random() < 0.5 else int(rng.integers(len(clear)))]


def _clear(words: Mapping[int, Words], layer: int) -> list[tuple[str, ...]]:
    """Sets of details that mean one object of a scene, fewest first."""
    own = words[layer]
    others = [other for number, other in words.items() if number != layer]
    return [d for d in own.said() if not any(own.fits(other, d) for other in others)]


def plain_phrase(words: Mapping[int, Words], layer: int) -> str | None:
    """The phrase that an object is asked for with where a model is measured: the shortest one that
    means it alone and says its colour, if it has one. None if there is none."""
    for details in _clear(words, layer):
        if not words[layer].colour or "colour" in details:
            return words[layer].phrase(*details)
    return None


def absent_phrase(
    words: Mapping[int, Words], rng: np.random.Generator, *, held_out: bool
) -> str | None:
    """A phrase that fits no object of a scene, though one in which a noun or a colour is another.

    It says as much as a phrase of what is there: a model must not know it by its form. It may fit
    something too small to be asked for. None if none was found.

    Args:
      held_out: pairs of colour and noun may be held-out ones.
    """
    layers = list(words)
    for _ in range(_TRIES):
        layer = layers[rng.integers(len(layers))]
        if (details := _details_of(words, layer, rng)) is None:
            continue
        if "colour" in details and rng.random() < 0.5:
            near = replace(words[layer], colour=COLOURS[rng.integers(len(COLOURS))])
        else:
            noun = NOUNS[rng.integers(len(NOUNS))]
            near = replace(words[layer], noun=noun, shape=noun)
        fits = any(near.fits(present, details) for present in words.values())
        if not fits and (held_out or not near.held_out):
            return near.phrase(*details)
    return None
