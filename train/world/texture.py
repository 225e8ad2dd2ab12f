"""Colours and textures of the synthetic world: arrays [h w 3], about 0..1."""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

_OCTAVES = 3
_PLAIN = 400  # pixels; less than these show no texture
_KINDS = ("plain", "shaded", "mottled", "streaked", "banded", "striped", "checked", "photo")


@dataclass(frozen=True)
class Pattern:
    """What a texture was drawn with.

    Attributes:
      kind: one of the eight.
      contrast: between its two colours, of the channel where they differ most, 0..1.
      cycles: of bands, stripes or checks, from one side of the unit frame to the other.
      period: of the same, pixels.
    """

    kind: str
    contrast: float = 0.0
    cycles: float = 0.0
    period: float = 0.0


@functools.cache
def photo_textures() -> list[UInt8[np.ndarray, "h w 3"]]:
    """Free photos that scikit-image ships (CC0 or public domain by its notes).

    Without the two of docs/media, which the demo shows.
    """
    from skimage import data

    names = ["astronaut", "brick", "camera", "grass", "gravel", "hubble_deep_field", "rocket"]
    names += ["coins", "moon", "immunohistochemistry"]
    photos = [getattr(data, name)() for name in names]
    return [p if p.ndim == 3 else np.repeat(p[..., None], 3, 2) for p in photos]


def direction(rng: np.random.Generator) -> Float[np.ndarray, "2"]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    grey, tint = rng.uniform(0.03, 0.97), rng.normal(0, 1, 3)
    return np.clip(grey + tint * rng.choice([0.02, 0.08, 0.2]), 0, 1)


def blur(x: Float[np.ndarray, "h w"], radius: float) -> Float[np.ndarray, "h w"]:
    """Of values 0..1."""
    image = Image.fromarray((x * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def fill(
    rng: np.random.Generator,
    u: Float[np.ndarray, "h w"],
    v: Float[np.ndarray, "h w"],
    tone: Float[np.ndarray, "3"],
    *,
    light: Float[np.ndarray, "2"],
    cells: float,
    photo: float = 0.16,
) -> tuple[Float[np.ndarray, "h w 3"], Pattern]:
    """A shaded texture, and what it is.

    Args:
      u, v: coordinates in the unit frame of what is painted.
      tone: main colour.
      light: direction the light comes from.
      cells: how many features of noise there are in the height and the width, at most about 12.
      photo: chance of a patch of a photo.
    """
    h, w = u.shape
    if h * w < _PLAIN:
        shaded = np.clip(tone * (1 + rng.normal(0, 0.15) * u[..., None]), 0, 1)
        return shaded.astype(np.float32), Pattern("plain")
    wave = np.float32(rng.uniform(3, 25))
    kinds = np.array([0.26, 0.18, 0.18, 0.15, 0.12, 0.06, 0.05]) * (1 - photo)
    kind = rng.choice(8, p=[*kinds, 1 - kinds.sum()])
    pattern = Pattern(_KINDS[kind])
    if kind == 7:
        paint = photo_patch(rng, h, w)
        paint += (tone.astype(np.float32) - paint) * np.float32(rng.uniform(0, 0.6))
    elif kind == 0:
        paint = np.empty((h, w, 3), np.float32)
        paint[:] = tone
    else:
        d = direction(rng).astype(np.float32)
        along, across = u * d[0] + v * d[1], u * d[1] - v * d[0]
        amount = (
            lambda: 0.5 + 0.5 * along,  # gradient
            lambda: noise(rng, h, w, cells),
            lambda: noise(rng, h, w, cells, stretch=rng.uniform(4, 20)),  # wood, fur, metal
            lambda: 0.5 + 0.5 * np.sin(wave * along + np.sin(3 * across)),  # bands
            lambda: np.sin(wave * along) > 0,  # stripes
            lambda: np.sin(wave * along) * np.sin(wave * across) > 0.3,  # checks
        )[kind - 1]()
        change = rng.normal(0, rng.choice([0.05, 0.15, 0.4]), 3).astype(np.float32)
        paint = tone.astype(np.float32) + change * np.asarray(amount, np.float32)[..., None]
        pattern = _measured(_KINDS[kind], tone, change, float(wave), along)
    shade = 1 + np.float32(rng.normal(0, 0.25)) * (u * light[0] + v * light[1])
    shade -= np.float32(rng.uniform(-0.1, 0.25)) * (u * u + v * v)
    grain = rng.choice([0, 0.05, 0.15])
    if grain:
        shade += np.float32(grain) * (noise(rng, h, w, 2 * cells) - 0.5)
    paint *= np.clip(shade, 0.1, 2)[..., None]
    return paint, pattern


def _measured(
    kind: str, tone: np.ndarray, change: np.ndarray, wave: float, along: np.ndarray
) -> Pattern:
    contrast = np.abs(np.clip(tone + change, 0, 1) - np.clip(tone, 0, 1)).max()
    h, w = along.shape
    across, down = along[0, -1] - along[0, 0], along[-1, 0] - along[0, 0]
    step = np.hypot(across / max(w - 1, 1), down / max(h - 1, 1))  # from a pixel to the next
    period = 2 * np.pi / (wave * max(step, 1e-6))
    return Pattern(kind, float(contrast), float(wave / np.pi), float(period))


def noise(
    rng: np.random.Generator, height: int, width: int, cells: float, stretch: float = 1
) -> Float[np.ndarray, "h w"]:
    """Noise of several octaves, about 0..1, stretched along one axis."""
    # Its finest features are some pixels wide: half the resolution holds them.
    h, w = (height + 1) // 2, (width + 1) // 2
    total, weight = np.zeros((h, w), np.float32), 0.0
    cells, tall = rng.uniform(min(1.5, cells), cells), rng.random() < 0.5
    for octave in range(_OCTAVES):
        fine, coarse = cells * 2.0**octave, cells * 2.0**octave / stretch
        ny, nx = (2 + int(min(c, 64)) for c in ((fine, coarse) if tall else (coarse, fine)))
        grid = Image.fromarray(rng.random((ny, nx), np.float32))
        share = rng.uniform(0.4, 1) * 0.7**octave
        total += np.float32(share) * np.asarray(grid.resize((w, h), Image.Resampling.BICUBIC))
        weight += share
    total = np.clip((total / np.float32(weight) - 0.5) * 1.8 + 0.5, 0, 1)
    return np.asarray(Image.fromarray(total).resize((width, height), Image.Resampling.BILINEAR))


def photo_patch(rng: np.random.Generator, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    """A patch of a random photo, flipped and scaled at random."""
    photos = photo_textures()
    photo = photos[rng.integers(len(photos))]
    side = min(photo.shape[:2]) * rng.uniform(0.3, 1)
    tall, wide = side * np.array([height, width]) / max(height, width)
    y, x = (rng.uniform(0, n - m) for n, m in zip(photo.shape, (tall, wide), strict=False))
    rows, columns = slice(int(y), int(y + tall) + 2), slice(int(x), int(x + wide) + 2)
    patch = Image.fromarray(photo[rows, columns]).resize((width, height), reducing_gap=2.0)
    paint = np.asarray(patch, np.float32) / np.float32(255)
    return np.ascontiguousarray(paint[:, ::-1]) if rng.random() < 0.5 else paint
