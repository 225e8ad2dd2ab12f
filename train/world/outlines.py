"""Outlines of the synthetic world: closed curves in a unit frame.

An outline is a list of `(polygon [k 2], filled)`, painted in order; a hole is not filled. Its frame
has x to the right, y down, and reaches from about -1 to 1.
"""

from collections.abc import Callable

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


def limb(rng: np.random.Generator) -> Outline:
    """An upright rounded bar, thinner at its lower end: arms, legs, links."""
    t = np.linspace(0, np.pi, 16)
    cap = np.stack([np.cos(t), np.sin(t)], 1)
    low, tall = rng.uniform(0.5, 0.95), rng.uniform(0.08, 0.3)
    upper = cap * (1, -tall) + (0, tall - 1)
    lower = cap[::-1] * (low, tall) + (0, 1 - tall)
    return [(np.concatenate([upper, lower]), True)]


def wire(rng: np.random.Generator) -> Outline:
    """A thin winding line: cables, strings, twigs."""
    x = np.linspace(-1, 1, 48)
    bends = rng.uniform(1, 5)
    y = rng.uniform(0.1, 0.5) * np.sin(bends * x + rng.uniform(0, 2 * np.pi))
    y -= y.mean()
    slope = np.gradient(y, x)
    across = np.stack([-slope, np.ones_like(x)], 1) / np.hypot(slope, 1)[:, None]
    line, width = np.stack([x, y], 1), rng.uniform(0.015, 0.045)
    edges = line + width * across, (line - width * across)[::-1]
    return [(np.concatenate(edges), True)]


# What the outlines of one name look like, where that does not depend on the numbers drawn.
_NAMES = {"blob": "blob", "ring": "ring", "arc": "arc", "stick": "stick", "vessel": "bowl"}
_NAMES |= {"ear": "cone", "limb": "bar", "wire": "wire"}
SHAPE_NAMES = (*_NAMES.values(), "circle", "ellipse", "triangle", "polygon", "star", "square")
SHAPE_NAMES += ("rectangle", "rounded box", "diamond")  # all that `shape_name` gives
_ROUND = 0.8  # shorter side / longer side, from which on an ellipse is a circle


def shape_name(kind: str, outline: Outline, frame: np.ndarray) -> str:
    """What people would call an outline.

    Args:
      kind: key of `OUTLINES`.
      frame: [2 2], from the unit frame to pixels.
    """
    if kind in _NAMES:
        return _NAMES[kind]
    points = outline[0][0]
    sides = np.linalg.norm(frame, axis=0)
    even = sides.min() / sides.max() > _ROUND
    if kind == "ellipse":
        return "circle" if even else "ellipse"
    if kind == "polygon":
        return "triangle" if len(points) == 3 else "polygon"
    if kind == "star":  # its notches lie clearly inside the lines from tip to tip
        notch = np.linalg.norm(points, axis=1).min()
        return "star" if notch < 0.9 * np.cos(2 * np.pi / len(points)) else "polygon"
    x, y = points.T  # a superellipse: 1.33, 2.9, 5, 10 or 25 as exponent
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    if area > 0.97 * 4:
        return "square" if even else "rectangle"
    return "rounded box" if area > 0.75 * 4 else "diamond"


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
    "limb": limb,
    "wire": wire,
}
