"""The synthetic world: pictures and clips of painted things with exact masks.

Every thing is painted once, as sprites. In each frame they are moved, swung about joints, bent, and
put over one another, back to front, before a camera that drifts. A pixel belongs to the last layer
that covered it; an object's mask is the pixels of its layer and its parts. So masks are visible
pixels, objects exclude one another, and a part lies inside its object, which makes a click as
ambiguous as it is on photos.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8

from train.world import motion, texture
from train.world.camera import Film, Frame, random_film
from train.world.motion import Actor
from train.world.paint import Look, Painter
from train.world.things import ARTICULATED, random_thing

# Objects with fewer visible pixels (of 256 x 256) are nobody's target: about COCO's limit of what
# is small, and a dozen cells of the mask grid of a model of that size.
MIN_PIXELS = 200
_MARGIN = 0.15  # painted around what the camera of a clip sees at first, as a part of it
_AWAY = 0.5  # how many clips have a thing that leaves and comes back
_CROSSED = 0.4  # how many have one that passes before another
_SMEARED = 0.5  # how many have motion blur


@dataclass(frozen=True)
class Scene:
    """Attributes:
    layers: number of the layer seen at each pixel; 0 is the background.
    parents: of each layer the one it is a part of, 0 for none; parents[0] is 0.
    looks: of each layer, what it was painted as.
    """

    image: UInt8[np.ndarray, "s s 3"]
    layers: UInt8[np.ndarray, "s s"]
    parents: tuple[int, ...]
    looks: tuple[Look, ...] = ()

    def mask(self, layer: int) -> Bool[np.ndarray, "s s"]:
        """Visible pixels of a layer and its parts."""
        family = np.zeros(256, bool)
        family[layer] = True
        for child, parent in enumerate(self.parents):  # parents come before their parts
            family[child] |= parent > 0 and family[parent]
        return family[self.layers]

    def areas(self) -> list[int]:
        """Of each layer and its parts, visible pixels."""
        areas = np.bincount(self.layers.ravel(), minlength=len(self.parents)).tolist()
        for child in range(len(self.parents) - 1, 0, -1):
            if self.parents[child]:
                areas[self.parents[child]] += areas[child]
        return areas

    def targets(self) -> list[int]:
        """Layers of everything large enough to be asked for."""
        size = self.layers.size
        least = MIN_PIXELS * size / 256**2
        areas = self.areas()
        return [i for i in range(1, len(areas)) if least <= areas[i] <= 0.9 * size]


def make_clip(rng: np.random.Generator, frames: int, size: int = 256) -> list[Scene]:
    """Paint a scene of 3 to 7 things and film it; one frame is a picture, of up to 9 things."""
    margin = round(_MARGIN * size) if frames > 1 else 0
    side = size + 2 * margin
    painter = Painter(rng, size, texture.direction(rng))
    background = painter.background(side)
    actors = []
    for _ in range(rng.integers(3, 10 if frames == 1 else 9)):
        actors.append(_actor(rng, painter, background, actors, frames, size))
    if frames > 2:
        actors = _direct(rng, actors, np.full(2, side / 2), size)
    view = motion.camera(rng, frames, size, margin)
    shutter = rng.uniform(0.2, 0.8) if frames > 1 and rng.random() < _SMEARED else 0.0
    film = random_film(rng, frames, size)
    past = side // 4 if frames > 1 else 0  # how far the camera may look past the border
    background = np.pad(background, [(past, past), (past, past), (0, 0)], mode="symmetric")
    shots = _shoot(background, past, actors, view, shutter, film, painter, size)
    return list(shots)


def _actor(
    rng: np.random.Generator,
    painter: Painter,
    background: np.ndarray,
    others: list[Actor],
    frames: int,
    size: int,
) -> Actor:
    """A thing at a random place, often on top of an earlier one."""
    side = background.shape[0]
    thing = random_thing(rng)
    radii = (0.1, 0.55) if frames == 1 else (0.07, 0.42)
    radius = size * np.exp(rng.uniform(*np.log(radii)))
    centre = side / 2 + rng.uniform(-0.55, 0.55, 2) * size
    if others and rng.random() < 0.4:
        centre = others[rng.integers(len(others))].path.centre + rng.normal(0, 0.3 * radius, 2)
    upright = rng.random() < 0.6
    angle = rng.normal(0, 0.2) if upright else rng.uniform(0, 2 * np.pi)
    flat = 1.0
    if any(thing.outline == a.outline and len(thing.parts) > 2 for a in ARTICULATED):
        angle, radius = rng.normal(0, 0.12), radius * 1.2
    else:
        flat = rng.uniform(0.45, 1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    frame = turn @ np.diag(radius * np.array([rng.choice([-1, 1]), flat]) * thing.size)
    x, y = np.clip(centre, 0, side - 1).astype(int)
    behind = background[max(y - 8, 0) : y + 8, max(x - 8, 0) : x + 8].mean((0, 1)) / 255
    return motion.actor(rng, painter.add(thing, frame, centre, behind), frames, size)


def _direct(
    rng: np.random.Generator, actors: list[Actor], middle: np.ndarray, size: int
) -> list[Actor]:
    """Let some things leave and return, or pass before others."""
    if rng.random() < _CROSSED:
        behind = actors[rng.integers(len(actors) - 1)].path
        path = motion.crossing(rng, actors[-1].path, behind, size)
        actors = [*actors[:-1], replace(actors[-1], path=path)]
    if rng.random() < _AWAY:
        i = int(rng.integers(len(actors) - 1))
        path = motion.excursion(rng, actors[i].path, middle, size)
        actors = [*actors[:i], replace(actors[i], path=path), *actors[i + 1 :]]
    return actors


def _shoot(
    background: UInt8[np.ndarray, "b b 3"],
    past: int,
    actors: list[Actor],
    view: motion.Path,
    shutter: float,
    film: Film,
    painter: Painter,
    size: int,
) -> Iterator[Scene]:
    """The frames, in order.

    Args:
      past: how much of the background, on each side, was mirrored and not painted, pixels.
      shutter: how long it is open, as a part of the time between frames.
    """
    frames = len(view.turn)
    parents, looks = tuple(painter.parents), tuple(painter.looks)
    corner = np.full(2, -past)
    before: list[np.ndarray] = []
    for t in range(frames):
        camera = view.matrix(t)
        placed = [camera @ motion.affine(np.eye(2), corner)]
        placed += [camera @ matrix for actor in actors for matrix in actor.matrices(t)]
        before = before or placed
        sprites = [(s, r) for a in actors for s, r in zip(a.sprites, a.ripples, strict=True)]
        middles = [np.full(2, background.shape[0] / 2)] + [_middle(s) for s, _ in sprites]
        ways = [_way(*pair, m) for *pair, m in zip(before, placed, middles, strict=True)]
        smears = [shutter * np.clip(way, -0.1 * size, 0.1 * size) for way in ways]
        frame = Frame(background, placed[0], size, smears[0])
        for (sprite, ripple), matrix, smear in zip(sprites, placed[1:], smears[1:], strict=True):
            bend = None if ripple is None else ripple.at(t)
            frame.add(sprite, matrix, bend, smear)
        yield Scene(film.develop(frame.colours, t), frame.layers, parents, looks)
        before = placed


def _middle(sprite: motion.Sprite) -> Float[np.ndarray, "2"]:
    return np.array(sprite.corner) + np.array(sprite.layers.shape[::-1]) / 2


def _way(before: np.ndarray, after: np.ndarray, point: np.ndarray) -> Float[np.ndarray, "2"]:
    """How far a point is moved by one matrix from where another one puts it."""
    return ((after - before) @ np.append(point, 1))[:2]
