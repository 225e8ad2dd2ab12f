"""Outlines of the synthetic world: closed curves in a unit frame, and things made of parts.

An outline is a list of `(polygon [k 2], filled)`, painted in order; a hole is not filled. Its frame
has x to the right, y down, and reaches from about -1 to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Outline = list[tuple[np.ndarray, bool]]
_TURN = np.linspace(0, 2 * np.pi, 72, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


def ellipse(rng: np.random.Generator) -> Outline:
    return [(_CIRCLE, True)]


def blob(rng: np.random.Generator) -> Outline:
    """A circle whose radius is a random Fourier series: from pebbles to splashes."""
    k = np.arange(1, rng.integers(3, 9))
    amplitude = rng.normal(0, rng.uniform(0.1, 0.5), k.size) / k
    wave = np.cos(k[:, None] * _TURN + rng.uniform(0, 2 * np.pi, (k.size, 1)))
    return [(_CIRCLE * np.clip(1 + amplitude @ wave, 0.2, 1.6)[:, None], True)]


def box(rng: np.random.Generator) -> Outline:
    """A superellipse: diamond, ellipse, rounded box, rectangle."""
    power = rng.choice([0.08, 0.2, 0.4, 0.7, 1.5])
    return [(np.sign(_CIRCLE) * np.abs(_CIRCLE) ** power, True)]


def polygon(rng: np.random.Generator) -> Outline:
    corners = rng.integers(3, 8)
    angle = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * 2 * np.pi / corners
    radius = rng.uniform(0.6, 1.2, (corners, 1))
    return [(np.stack([np.cos(angle), np.sin(angle)], 1) * radius, True)]


def star(rng: np.random.Generator) -> Outline:
    points = rng.integers(3, 9)
    angle = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2, rng.uniform(0.35, 0.8), 1.0)
    return [(np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None], True)]


def ring(rng: np.random.Generator) -> Outline:
    return [(_CIRCLE, True), (_CIRCLE * rng.uniform(0.4, 0.85), False)]


def arc(rng: np.random.Generator) -> Outline:
    """A bent band: handles, tails, hooks; open to the right."""
    angle = np.pi + np.linspace(-1, 1, 40) * rng.uniform(0.9, 2.4)
    along = np.stack([np.cos(angle), np.sin(angle)], 1)
    return [(np.concatenate([along, along[::-1] * rng.uniform(0.45, 0.85)]), True)]


def stick(rng: np.random.Generator) -> Outline:
    """Long and thin, the width changing along it, sometimes with a bowl: pens, legs, spoons."""
    x = np.linspace(-1, 1, 24)
    width = rng.uniform(0.03, 0.12) * (1 + rng.uniform(-0.6, 0.6) * x) + 0.02
    bend = rng.uniform(-0.2, 0.2) * x**2
    edges = np.stack([x, bend + width], 1), np.stack([x, bend - width], 1)[::-1]
    band = np.concatenate(edges)
    outline: Outline = [(band, True)]
    if rng.random() < 0.6:
        size = np.array([rng.uniform(0.25, 0.45), rng.uniform(0.15, 0.3)])
        outline.append((_CIRCLE * size + (1.0, bend[-1]), True))
    return outline


def vessel(rng: np.random.Generator) -> Outline:
    """The side view of a cup from above: a wide opening over a narrower, rounded foot."""
    foot, flat = rng.uniform(0.35, 0.95), rng.uniform(0.2, 0.4)
    t = np.linspace(0, np.pi, 24)
    upper = np.stack([np.cos(t), -np.sin(t) * 0.4 - 0.6], 1)
    wall = np.linspace(0, 1, 12)[:, None]
    bulge = rng.uniform(0.5, 1.5)
    left = np.concatenate([-1 + (1 - foot) * wall**bulge, -0.6 + 1.2 * wall], 1)
    lower = np.stack([-np.cos(t) * foot, 0.6 + np.sin(t) * flat], 1)
    return [(np.concatenate([upper, left, lower, left[::-1] * (-1, 1)]), True)]


def ear(rng: np.random.Generator) -> Outline:
    tip = rng.uniform(-0.5, 0.5)
    return [(np.array([[-1, 1], [tip - 0.1, -1], [tip + 0.1, -1], [1, 1]]), True)]


OUTLINES: dict[str, Callable[[np.random.Generator], Outline]] = {
    "ellipse": ellipse,
    "blob": blob,
    "box": box,
    "polygon": polygon,
    "star": star,
    "ring": ring,
    "arc": arc,
    "stick": stick,
    "vessel": vessel,
    "ear": ear,
}


@dataclass(frozen=True)
class Thing:
    """An outline and its parts.

    Attributes:
      at: centre in the frame of what it is a part of.
      size: half width and half height there.
      under: painted before the body and reaching out of it; else after it and clipped to it.
      like: how much its colour is the body's, 0..1.
    """

    outline: str
    at: tuple[float, float] = (0, 0)
    size: tuple[float, float] = (1, 1)
    under: bool = False
    like: float = 0.0
    parts: tuple["Thing", ...] = ()


_COFFEE = Thing("ellipse", (0, 0.12), (0.8, 0.75), like=0.2)
_OPENING = Thing("ellipse", (0, 0.05), (0.9, 0.87), like=0.6, parts=(_COFFEE,))
_EYE = Thing("ellipse", (0, 0), (0.55, 0.9))
_WHEEL = Thing("ellipse", (0, 0), (0.6, 0.6), parts=(Thing("ellipse", (0, 0), (0.3, 0.3)),))
THINGS = (
    Thing(
        "vessel",
        parts=(
            Thing("arc", (-0.95, 0), (0.5, 0.45), under=True, like=1),
            Thing("ellipse", (0, -0.6), (1, 0.4), like=0.4, parts=(_OPENING,)),
        ),
    ),
    Thing("ellipse", parts=(Thing("ellipse", (0, -0.03), (0.65, 0.65), like=0.8),)),
    Thing(
        "blob",
        size=(1, 0.9),
        parts=(
            Thing("ear", (-0.6, -0.85), (0.3, 0.4), under=True, like=1),
            Thing("ear", (0.6, -0.85), (0.3, 0.4), under=True, like=1),
            Thing("ellipse", (-0.4, -0.2), (0.17, 0.13), parts=(_EYE,)),
            Thing("ellipse", (0.4, -0.2), (0.17, 0.13), parts=(_EYE,)),
            Thing("polygon", (0, 0.3), (0.14, 0.1)),
        ),
    ),
    Thing(
        "box",
        size=(1, 0.45),
        parts=(
            Thing("ellipse", (-0.6, 0.95), (0.22, 0.5), under=True, parts=(_WHEEL,)),
            Thing("ellipse", (0.6, 0.95), (0.22, 0.5), under=True, parts=(_WHEEL,)),
            Thing("box", (0, -1.2), (0.5, 0.6), under=True, like=1),
            Thing("box", (-0.4, -0.3), (0.25, 0.4)),
        ),
    ),
)


def random_thing(rng: np.random.Generator, depth: int = 2) -> Thing:
    """A named thing with jittered parts, or an outline with parts at random."""
    if depth == 2 and rng.random() < 0.35:
        return _jitter(rng, THINGS[rng.integers(len(THINGS))])
    names = list(OUTLINES)
    parts = []
    if depth and rng.random() < 0.55:
        for _ in range(rng.integers(1, 4)):
            part = random_thing(rng, depth - 1)
            under = bool(rng.random() < 0.35)
            angle, far = rng.uniform(0, 2 * np.pi), 0.95 if under else rng.choice([0.05, 0.5])
            at = (far * np.cos(angle), far * np.sin(angle))
            size = rng.uniform(0.2, 0.55 if far > 0.1 else 0.85) * rng.uniform(0.75, 1.25, 2)
            like = float(rng.choice([0, 0.6, 1]))
            parts.append(Thing(part.outline, at, tuple(size), under, like, part.parts))
    chance = np.array([3, 4, 3, 2, 0.7, 1, 1, 2.5, 1, 0.5])
    return Thing(names[rng.choice(len(names), p=chance / chance.sum())], parts=tuple(parts))


def _jitter(rng: np.random.Generator, thing: Thing) -> Thing:
    kept = [_jitter(rng, part) for part in thing.parts if rng.random() < 0.85]
    at = tuple(np.asarray(thing.at) + rng.normal(0, 0.04, 2))
    size = tuple(np.asarray(thing.size) * rng.uniform(0.8, 1.2, 2))
    return Thing(thing.outline, at, size, thing.under, thing.like, tuple(kept))
