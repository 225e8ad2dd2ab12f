"""Things of the synthetic world: outlines with parts, some of which hang on joints."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Joint:
    """How a part swings: its angle is `bend + swing * sin(speed * t + phase)`, radians.

    Attributes:
      at: what it turns about, in the frame of the part.
      phase: within the thing; the thing's own is added. Legs of a pair differ by pi.
      pace: how much faster than the thing's other parts.
    """

    at: tuple[float, float] = (0, -0.9)
    bend: float = 0.0
    swing: float = 0.4
    phase: float = 0.0
    pace: float = 1.0


@dataclass(frozen=True)
class Thing:
    """An outline and its parts.

    Attributes:
      at: centre in the frame of what it is a part of.
      size: half width and half height there.
      place: painted before the body and reaching out of it, after it and clipped to it, or after it
        and reaching out of it.
      like: how much its colour is the body's, 0..1.
      joint: what it hangs on; None for what moves with the body only.
      name: what it is called; "" for a shape that has no name of its own.
    """

    outline: str
    at: tuple[float, float] = (0, 0)
    size: tuple[float, float] = (1, 1)
    place: Literal["under", "on", "over"] = "on"
    like: float = 0.0
    joint: Joint | None = None
    parts: tuple["Thing", ...] = ()
    name: str = ""


def _names(thing: Thing) -> list[str]:
    """Of a thing and all its parts."""
    below = [name for part in thing.parts for name in _names(part)]
    return [thing.name, *below] if thing.name else below


_COFFEE = Thing("ellipse", (0, 0.12), (0.8, 0.75), like=0.2, name="coffee")
_OPENING = Thing("ellipse", (0, 0.05), (0.9, 0.87), like=0.6, parts=(_COFFEE,), name="inside")
_CUP = Thing(
    "vessel",
    size=(0.8, 0.9),
    parts=(
        Thing("arc", (-0.95, 0), (0.5, 0.45), "under", like=1, name="handle"),
        Thing("ellipse", (0, -0.6), (1, 0.4), like=0.4, parts=(_OPENING,), name="rim"),
    ),
    name="cup",
)
_WELL = Thing("ellipse", (0, -0.03), (0.65, 0.65), like=0.8, name="middle")
_PLATE = Thing("ellipse", parts=(_WELL,), name="plate")
_PUPIL = Thing("ellipse", (0, 0), (0.55, 0.9), name="pupil")
_FACE = (
    Thing("ellipse", (-0.4, -0.2), (0.17, 0.13), parts=(_PUPIL,), name="eye"),
    Thing("ellipse", (0.4, -0.2), (0.17, 0.13), parts=(_PUPIL,), name="eye"),
    Thing("polygon", (0, 0.3), (0.14, 0.1), name="nose"),
)
_WAGGLE = Joint((0, 0.9), swing=0.15)
_CAT = Thing(
    "blob",
    size=(1, 0.9),
    parts=(
        Thing("ear", (-0.6, -0.85), (0.3, 0.4), "under", like=1, joint=_WAGGLE, name="ear"),
        Thing("ear", (0.6, -0.85), (0.3, 0.4), "under", like=1, joint=_WAGGLE, name="ear"),
        *_FACE,
    ),
    name="cat",
)
_HUB = Thing("ellipse", (0, 0), (0.3, 0.9), name="hub")
_SPOKE = Thing("box", (0, 0), (0.75, 0.15), parts=(_HUB,), name="spoke")
_TYRE = Joint((0, 0), swing=3.0, pace=0.5)
_WHEEL = Thing("ellipse", (0, 0), (0.65, 0.65), parts=(_SPOKE,), name="hubcap")


def _wheel(x: float) -> Thing:
    at, size = (x, 0.95), (0.24, 0.53)
    return Thing("ellipse", at, size, "over", joint=_TYRE, parts=(_WHEEL,), name="wheel")


_CAR = Thing(
    "box",
    size=(1, 0.45),
    parts=(
        _wheel(-0.6),
        _wheel(0.6),
        Thing(
            "box",
            (0, -1.1),
            (0.55, 0.6),
            "under",
            like=1,
            parts=(
                Thing("box", (-0.42, -0.1), (0.36, 0.6), name="window"),
                Thing("box", (0.42, -0.1), (0.36, 0.6), name="window"),
            ),
            name="cabin",
        ),
        Thing("ellipse", (0.88, -0.1), (0.09, 0.2), name="headlight"),
    ),
    name="car",
)


def _leg(x: float, place: Literal["under", "over"], phase: float, width: float) -> Thing:
    """Thigh, shin and foot, hanging on a body."""
    foot = Thing("ellipse", (0.6, 0.95), (1.5, 0.2), "over", name="foot")
    shin = Thing(
        "limb",
        (0, 1.7),
        (0.85, 0.95),
        "under",
        like=1,
        joint=Joint(bend=0.25, swing=0.3, phase=phase - 1.2),
        parts=(foot,),
        name="shin",
    )
    joint = Joint(bend=-0.1, swing=0.55, phase=phase)
    at, size = (x, 1.3), (width, 0.6)
    return Thing("limb", at, size, place, like=0.3, joint=joint, parts=(shin,), name="leg")


def _arm(x: float, place: Literal["under", "over"], phase: float) -> Thing:
    """Upper arm, forearm and hand."""
    hand = Thing("ellipse", (0, 1), (1.2, 0.3), "over", name="hand")
    forearm = Thing(
        "limb",
        (0, 1.6),
        (0.85, 0.9),
        "over",
        like=0.5,
        joint=Joint(bend=-0.4, swing=0.35, phase=phase - 0.7),
        parts=(hand,),
        name="forearm",
    )
    joint = Joint(bend=0.1 * np.sign(-x), swing=0.7, phase=phase)
    at, size = (x, -0.25), (0.26, 0.55)
    return Thing("limb", at, size, place, like=0.8, joint=joint, parts=(forearm,), name="arm")


_HEAD = Thing(
    "ellipse",
    (0, -1.5),
    (0.62, 0.6),
    "over",
    joint=Joint((0, 0.9), swing=0.12),
    parts=(Thing("box", (0, -0.8), (1.1, 0.5), name="hat"), *_FACE),
    name="head",
)
_PERSON = Thing(
    "box",
    size=(0.22, 0.4),
    parts=(
        _arm(0.7, "under", np.pi),
        _leg(0.35, "under", 0, 0.4),
        _leg(-0.35, "under", np.pi, 0.4),
        Thing("box", (0, 0.8), (1.2, 0.35), name="belt"),
        _HEAD,
        _arm(-0.7, "over", 0),
    ),
    name="person",
)
_WAG = Joint((0, 0.9), -0.7, 0.4)
_TAIL = Thing("limb", (-1, -0.9), (0.08, 0.9), "under", like=1, joint=_WAG, name="tail")
_MUZZLE = Thing("ellipse", (0.9, 0.25), (0.6, 0.5), "over", like=0.7, name="muzzle")
_DOG = Thing(
    "box",
    size=(0.7, 0.32),
    parts=(
        _leg(-0.75, "under", np.pi, 0.12),
        _leg(0.65, "under", 0.4, 0.12),
        _TAIL,
        Thing(
            "ellipse",
            (1.05, -0.95),
            (0.38, 0.75),
            "over",
            like=0.9,
            joint=Joint((-0.6, 0.7), swing=0.25, pace=0.6),
            parts=(
                _MUZZLE,
                Thing("ellipse", (0.25, -0.2), (0.14, 0.14), parts=(_PUPIL,), name="eye"),
                Thing("ear", (-0.5, -0.8), (0.3, 0.5), "over", like=0.6, joint=_WAGGLE, name="ear"),
            ),
            name="head",
        ),
        Thing("blob", (-0.2, -0.2), (0.4, 0.5), name="spot"),
        _leg(-0.6, "over", 0, 0.13),
        _leg(0.8, "over", np.pi + 0.4, 0.13),
    ),
    name="dog",
)
_FINGER = Joint((0, 0.9), bend=0.35, swing=0.3)


def _finger(x: float, joint: Joint) -> Thing:
    return Thing("limb", (x, -2), (0.22, 2), "under", joint=joint, name="finger")


_GRIPPER = Thing(
    "box",
    (0, -1),
    (1.4, 0.18),
    "over",
    parts=(
        _finger(-0.7, replace(_FINGER, bend=-0.2)),
        _finger(0.7, replace(_FINGER, phase=np.pi)),
    ),
    name="gripper",
)
_LINK = Thing(
    "limb",
    (0, -1.7),
    (0.85, 0.9),
    "over",
    like=0.9,
    joint=Joint((0, 0.9), bend=0.8, swing=0.7, phase=1, pace=0.7),
    parts=(_GRIPPER, Thing("ellipse", (0, 0.8), (0.5, 0.14), name="joint")),
    name="link",
)
_ROBOT = Thing(
    "box",
    (0, 0),
    (0.45, 0.25),
    parts=(
        Thing(
            "limb",
            (0, -2),
            (0.3, 1.6),
            "under",
            like=0.6,
            joint=Joint((0, 0.9), bend=-0.4, swing=0.5, pace=0.5),
            parts=(_LINK,),
            name="arm",
        ),
        Thing("box", (0, 0.3), (0.6, 0.3), name="panel"),
    ),
    name="robot",
)
_CORE = Thing("ellipse", (0, 0), (0.6, 0.6), name="core")
_MIDDLE = Thing("ellipse", (0, 0), (0.4, 0.4), parts=(_CORE,), name="middle")
_FLOWER = Thing("star", parts=(_MIDDLE,), name="flower")
_BLADES = tuple(
    Thing("limb", (0, 2.2), (0.4, 2.2), "under", joint=joint, name="blade")
    for joint in (Joint((0, -1), bend, swing=3.0, pace=0.4) for bend in (0.0, 2.1, 4.2))
)
_MILL = Thing("ellipse", size=(0.2, 0.2), parts=_BLADES, name="windmill")
RIGID = (_CUP, _PLATE, _FLOWER, _CAR, _CAT)
ARTICULATED = (_PERSON, _DOG, _ROBOT, _MILL)
NAMES = tuple(dict.fromkeys(name for thing in (*RIGID, *ARTICULATED) for name in _names(thing)))
_CHANCE = {"ellipse": 3, "blob": 4, "box": 3, "polygon": 2, "star": 0.7, "ring": 1, "arc": 1}
_CHANCE |= {"stick": 2.5, "vessel": 1, "ear": 0.5, "limb": 0.8, "wire": 1.2}


def random_thing(rng: np.random.Generator) -> Thing:
    """A named thing with jittered parts, or an outline with parts at random."""
    kind = rng.random()
    if kind < 0.22:
        return _jitter(rng, ARTICULATED[rng.integers(len(ARTICULATED))])
    if kind < 0.45:
        return _jitter(rng, RIGID[rng.integers(len(RIGID))])
    return _random(rng, depth=2)


def _random(rng: np.random.Generator, depth: int) -> Thing:
    parts = []
    if depth and rng.random() < 0.55:
        for _ in range(rng.integers(1, 4)):
            reaching = bool(rng.random() < 0.35)
            angle, far = rng.uniform(0, 2 * np.pi), 0.95 if reaching else rng.choice([0.05, 0.5])
            size = rng.uniform(0.2, 0.55 if far > 0.1 else 0.85) * rng.uniform(0.75, 1.25, 2)
            hangs = reaching and rng.random() < 0.4
            joint = Joint((-np.cos(angle), -np.sin(angle)), swing=rng.uniform(0.2, 0.8))
            part = replace(
                _random(rng, depth - 1),
                at=(far * np.cos(angle), far * np.sin(angle)),
                size=tuple(size),
                place=("under" if rng.random() < 0.6 else "over") if reaching else "on",
                like=float(rng.choice([0, 0.6, 1])),
                joint=joint if hangs else None,
            )
            parts.append(part)
    names, chance = list(_CHANCE), np.array(list(_CHANCE.values()))
    return Thing(names[rng.choice(len(names), p=chance / chance.sum())], parts=tuple(parts))


def _jitter(rng: np.random.Generator, thing: Thing) -> Thing:
    """Without some of the small parts, the others a little off and of another size."""
    kept = [_jitter(rng, p) for p in thing.parts if p.joint or rng.random() < 0.85]
    off = rng.normal(0, 0.02 if thing.joint else 0.04, 2)
    size = np.asarray(thing.size) * rng.uniform(0.85, 1.15, 2)
    return replace(thing, at=tuple(np.asarray(thing.at) + off), size=tuple(size), parts=tuple(kept))
