"""How things of the synthetic world move: paths, joints, ripples; [3 3] matrices, xy, pixels."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from train.world.paint import Sprite

_STILL = 0.25  # how many things stay where they are


@dataclass(frozen=True)
class Path:
    """Where a thing is in each frame, relative to where it was painted.

    Attributes:
      centre: xy that it turns and grows around.
      shift: pixels.
      turn: radians.
      size: factor.
    """

    centre: Float[np.ndarray, "2"]
    shift: Float[np.ndarray, "t 2"]
    turn: Float[np.ndarray, " t"]
    size: Float[np.ndarray, " t"]

    def matrix(self, frame: int) -> Float[np.ndarray, "3 3"]:
        """From painted pixels to pixels of that frame."""
        linear = self.size[frame] * _rotation(self.turn[frame])
        return affine(linear, self.centre + self.shift[frame] - linear @ self.centre)


@dataclass(frozen=True)
class Ripple:
    """A smooth bending of a sprite over time.

    A point p of what is seen shows `p + height * sin(waves @ p + phase + speed * t)` of the sprite.
    """

    height: Float[np.ndarray, "2"]
    waves: Float[np.ndarray, "2 2"]
    phase: Float[np.ndarray, "2"]
    speed: float

    def __call__(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """From points to those of the sprite that are seen there, at t = 0."""
        return points + self.height * np.sin(points @ self.waves.T + self.phase)

    def at(self, frame: int) -> "Ripple":
        """With that frame as t = 0."""
        return replace(self, phase=self.phase + self.speed * frame)

    def seen_from(self, corner: tuple[int, int]) -> "Ripple":
        """The same for points and a sprite that are counted from a corner xy."""
        return replace(self, phase=self.phase + self.waves @ corner)


@dataclass(frozen=True)
class Actor:
    """A thing that moves.

    Attributes:
      pace, phase: of its joints, radians a frame and radians.
      ripples: of each sprite, or None.
    """

    sprites: tuple[Sprite, ...]
    path: Path
    pace: float
    phase: float
    ripples: tuple[Ripple | None, ...]

    def matrices(self, frame: int) -> list[Float[np.ndarray, "3 3"]]:
        """Of each sprite, from painted pixels to pixels of that frame."""
        whole = self.path.matrix(frame)
        placed: dict[int, np.ndarray] = {}

        def place(i: int) -> np.ndarray:
            if i not in placed:
                sprite = self.sprites[i]
                holder = whole if sprite.holder is None else place(sprite.holder)
                placed[i] = holder @ self._swing(sprite, frame)
            return placed[i]

        return [place(i) for i in range(len(self.sprites))]

    def _swing(self, sprite: Sprite, frame: int) -> np.ndarray:
        if (joint := sprite.joint) is None:
            return np.eye(3)
        angle = self.pace * joint.pace * frame + self.phase + joint.phase
        linear = _rotation(joint.bend + joint.swing * np.sin(angle))
        return affine(linear, sprite.pivot - linear @ sprite.pivot)


def actor(rng: np.random.Generator, sprites: tuple[Sprite, ...], frames: int, size: int) -> Actor:
    """Steady motion, a swing on top of it, and joints or ripples that move."""
    centre = next(sprite.pivot for sprite in sprites if sprite.holder is None)
    pace = rng.choice([0, 1]) * rng.uniform(0.2, 0.9) if len(sprites) > 1 else 0.0
    holders = {sprite.holder for sprite in sprites}
    # What holds others stays stiff: its joints would come apart.
    leaves = [i not in holders and rng.random() < 0.35 for i in range(len(sprites))]
    return Actor(
        sprites,
        _path(rng, centre, frames, size),
        pace * rng.choice([-1, 1]),
        rng.uniform(0, 2 * np.pi),
        tuple(_ripple(rng, s) if leaf else None for s, leaf in zip(sprites, leaves, strict=True)),
    )


def _path(rng: np.random.Generator, centre: np.ndarray, frames: int, size: int) -> Path:
    t = np.arange(frames)
    if rng.random() < _STILL:
        return Path(centre, np.zeros((frames, 2)), np.zeros(frames), np.ones(frames))
    angle = rng.uniform(0, 2 * np.pi)
    speed = size * np.exp(rng.uniform(np.log(0.005), np.log(0.07)))  # of a frame
    shift = t[:, None] * speed * np.array([np.cos(angle), np.sin(angle)])
    shift += rng.normal(0, 0.02 * size, 2) * np.sin(t * rng.uniform(0.3, 1.2))[:, None]
    growth = np.exp(np.clip(rng.normal(0, 0.025) * t, -0.5, 0.5))
    return Path(centre, shift, rng.normal(0, 0.06) * t, growth)


def _ripple(rng: np.random.Generator, sprite: Sprite) -> Ripple:
    """Waves about as long as the sprite; never so steep that it folds over."""
    extent = max(sprite.layers.shape)
    waves = rng.normal(0, 1, (2, 2))
    waves *= rng.uniform(2, 5, (2, 1)) / np.linalg.norm(waves, axis=1, keepdims=True) / extent
    height = rng.uniform(0.03, 0.1, 2) * min(sprite.layers.shape)
    return Ripple(height, waves, rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.2, 0.9))


def excursion(rng: np.random.Generator, path: Path, middle: np.ndarray, size: int) -> Path:
    """Out of the picture, by the nearest side, and back on the same way.

    Args:
      middle: of the picture, xy.
    """
    frames = len(path.turn)
    ramp = rng.uniform(1, 2)  # frames; in the first one it is where it was painted
    start = rng.uniform(0, frames / 3)
    end = start + 2 * ramp + rng.uniform(1, 1 + frames / 4)
    t = np.arange(frames)
    away = np.clip(np.minimum(t - start, end - t) / ramp, 0, 1)
    side = np.argmax(np.abs(path.centre - middle))
    direction = np.zeros(2)
    direction[side] = np.sign(path.centre[side] - middle[side]) or 1
    return replace(path, shift=path.shift + 1.6 * size * away[:, None] * direction)


def crossing(rng: np.random.Generator, path: Path, target: Path, size: int) -> Path:
    """Past another thing: over its centre in some frame, from beside it."""
    frames = len(path.turn)
    when = rng.uniform(1, frames - 1)
    angle = rng.uniform(0, 2 * np.pi)
    speed = size * rng.uniform(0.05, 0.2) * np.array([np.cos(angle), np.sin(angle)])
    way = (np.arange(frames) - when)[:, None] * speed
    return replace(path, shift=target.centre + target.shift + way - path.centre)


def camera(rng: np.random.Generator, frames: int, size: int, margin: int) -> Path:
    """A slow pan, a little roll and zoom; the middle of what was painted at first."""
    t = np.arange(frames)[:, None]
    pan = rng.normal(0, size * rng.choice([0.002, 0.02]), 2)
    shake = rng.normal(0, size * rng.choice([0, 0.003]), (frames, 2)) * (t > 0)
    zoom = np.exp(np.clip(rng.normal(0, 0.012) * t[:, 0], -0.3, 0.3))
    centre = np.full(2, size / 2 + margin)
    return Path(centre, t * pan + shake - margin, rng.normal(0, 0.012) * t[:, 0], zoom)


def affine(linear: Float[np.ndarray, "2 2"], shift: Float[np.ndarray, "2"]) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, shift
    return matrix


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
