"""Phrases for the objects of a synthetic scene, such as "large red striped circle on the left".

What is said is true of the picture: colour, size and place are measured on the visible pixels;
shapes, names and patterns are those that were painted, where they can be seen.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from train.world.colours import colour_name
from train.world.paint import Look
from train.world.scene import Scene
from train.world.texture import Pattern

_LARGE, _SMALL = 0.06, 0.005  # parts of the picture
_BLURRED, _CLEAR = 0.06, 0.15  # contrasts up to which a pattern is plain, from which it is seen
_SEEN = 12  # grey values, the deviation of pixels from which a pattern is seen
_OWN = 0.5  # how much of an object must be its own layer, and not its parts, to show its pattern
_HELD_OUT = 8  # one of so many pairs of colour and noun
_PATTERNS = {"banded": "striped", "striped": "striped", "checked": "checked"}
# Besides the noun, the shortest first; of equally short ones what people would say first.
_DETAILS = ("colour", "pattern", "size", "whole", "place")


@dataclass(frozen=True)
class Words:
    """What can be said of an object.

    Attributes:
      noun: its name, or that of its shape.
      shape: that of its shape.
      colour, pattern: "" if it has none that can be named.
      size: large, small, or "" for what is between.
      place: of the middle of its visible pixels, by thirds of the picture.
      whole: what it is a part of, such as "of the car" or "on the circle"; "" if of nothing.
    """

    noun: str
    shape: str
    colour: str
    pattern: str
    size: str
    place: str
    whole: str

    def phrase(self, *details: str) -> str:
        """The noun with some of colour, pattern, size, whole and place, in English order."""
        said = {name: getattr(self, name) if name in details else "" for name in _DETAILS}
        before = (said["size"], said["colour"], said["pattern"], self.noun)
        return " ".join(word for word in (*before, said["whole"], said["place"]) if word)

    @property
    def full(self) -> str:
        """All that can be said."""
        return self.phrase(*_DETAILS)

    @property
    def held_out(self) -> bool:
        """Its colour and noun are one of the pairs that text training never sees.

        A fixed eighth of all pairs; depends on nothing but the two words.
        """
        pair = f"{self.colour} {self.noun}".encode()
        number = int.from_bytes(hashlib.blake2b(pair, digest_size=4).digest())
        return bool(self.colour) and number % _HELD_OUT == 0

    def said(self) -> Iterator[tuple[str, ...]]:
        """Every set of details there is something to say about, fewest first."""
        known = [name for name in _DETAILS if getattr(self, name)]
        for count in range(len(known) + 1):
            yield from itertools.combinations(known, count)

    def fits(self, other: "Words", details: tuple[str, ...]) -> bool:
        """Whether this object's phrase with these details may be taken for the other object.

        In doubt it may: something of no certain colour could pass for red.
        """
        if self.noun not in (other.noun, other.shape):
            return False
        for name in details:
            theirs = getattr(other, name)
            doubtful = not theirs and name in ("colour", "pattern")
            if theirs != getattr(self, name) and not doubtful:
                return False
        return True


def describe(scene: Scene) -> dict[int, Words]:
    """Words for everything in a scene that is large enough to be asked for, by layer."""
    return {layer: _words(scene, layer) for layer in scene.targets()}


def shortest(words: Mapping[int, Words], layer: int) -> str | None:
    """The shortest phrase that fits one object and no other of its scene; None if there is none."""
    own = words[layer]
    others = [other for number, other in words.items() if number != layer]
    for details in own.said():
        if not any(own.fits(other, details) for other in others):
            return own.phrase(*details)
    return None


def _words(scene: Scene, layer: int) -> Words:
    look, mask = scene.looks[layer], scene.mask(layer)
    own_pixels = scene.image[scene.layers == layer]
    area = int(mask.sum())
    root = layer
    while scene.parents[root]:
        root = scene.parents[root]
    return Words(
        noun=look.name or look.shape,
        shape=look.shape,
        colour=colour_name(scene.image[mask]),
        pattern=_pattern_word(look.pattern, own_pixels) if len(own_pixels) > _OWN * area else "",
        size="large" if area > _LARGE * mask.size else "small" if area < _SMALL * mask.size else "",
        place=_place(mask),
        whole="" if root == layer else _whole(scene.looks[root]),
    )


def _pattern_word(pattern: Pattern | None, pixels: UInt8[np.ndarray, "n 3"]) -> str:
    """What a texture may be called, where the light left enough of it in these pixels."""
    if pattern is None or pattern.kind == "photo":
        return ""
    if pattern.kind == "plain" or pattern.contrast < _BLURRED:
        return "plain"
    drawn = pattern.contrast > _CLEAR and pattern.cycles > 1.5 and pattern.period > 3
    seen = drawn and pixels.std(0).max() > _SEEN
    return _PATTERNS.get(pattern.kind, "") if seen else ""


def _place(mask: Bool[np.ndarray, "h w"]) -> str:
    y, x = np.nonzero(mask)
    h, w = mask.shape
    row = ("top", "", "bottom")[int(3 * (y.mean() + 0.5) / h)]
    column = ("left", "", "right")[int(3 * (x.mean() + 0.5) / w)]
    if row:
        return f"at the {row} {column}".rstrip()
    return f"on the {column}" if column else "in the middle"


def _whole(look: Look) -> str:
    return f"of the {look.name}" if look.name else f"on the {look.shape}"
