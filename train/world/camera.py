"""Filming the synthetic world: sprites warped into a frame, and what light and lens do to it."""

import functools
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8, UInt8
from PIL import Image, ImageChops, ImageFilter

from train.world.motion import Ripple
from train.world.paint import Sprite
from train.world.texture import direction

_CELL = 20  # pixels, of the mesh that bends a rippled sprite
_NOISE = 512  # side of the stored noise


class Frame:
    """A frame in the making.

    Attributes:
      colours: [s s 3], uint8.
      layers: number of the layer seen at each pixel [s s], uint8.
    """

    def __init__(
        self,
        background: UInt8[np.ndarray, "b b 3"],
        matrix: Float[np.ndarray, "3 3"],
        size: int,
        smear: Float[np.ndarray, "2"],
    ) -> None:
        """Begin with the background.

        Args:
          matrix: from its pixels to those of the frame.
          smear: xy, how far it moves while the shutter is open, pixels.
        """
        self.size = size
        self.layers = np.zeros((size, size), np.uint8)
        edge = np.ceil(np.abs(smear) / 2).astype(int)
        side = size + 2 * edge
        image = _warp(background, matrix, (-edge, side - edge), None)
        self.colours = _smear(image, smear)[edge[1] :, edge[0] :][:size, :size].copy()

    def add(
        self,
        sprite: Sprite,
        matrix: Float[np.ndarray, "3 3"],
        bend: Ripple | None,
        smear: Float[np.ndarray, "2"],
    ) -> None:
        """Put a sprite over what is there; arguments as of `Frame`, in painted pixels."""
        moved = matrix @ np.array([[1, 0, sprite.corner[0]], [0, 1, sprite.corner[1]], [0, 0, 1]])
        h, w = sprite.layers.shape
        border = np.array([[0, 0], [w, 0], [0, h], [w, h]], float)
        if bend is not None:  # it may reach out by that much
            bend = bend.seen_from(sprite.corner)
            border += (2 * np.sign(border) - 1) * bend.height
        spread = border @ moved[:2, :2].T + moved[:2, 2]
        edge = np.ceil(np.abs(smear) / 2)
        low = np.floor(np.maximum(spread.min(0) - edge, -edge)).astype(int)
        high = np.ceil(np.minimum(spread.max(0) + edge, self.size + edge)).astype(int)
        if (high <= low).any():
            return
        paint = _warp(sprite.paint, moved, (low, high), bend)
        if sprite.only is not None:
            seen = (paint[..., 3] > 127) * np.uint8(sprite.only)
        else:
            seen = _warp(sprite.layers, moved, (low, high), bend)
        paint = _smear(paint, smear)
        inside = np.maximum(low, 0), np.minimum(high, self.size)
        if (inside[1] <= inside[0]).any():
            return
        crop = tuple(slice(inside[0][i] - low[i], inside[1][i] - low[i]) for i in (1, 0))
        there = tuple(slice(inside[0][i], inside[1][i]) for i in (1, 0))
        paint, seen = paint[crop], seen[crop]
        # By 256 - alpha and a shift: whole below alpha 0, nothing below 255, never too bright.
        through = 256 - paint[..., 3].astype(np.uint16)
        through -= paint[..., 3] >> 7
        below = self.colours[there] * through[..., None]
        below >>= 8
        below += paint[..., :3]
        self.colours[there] = below
        np.copyto(self.layers[there], seen, where=seen > 0)


@dataclass(frozen=True)
class Film:
    """What light, lens and recording do to the frames of a clip.

    Attributes:
      tables: of each frame, of each channel, the grey values that 0..255 become.
      shade: of each frame, the light at 9 x 9 places of the picture, 0..1.
      blur: pixels.
      grain: noise, standard deviation in grey values.
      seed: of each frame, where the noise begins.
      quality: of each frame's JPEG; None for none.
    """

    tables: UInt8[np.ndarray, "t 768"]
    shade: Float[np.ndarray, "t 9 9"] | None
    blur: float
    grain: float
    seed: np.ndarray
    quality: int | None

    def develop(self, colours: UInt8[np.ndarray, "s s 3"], frame: int) -> np.ndarray:
        """What the camera records of a frame [s s 3], uint8."""
        image = Image.fromarray(colours)
        if self.shade is not None:
            light = Image.fromarray((self.shade[frame] * 255).astype(np.uint8))
            light = light.resize(image.size, Image.Resampling.BICUBIC)
            image = ImageChops.multiply(image, Image.merge("RGB", [light] * 3))
        image = image.point(self.tables[frame].tolist())
        if self.blur > 0.2:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        if self.grain > 0.5:
            image = Image.fromarray(_noisy(np.asarray(image), self.grain, self.seed[frame]))
        if self.quality is not None:
            image.save(buffer := io.BytesIO(), "jpeg", quality=self.quality)
            image = Image.open(buffer)
        return np.asarray(image)


def random_film(rng: np.random.Generator, frames: int, size: int) -> Film:
    t = np.arange(frames)[:, None]
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
    drift = rng.choice([0, 0, 1]) * rng.normal(0, 0.25) * np.sin(rng.uniform(0.1, 0.8) * t)
    flicker = rng.choice([0, 0, 0, 0.03]) * rng.normal(0, 1, (frames, 1))
    level = np.exp(drift + flicker)[..., None] * gain[:, None] * np.linspace(0, 1, 256)
    tables = np.clip(level, 0, 1) ** rng.uniform(0.7, 1.4) * 255
    return Film(
        tables=tables.reshape(frames, 768).astype(np.uint8),
        shade=_moving_shadow(rng, frames) if rng.random() < 0.35 else None,
        blur=float(rng.choice([0, 1]) * rng.uniform(0, 1.3) * size / 256),
        grain=max(0.0, rng.uniform(-3, 9)),
        seed=rng.integers(0, _NOISE, (frames, 2)),
        quality=int(rng.integers(35, 95)) if rng.random() < 0.5 else None,
    )


def _moving_shadow(rng: np.random.Generator, frames: int) -> np.ndarray:
    """A soft edge between light and shadow that drifts over the picture."""
    y, x = np.mgrid[-1:1:9j, -1:1:9j]
    d = direction(rng)
    edge = rng.uniform(-0.8, 0.8) + rng.normal(0, 0.1) * np.arange(frames)[:, None, None]
    inside = 1 / (1 + np.exp(-(d[0] * x + d[1] * y - edge) / rng.uniform(0.15, 0.8)))
    return 1 - rng.uniform(0.2, 0.65) * inside


@functools.cache
def _stored_noise() -> Int8[np.ndarray, "n n"]:
    """Noise of standard deviation 20: drawing new numbers for each frame takes longer than all
    of the rest."""
    noise = np.random.default_rng(0).normal(0, 20, (_NOISE, _NOISE))
    return np.clip(np.round(noise), -127, 127).astype(np.int8)


def _noisy(image: np.ndarray, grain: float, start: np.ndarray) -> np.ndarray:
    n = image.shape[0]
    y, x = (np.arange(s, s + n) % _NOISE for s in start)
    added = _stored_noise()[np.ix_(y, x)].astype(np.int16) * round(grain * 256 / 20) >> 8
    return np.clip(image + added[..., None], 0, 255).astype(np.uint8)


def _smear(image: np.ndarray, way: np.ndarray) -> np.ndarray:
    """The mean of an image [h w c] on its way by xy pixels; unchanged where it does not move."""
    steps = int(min(np.abs(way).max() / 1.5, 6)) + 1
    if steps == 1:
        return image
    total = np.zeros(image.shape, np.uint16)
    edge = np.ceil(np.abs(way) / 2).astype(int)
    padded = np.pad(image, [(edge[1],) * 2, (edge[0],) * 2, (0, 0)], mode="edge")
    h, w = image.shape[:2]
    for part in np.linspace(-0.5, 0.5, steps):
        x, y = np.round(edge + part * way).astype(int)
        total += padded[y : y + h, x : x + w]
    return (total // steps).astype(np.uint8)


def _warp(
    pixels: np.ndarray,
    matrix: np.ndarray,
    window: tuple[np.ndarray, np.ndarray],
    bend: Ripple | None,
) -> np.ndarray:
    """Where a matrix puts pixels, in a window of the frame; 0 where there are none.

    Args:
      pixels: colours [h w c], or layer numbers [h w], which are not mixed; uint8.
      matrix: [3 3], from their places to those of the frame.
      window: its first xy, and the xy past its last.
    """
    mixing = Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling.BILINEAR
    low, high = window
    w, h = (int(n) for n in high - low)
    back = np.linalg.inv(matrix)
    # Colours go as CMYK: Pillow would weigh those of RGBA by the fourth channel once more.
    mode = "L" if pixels.ndim == 2 else {3: "RGB", 4: "CMYK"}[pixels.shape[2]]
    image = Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)
    if bend is None:
        back[:2, 2] += back[:2, :2] @ low
        data = back[:2].ravel().tolist()
        return np.asarray(image.transform((w, h), Image.Transform.AFFINE, data, mixing))
    xs, ys = (np.linspace(0, n, min(n // _CELL, 6) + 2).astype(int) for n in (w, h))
    grid = np.stack(np.meshgrid(xs, ys), -1) + low
    places = bend(grid.reshape(-1, 2) @ back[:2, :2].T + back[:2, 2]).reshape(grid.shape)
    cells = [
        (
            (int(xs[i]), int(ys[j]), int(xs[i + 1]), int(ys[j + 1])),
            [*places[j, i], *places[j + 1, i], *places[j + 1, i + 1], *places[j, i + 1]],
        )
        for j in range(len(ys) - 1)
        for i in range(len(xs) - 1)
    ]
    return np.asarray(image.transform((w, h), Image.Transform.MESH, cells, mixing))
