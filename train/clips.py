"""The synthetic world in motion: clips with exact masks, for training trackers without a data set.

Every thing of a scene is painted once, as a sprite: its colours, how much it covers, and its layer
numbers. In each frame the sprites are moved, turned and scaled along smooth paths, seen by a camera
that drifts, and put over one another again. So things hide one another for a while; sometimes one
leaves the picture and comes back.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from train.synthetic import Painter, Scene, photo_textures, photograph

_MARGIN = 0.15  # painted around what the camera sees at rest, as a part of it
_STILL = 0.25  # how many things do not move by themselves
_AWAY = 0.6  # how many clips have a thing that leaves


@dataclass(frozen=True)
class Sprite:
    """Attributes:
    paint: RGB, weighed by coverage, and coverage, shadows included [s s 4], uint8.
    layers: number of the layer seen at each pixel [s s], int32; 0 where there is none.
    """

    paint: np.ndarray
    layers: np.ndarray


@dataclass(frozen=True)
class Path:
    """Where a thing is in each frame, relative to where it was painted.

    Attributes:
      centre: xy that it turns and grows around.
      shift: xy [t 2], pixels.
      turn: radians [t].
      size: factor [t].
    """

    centre: np.ndarray
    shift: np.ndarray
    turn: np.ndarray
    size: np.ndarray

    def matrix(self, frame: int) -> np.ndarray:
        """[3 3], from painted pixels to pixels of that frame."""
        c, s = np.cos(self.turn[frame]), np.sin(self.turn[frame])
        linear = self.size[frame] * np.array([[c, -s], [s, c]])
        return _affine(linear, self.centre + self.shift[frame] - linear @ self.centre)


class SpritePainter(Painter):
    """Paints a scene as all painters do, and keeps each thing apart."""

    radii = (0.06, 0.4)

    def __init__(self, rng: np.random.Generator, size: int, textures: list[np.ndarray]) -> None:
        self.sprites: list[Sprite] = []
        self.apart: np.ndarray | None = None  # the thing being painted, as `Sprite.paint`, 0..1
        super().__init__(rng, size, textures)
        wide = size // 2
        mirrored = np.pad(self.canvas, ((wide, wide), (wide, wide), (0, 0)), mode="symmetric")
        self.background = _bytes(mirrored)

    def add(self) -> None:
        self.apart = np.zeros((*self.layers.shape, 4), np.float32)
        first = len(self.parents)
        super().add()
        layers = np.where(self.layers >= first, self.layers, 0).astype(np.int32)
        self.sprites.append(Sprite(_bytes(self.apart), layers))

    def blend(self, region: tuple[slice, slice], colour: np.ndarray, alpha: np.ndarray) -> None:
        super().blend(region, colour, alpha)
        if self.apart is not None:
            covered = np.concatenate(
                [np.broadcast_to(colour, (*alpha.shape, 3)), np.ones((*alpha.shape, 1))], 2
            )
            self.apart[region] += (covered - self.apart[region]) * alpha[..., None]


def make_clip(
    rng: np.random.Generator, frames: int, size: int = 256, textures: list[np.ndarray] | None = None
) -> list[Scene]:
    """Paint a scene of 3 to 7 things and film it."""
    margin = round(_MARGIN * size)
    painter = SpritePainter(rng, size + 2 * margin, textures or [])
    for _ in range(rng.integers(3, 8)):
        painter.add()
    paths = [_path(rng, sprite, frames, size) for sprite in painter.sprites]
    if rng.random() < _AWAY and frames > 2:
        i = rng.integers(len(paths))
        paths[i] = _excursion(rng, paths[i], size)
    camera = _camera(rng, frames, size, margin)
    exposure = int(rng.integers(2**32))
    return [
        film(
            painter.background,
            painter.sprites,
            [path.matrix(t) for path in paths],
            camera=camera.matrix(t),
            size=size,
            parents=tuple(painter.parents),
            exposure=exposure,
        )
        for t in range(frames)
    ]


def film(
    background: np.ndarray,
    sprites: list[Sprite],
    matrices: list[np.ndarray],
    *,
    camera: np.ndarray,
    size: int,
    parents: tuple[int, ...],
    exposure: int,
) -> Scene:
    """One frame.

    Args:
      background: colours [2s 2s 3], uint8; what was painted is its middle.
      matrices: of each sprite, [3 3], from painted pixels to moved ones.
      camera: [3 3], from moved pixels to those of the frame.
      exposure: seed of the camera's faults, the same ones for all frames of a clip.
    """
    behind = camera @ _affine(np.eye(2), np.full(2, -background.shape[0] // 4))
    canvas = _warp(background, behind, size) / np.float32(255)
    layers = np.zeros((size, size), np.int16)
    for sprite, matrix in zip(sprites, matrices, strict=True):
        whole = camera @ matrix
        moved = _warp(sprite.paint, whole, size) / np.float32(255)
        canvas = canvas * (1 - moved[..., 3:]) + moved[..., :3]
        seen = _warp(sprite.layers, whole, size)
        layers = np.where(seen > 0, seen, layers).astype(np.int16)
    return Scene(photograph(np.random.default_rng(exposure), canvas), layers, parents)


def _path(rng: np.random.Generator, sprite: Sprite, frames: int, size: int) -> Path:
    """Steady motion and a swing on top of it."""
    ys, xs = np.nonzero(sprite.layers)
    centre = np.array([xs.mean(), ys.mean()]) if len(xs) else np.full(2, size / 2)
    t = np.arange(frames)[:, None]
    if rng.random() < _STILL:
        still = np.zeros((frames, 2))
        return Path(centre, still, still[:, 0], still[:, 0] + 1)
    angle = rng.uniform(0, 2 * np.pi)
    speed = size * np.exp(rng.uniform(np.log(0.005), np.log(0.07)))  # of a frame
    swing = rng.normal(0, 0.02 * size, 2) * np.sin(t * rng.uniform(0.3, 1.2))
    turn = rng.normal(0, 0.06) * t[:, 0]
    growth = np.exp(np.clip(rng.normal(0, 0.025) * t[:, 0], -0.5, 0.5))
    return Path(centre, t * speed * np.array([np.cos(angle), np.sin(angle)]) + swing, turn, growth)


def _excursion(rng: np.random.Generator, path: Path, size: int) -> Path:
    """Out of the picture, by the nearest side, and back on the same way."""
    frames = len(path.turn)
    out = rng.integers(1, frames - 1)  # the first frame is never without it
    stay = rng.integers(1, max(2, frames // 2 + 1))
    t = np.arange(frames)
    away = np.clip(np.minimum(t - out + 1.5, out + stay + 0.5 - t), 0, 1)
    middle = size * (0.5 + _MARGIN)
    side = np.argmax(np.abs(path.centre - middle))
    direction = np.zeros(2)
    direction[side] = np.sign(path.centre[side] - middle) or 1
    shift = path.shift + 1.6 * size * away[:, None] * direction
    return Path(path.centre, shift, path.turn, path.size)


def _camera(rng: np.random.Generator, frames: int, size: int, margin: int) -> Path:
    """A slow pan, a little roll and zoom; the middle of what was painted at first."""
    t = np.arange(frames)[:, None]
    pan = rng.normal(0, size * rng.choice([0.002, 0.02]), 2)
    shake = rng.normal(0, size * rng.choice([0, 0.003]), (frames, 2))
    zoom = np.exp(np.clip(rng.normal(0, 0.012) * t[:, 0], -0.3, 0.3))
    centre = np.full(2, size / 2 + margin)
    return Path(centre, t * pan + shake - margin, rng.normal(0, 0.012) * t[:, 0], zoom)


def _affine(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, shift
    return matrix


def _bytes(colours: np.ndarray) -> np.ndarray:
    return (colours * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _warp(pixels: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Where a matrix [3 3] puts pixels, in a frame of `size`; 0 where there are none.

    Args:
      pixels: colours, uint8 [s s c], or layer numbers, int32 [s s], which are not mixed.
    """
    mixing = Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling.BILINEAR
    inverse = np.linalg.inv(matrix)[:2].ravel().tolist()
    # Colours go as CMYK: Pillow would weigh those of RGBA by the fourth channel once more.
    mode = {1: "I", 3: "RGB", 4: "CMYK"}[1 if pixels.ndim == 2 else pixels.shape[2]]
    image = Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)
    return np.asarray(image.transform((size, size), Image.Transform.AFFINE, inverse, mixing))


def _weight(clip: list[Scene], layer: int, mask: np.ndarray) -> float:
    """How often a thing of the first frame is asked for: wholes, large ones, ones that vanish."""
    whole = clip[0].parents[layer] == 0
    vanishes = not all(scene.mask(layer).any() for scene in clip)
    return mask.sum() ** 0.5 * (3 if whole else 1) * (3 if vanishes else 1)


def make_clips(
    seed: tuple[int, ...], clips: int, objects: int, *, frames: int, size: int, photos: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Clips and, of each, masks of things that are in its first frame; the same for the same seed.

    Args:
      photos: also paint with photo textures (needs scikit-image).

    Returns:
      images [t b s s 3], uint8; masks [t b*o s s], bool, o of each clip in turn, all of it false
      where the thing is hidden or out of the picture.
    """
    rng = np.random.default_rng(seed)
    textures = photo_textures() if photos else []
    images, masks = [], []
    while len(images) < clips:
        clip = make_clip(rng, frames, size, textures)
        targets = clip[0].targets()
        if not targets:
            continue
        weight = [_weight(clip, layer, mask) for layer, mask in targets.items()]
        chance = np.array(weight) / sum(weight)
        order = rng.choice(list(targets), len(targets), replace=False, p=chance)
        images.append([scene.image for scene in clip])
        chosen = [order[i % len(order)] for i in range(objects)]
        masks += [[scene.mask(layer) for scene in clip] for layer in chosen]
    return np.stack(images, 1), np.stack(masks, 1)
