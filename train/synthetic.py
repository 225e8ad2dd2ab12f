"""A world of painted objects with exact masks, for training without a data set.

A scene is painted back to front. Every painted layer has a number, parts know their object, and a
pixel belongs to the last layer that covered it; an object's mask is the pixels of its layers. So
masks are visible pixels, objects exclude one another, and a part lies inside its object, which
makes a click ambiguous as it is on photos.
"""

import functools
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from train.outlines import OUTLINES, Thing, random_thing

MIN_PIXELS = 60  # objects with fewer visible pixels (of 256 x 256) are nobody's target


@dataclass(frozen=True)
class Scene:
    """Attributes:
    image: RGB [s s 3], uint8.
    layers: number of the layer seen at each pixel [s s]; 0 is the background.
    parents: of each layer the one it is a part of, 0 for none; parents[0] is 0.
    """

    image: np.ndarray
    layers: np.ndarray
    parents: tuple[int, ...]

    def mask(self, layer: int) -> np.ndarray:
        """Visible pixels [s s] of a layer and its parts."""
        family = np.zeros(len(self.parents), bool)
        family[layer] = True
        for child, parent in enumerate(self.parents):  # parents come before their parts
            family[child] |= parent > 0 and family[parent]
        return family[self.layers]

    def targets(self) -> dict[int, np.ndarray]:
        """Masks of everything large enough to be asked for, by layer."""
        least = MIN_PIXELS * self.layers.size / 256**2
        masks = {layer: self.mask(layer) for layer in range(1, len(self.parents))}
        return {i: m for i, m in masks.items() if least <= m.sum() <= 0.9 * m.size}


@functools.cache
def photo_textures() -> list[np.ndarray]:
    """Free photos that scikit-image ships (CC0 or public domain by its notes), RGB uint8.

    Without the two of docs/media, which the demo shows.
    """
    from skimage import data

    names = ["astronaut", "brick", "camera", "grass", "gravel", "hubble_deep_field", "rocket"]
    photos = [getattr(data, name)() for name in names]
    return [p if p.ndim == 3 else np.repeat(p[..., None], 3, 2) for p in photos]


def make_scene(
    rng: np.random.Generator, size: int = 256, textures: list[np.ndarray] | None = None
) -> Scene:
    """Paint a scene of 3 to 9 things."""
    painter = Painter(rng, size, textures or [])
    for _ in range(rng.integers(3, 10)):
        painter.add()
    return painter.finish()


class Painter:
    """A canvas in the making: colours 0..1, layer numbers, parents."""

    radii = (0.1, 0.55)  # of things, smallest and largest, as a part of the canvas

    def __init__(self, rng: np.random.Generator, size: int, textures: list[np.ndarray]) -> None:
        self.rng, self.size, self.textures = rng, size, textures
        self.layers = np.zeros((size, size), np.int16)
        self.parents = [0]
        self.light = _direction(rng)
        v, u = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
        self.canvas = self.fill(u, v, self.colour())
        self.scratch(int(rng.integers(0, 12)), np.ones((size, size), np.float32))

    def add(self) -> None:
        """A thing at a random place, often on top of an earlier one."""
        rng, size = self.rng, self.size
        radius = size * np.exp(rng.uniform(*np.log(self.radii)))
        centre = rng.uniform(-0.05, 1.05, 2) * size
        ys, xs = np.nonzero(self.layers)
        if len(xs) and rng.random() < 0.4:
            i = rng.integers(len(xs))
            centre = np.array([xs[i], ys[i]], float)
        upright = rng.random() < 0.5
        angle = rng.normal(0, 0.2) if upright else rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        frame = turn @ np.diag(radius * np.array([1, rng.uniform(0.45, 1)]))
        thing = random_thing(rng)
        self.paint(thing, frame, centre, colour=self.colour(), parent=0, clip=None)

    def paint(
        self,
        thing: Thing,
        frame: np.ndarray,
        centre: np.ndarray,
        *,
        colour: np.ndarray,
        parent: int,
        clip: np.ndarray | None,
    ) -> None:
        """Paint a thing and its parts.

        Args:
          frame: [2 2], from the unit frame to pixels.
          parent: layer it is a part of, or 0.
          clip: coverage [s s] it must stay inside, if any.
        """
        rng = self.rng
        layer = len(self.parents)
        self.parents.append(parent)
        cover = self.coverage(OUTLINES[thing.outline](rng), frame, centre)
        if clip is not None:
            cover = np.minimum(cover, clip)

        def parts(under: bool) -> None:
            for part in thing.parts:
                if part.under == under:
                    fresh = self.colour()
                    self.paint(
                        part,
                        frame @ np.diag(part.size),
                        centre + frame @ np.asarray(part.at),
                        colour=colour * part.like + fresh * (1 - part.like),
                        parent=layer,
                        clip=None if under else cover,
                    )

        parts(under=True)
        self.lay(cover, frame, centre, colour, layer, cast=parent == 0)
        parts(under=False)

    def coverage(self, outline: list, frame: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Antialiased coverage [s s] of an outline."""
        image = Image.new("L", (2 * self.size, 2 * self.size))
        draw = ImageDraw.Draw(image)
        for points, filled in outline:
            draw.polygon([tuple(p) for p in 2 * (points @ frame.T + centre)], fill=255 * filled)
        return np.asarray(image.reduce(2), np.float32) / 255

    def lay(
        self,
        cover: np.ndarray,
        frame: np.ndarray,
        centre: np.ndarray,
        colour: np.ndarray,
        layer: int,
        *,
        cast: bool,
    ) -> None:
        """Blend one layer: shadow, fill, relief, highlights, scratches."""
        rng = self.rng
        ys, xs = np.nonzero(cover.max(1))[0], np.nonzero(cover.max(0))[0]
        if not len(ys):
            return
        if cast and rng.random() < 0.6:
            self.shadow(cover)
        crop = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
        alpha = cover[crop]
        if rng.random() < 0.25:  # camouflage: close to what it covers
            below = (self.canvas[crop] * alpha[..., None]).sum((0, 1)) / (alpha.sum() + 1e-6)
            colour = below + rng.normal(0, 0.08, 3)
        y, x = np.mgrid[crop]
        unit = np.linalg.inv(frame) @ np.stack([x - centre[0], y - centre[1]]).reshape(2, -1)
        u, v = unit.reshape(2, *alpha.shape).astype(np.float32)
        paint = self.fill(u, v, colour)
        if rng.random() < 0.6:  # relief: the border faces or avoids the light
            soft = _blur(alpha, rng.uniform(1, 5))
            dy, dx = (np.gradient(soft, axis=a) if soft.shape[a] > 1 else 0 * soft for a in (0, 1))
            paint *= 1 + (rng.normal(0, 2) * (dx * self.light[0] + dy * self.light[1]))[..., None]
            paint *= 1 + rng.normal(0, 0.25) * (1 - soft)[..., None]
        for _ in range(rng.choice([0, 0, 1, 2, 4])):
            at, wide = rng.uniform(-0.8, 0.8, 2), rng.uniform(0.03, 0.3, 2)
            glow = np.exp(-(((u - at[0]) / wide[0]) ** 2) - ((v - at[1]) / wide[1]) ** 2)
            paint += (rng.uniform(0.2, 1) * np.minimum(1, glow * rng.uniform(1, 4)))[..., None]
        self.blend(crop, np.clip(paint, 0, 1), alpha)
        self.layers[crop][alpha > 0.5] = layer
        if rng.random() < 0.2:
            self.scratch(int(rng.integers(1, 6)), cover)

    def shadow(self, cover: np.ndarray) -> None:
        far = -self.light * self.size * self.rng.uniform(0, 0.08)
        cast = np.roll(cover, (round(far[1]), round(far[0])), (0, 1))
        soft = _blur(cast, self.size * self.rng.uniform(0.005, 0.06))
        self.blend(np.s_[:, :], np.zeros(3), self.rng.uniform(0.2, 0.7) * soft)

    def scratch(self, count: int, cover: np.ndarray) -> None:
        """Lines and specks that belong to whatever they are on."""
        if not count:
            return
        image = Image.new("L", (self.size, self.size))
        draw = ImageDraw.Draw(image)
        for _ in range(count):
            start = self.rng.uniform(0, self.size, 2)
            end = start + self.rng.normal(0, self.size * self.rng.uniform(0.02, 0.4), 2)
            draw.line([*start, *end], fill=int(self.rng.integers(60, 256)), width=1)
        self.blend(np.s_[:, :], self.colour(), np.asarray(image, np.float32) / 255 * cover)

    def blend(self, region: tuple[slice, slice], colour: np.ndarray, alpha: np.ndarray) -> None:
        """Put a colour, or one for each pixel [h w 3], over a region; alpha [h w] says how much."""
        self.canvas[region] += (colour - self.canvas[region]) * alpha[..., None]

    def colour(self) -> np.ndarray:
        grey, tint = self.rng.uniform(0.03, 0.97), self.rng.normal(0, 1, 3)
        return np.clip(grey + tint * self.rng.choice([0.02, 0.08, 0.2]), 0, 1)

    def fill(self, u: np.ndarray, v: np.ndarray, colour: np.ndarray) -> np.ndarray:
        """Shaded texture [h w 3] over unit coordinates u, v [h w]."""
        rng = self.rng
        along = u * (d := _direction(rng))[0] + v * d[1]
        across = u * d[1] - v * d[0]
        wave = rng.uniform(3, 25)
        kind = rng.choice(8, p=[0.22, 0.15, 0.15, 0.13, 0.1, 0.05, 0.04, 0.16])
        if kind == 7 and self.textures:
            paint = self.photo(*u.shape)
            paint = paint + (colour - paint) * rng.uniform(0, 0.7)
        else:
            amount = (
                lambda: np.zeros_like(u),  # plain
                lambda: 0.5 + 0.5 * along,  # gradient
                lambda: self.noise(*u.shape, stretch=1),
                lambda: self.noise(
                    *u.shape, stretch=rng.uniform(4, 20)
                ),  # wood, fur, brushed metal
                lambda: 0.5 + 0.5 * np.sin(wave * along + np.sin(3 * across)),  # bands
                lambda: np.sin(wave * along) > 0,  # stripes
                lambda: np.sin(wave * along) * np.sin(wave * across) > 0.3,  # checks
                lambda: self.noise(*u.shape, stretch=1) > 0.5,  # patches
            )[kind]()
            second = colour + rng.normal(0, rng.choice([0.05, 0.15, 0.4]), 3)
            paint = colour + (second - colour) * np.asarray(amount, np.float32)[..., None]
        grain = rng.choice([0, 0.03, 0.1])
        if grain:
            paint = paint + grain * (self.noise(*u.shape, stretch=1)[..., None] - 0.5)
        slope = rng.normal(0, 0.25) * (u * self.light[0] + v * self.light[1])
        shade = 1 + slope - rng.uniform(-0.1, 0.25) * (u * u + v * v)
        return (paint * np.clip(shade, 0.1, 2)[..., None]).astype(np.float32)

    def noise(self, height: int, width: int, *, stretch: float) -> np.ndarray:
        """Noise of several octaves [h w], about 0..1, stretched along one axis."""
        rng, total, weight = self.rng, np.zeros((height, width), np.float32), 0.0
        cells, tall = rng.uniform(1.5, 12), rng.random() < 0.5
        for octave in range(3):
            fine, coarse = cells * 2.0**octave, cells * 2.0**octave / stretch
            shape = (fine, coarse) if tall else (coarse, fine)
            sides = zip(shape, (height, width), strict=True)
            ny, nx = (min(2 + int(c * side / self.size * 2), 256) for c, side in sides)
            grid = Image.fromarray(rng.random((ny, nx), np.float32))
            share = rng.uniform(0.4, 1) * 0.7**octave
            total += share * np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
            weight += share
        return np.clip((total / weight - 0.5) * 1.8 + 0.5, 0, 1)

    def photo(self, height: int, width: int) -> np.ndarray:
        """A patch of a random photo, flipped and scaled at random [h w 3]."""
        photo = self.textures[self.rng.integers(len(self.textures))]
        side = int(min(photo.shape[:2]) * self.rng.uniform(0.2, 1))
        y, x = (self.rng.integers(0, n - side + 1) for n in photo.shape[:2])
        patch = Image.fromarray(photo[y : y + side, x : x + side]).resize((width, height))
        paint = np.asarray(patch, np.float32) / 255
        return paint[:, ::-1] if self.rng.random() < 0.5 else paint

    def finish(self) -> Scene:
        return Scene(photograph(self.rng, self.canvas), self.layers, tuple(self.parents))


def photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """What a camera adds to colours [s s 3]: exposure, colour cast, blur, noise, JPEG.

    Returns:
      uint8 [s s 3]
    """
    size = canvas.shape[0]
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
    image = np.clip(canvas * gain, 0, 1) ** rng.uniform(0.7, 1.4)
    image += rng.normal(0, rng.uniform(0, 0.03), (size, size, 1))
    photo = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2) * size / 256))
    if rng.random() < 0.5:
        photo.save(buffer := io.BytesIO(), "jpeg", quality=int(rng.integers(40, 95)))
        photo = Image.open(buffer)
    return np.asarray(photo)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _blur(x: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray((x * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def make_batch(
    seed: tuple[int, ...], images: int, prompts: int, *, size: int, photos: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Scenes and, of each, masks to ask for; the same for the same seed.

    Args:
      photos: also paint with photo textures (needs scikit-image).

    Returns:
      images [b s s 3], uint8; masks [b*o s s], bool, o of each image in turn.
    """
    rng = np.random.default_rng(seed)
    textures = photo_textures() if photos else []
    pictures, masks = [], []
    while len(pictures) < images:
        scene = make_scene(rng, size, textures)
        targets = list(scene.targets().values())
        if not targets:
            continue
        # Large objects a little more often: people click on them.
        weight = np.array([t.sum() for t in targets]) ** 0.5
        order = rng.choice(len(targets), len(targets), replace=False, p=weight / weight.sum())
        pictures.append(scene.image)
        masks += [targets[order[i % len(order)]] for i in range(prompts)]
    return np.stack(pictures), np.stack(masks)
