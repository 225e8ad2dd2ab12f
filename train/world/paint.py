"""Painting things of the synthetic world: each rigid piece once, as a sprite of its own.

Every painted layer has a number, and parts know what they are a part of. A sprite holds the parts
that move together; parts on joints are sprites that hang on another one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from train.world import texture
from train.world.outlines import OUTLINES, Outline, shape_name
from train.world.things import Joint, Thing

_CAMOUFLAGE = 0.25  # how many things are about as bright as what is behind them
_SPECK = 2.0  # pixels; parts whose half sizes are all below it are left out


@dataclass(frozen=True)
class Look:
    """What a layer was painted as.

    Attributes:
      name: of the thing or part, "" if it is just a shape.
      shape: what its outline is called.
      pattern: its texture; None if nothing of it was painted.
    """

    name: str
    shape: str
    pattern: texture.Pattern | None = None


@dataclass(frozen=True)
class Sprite:
    """A rigid piece of a thing.

    Attributes:
      paint: RGB, weighed by coverage, and coverage, shadows included.
      layers: number of the layer seen at each pixel; 0 where there is none.
      only: the layer all of it is, if there is just one and no shadow; else None.
      corner: xy of its first pixel, in painted pixels of the scene.
      pivot: xy it turns about, likewise.
      joint: how it moves against the sprite it hangs on; None if it hangs on nothing.
      holder: place of that sprite in the thing's tuple of sprites.
    """

    paint: UInt8[np.ndarray, "h w 4"]
    layers: UInt8[np.ndarray, "h w"]
    corner: tuple[int, int]
    only: int | None
    pivot: Float[np.ndarray, "2"]
    joint: Joint | None = None
    holder: int | None = None


@dataclass
class _Shape:
    """A layer about to be painted: polygons in pixels, and what they are clipped to."""

    polygons: Outline
    frame: np.ndarray
    centre: np.ndarray
    colour: np.ndarray
    layer: int
    within: int | None


@dataclass
class _Piece:
    """Shapes that move together, in painting order, and what hangs on them, behind and before."""

    pivot: np.ndarray
    joint: Joint | None = None
    holder: "_Piece | None" = None
    shapes: list[_Shape] = field(default_factory=list)
    behind: list["_Piece"] = field(default_factory=list)
    before: list["_Piece"] = field(default_factory=list)

    def order(self) -> Iterator["_Piece"]:
        for piece in self.behind:
            yield from piece.order()
        yield self
        for piece in self.before:
            yield from piece.order()


@dataclass
class Painter:
    """Paints things; numbers their layers.

    Attributes:
      size: side of the scene, pixels.
      light: direction the light comes from.
      parents: of each layer so far the one it is a part of, 0 for none; parents[0] is 0.
      looks: of each layer so far; looks[0] is the background's.
    """

    rng: np.random.Generator
    size: int
    light: Float[np.ndarray, "2"]
    parents: list[int] = field(default_factory=lambda: [0])
    looks: list[Look] = field(default_factory=lambda: [Look("", "")])

    def background(self, side: int) -> UInt8[np.ndarray, "s s 3"]:
        """Of a side that may differ from the scene's, pixels."""
        rng = self.rng
        v, u = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
        tone = texture.colour(rng)
        paint, _ = texture.fill(rng, u, v, tone, light=self.light, cells=12, photo=0.5)
        image = Image.fromarray(_bytes(paint))
        draw = ImageDraw.Draw(image)
        for _ in range(rng.choice([0, 0, 0, 3, 8])):  # lines and specks that belong to nothing
            start = rng.uniform(0, side, 2)
            end = start + rng.normal(0, side * rng.uniform(0.02, 0.4), 2)
            ink = tuple((255 * texture.colour(rng)).astype(int).tolist())
            draw.line([*start, *end], fill=ink, width=int(rng.integers(1, 3)))
        return np.asarray(image)

    def add(
        self,
        thing: Thing,
        frame: Float[np.ndarray, "2 2"],
        centre: Float[np.ndarray, "2"],
        behind: Float[np.ndarray, "3"],
    ) -> tuple[Sprite, ...]:
        """Paint a thing.

        Args:
          frame: from the thing's unit frame to painted pixels.
          behind: colour of what is there already; some things hide against it.

        Returns:
          its sprites, those behind first.
        """
        rng = self.rng
        tone = texture.colour(rng)
        if rng.random() < _CAMOUFLAGE:
            tone = np.clip(behind + rng.normal(0, 0.06, 3), 0, 1)
        root = _Piece(centre)
        self._lay_out(thing, root, frame, centre, tone, parent=0, within=None)
        pieces = list(root.order())
        number = {id(piece): i for i, piece in enumerate(pieces)}
        cast = len(pieces) == 1 and rng.random() < 0.6
        return tuple(
            Sprite(
                *self._paint(piece.shapes, cast=cast),
                pivot=piece.pivot,
                joint=piece.joint,
                holder=number.get(id(piece.holder)),
            )
            for piece in pieces
        )

    def _lay_out(
        self,
        thing: Thing,
        piece: _Piece,
        frame: np.ndarray,
        centre: np.ndarray,
        tone: np.ndarray,
        *,
        parent: int,
        within: int | None,
    ) -> None:
        """Number a thing and its parts, and say what shapes they are.

        Args:
          frame, centre: from the thing's unit frame to pixels.
          within: layer it is clipped to, if any.
        """
        layer = len(self.parents)
        self.parents.append(parent)
        self.looks.append(Look(thing.name, ""))

        def parts(*, under: bool) -> None:
            for part in thing.parts:
                if (part.place == "under") != under:
                    continue
                inner, at = frame * part.size, centre + frame @ part.at
                if np.abs(inner).max() < _SPECK:
                    continue
                on = piece
                if part.joint:
                    on = _Piece(at + inner @ part.joint.at, part.joint, piece)
                    (piece.behind if under else piece.before).append(on)
                ink = tone * part.like + texture.colour(self.rng) * (1 - part.like)
                clip = layer if part.place == "on" and not part.joint else None
                self._lay_out(part, on, inner, at, ink, parent=layer, within=clip)

        parts(under=True)
        outline = OUTLINES[thing.outline](self.rng)
        self.looks[layer] = Look(thing.name, shape_name(thing.outline, outline, frame))
        polygons = [(points @ frame.T + centre, filled) for points, filled in outline]
        piece.shapes.append(_Shape(polygons, frame, centre, tone, layer, within))
        parts(under=False)

    def _paint(
        self, shapes: list[_Shape], *, cast: bool
    ) -> tuple[np.ndarray, np.ndarray, tuple[int, int], int | None]:
        """The first four fields of a sprite."""
        rng, size = self.rng, self.size
        points = np.concatenate([p for shape in shapes for p, _ in shape.polygons])
        reach, soft = rng.uniform(0, 0.06) * size, rng.uniform(0.005, 0.03) * size
        edge = int(reach + 3 * soft) + 2 if cast else 2
        low = np.maximum(points.min(0) - edge, -0.5 * size).astype(int)
        high = np.minimum(points.max(0) + edge + 1, 1.5 * size).astype(int)
        w, h = np.maximum(high - low, 1)
        canvas, layers = np.zeros((h, w, 4), np.float32), np.zeros((h, w), np.uint8)
        windows = {-1: (low, np.add(low, (w, h)))}
        covers: dict[int, np.ndarray] = {}
        for shape in shapes:
            points = np.concatenate([p for p, _ in shape.polygons])
            bounds = windows[-1 if shape.within is None else shape.within]
            first = np.maximum(points.min(0) - 1, bounds[0]).astype(int)
            last = np.minimum(points.max(0) + 2, bounds[1]).astype(int)
            windows[shape.layer] = first, np.maximum(last, first)
            if (last <= first).any():
                continue
            alpha = _coverage(shape.polygons, first, last)
            if shape.within is not None:
                alpha = np.minimum(alpha, covers[shape.within][_slices(bounds[0], first, last)])
            covers[shape.layer] = alpha
            crop = _slices(low, first, last)
            paint = self._texture(shape, first, alpha)
            paint *= alpha[..., None]
            below = canvas[crop]
            if shape is not shapes[0]:
                below *= 1 - alpha[..., None]
            below[..., :3] += paint
            below[..., 3] += alpha
            layers[crop][alpha > 0.5] = shape.layer
        if cast:  # under everything that is painted already
            far = (-self.light * reach).round().astype(int)
            shadow = texture.blur(np.roll(canvas[..., 3], far[::-1], (0, 1)), soft)
            canvas[..., 3] += (1 - canvas[..., 3]) * shadow * np.float32(rng.uniform(0.2, 0.7))
        only = shapes[0].layer if len(shapes) == 1 and not cast else None
        return _bytes(canvas), layers, (int(low[0]), int(low[1])), only

    def _texture(self, shape: _Shape, corner: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Colours [h w 3] of a shape: fill, relief, highlights.

        Args:
          corner: xy of the first pixel.
          alpha: its coverage [h w].
        """
        rng, (h, w) = self.rng, alpha.shape
        (a, b), (c, d) = np.linalg.inv(shape.frame).astype(np.float32)
        x = np.arange(w, dtype=np.float32) + np.float32(corner[0] + 0.5 - shape.centre[0])
        y = np.arange(h, dtype=np.float32)[:, None] + np.float32(corner[1] + 0.5 - shape.centre[1])
        u, v = a * x + b * y, c * x + d * y
        cells = 12 * max(h, w) / self.size + 1
        paint, pattern = texture.fill(rng, u, v, shape.colour, light=self.light, cells=cells)
        self.looks[shape.layer] = replace(self.looks[shape.layer], pattern=pattern)
        if min(h, w) > 16 and rng.random() < 0.5:  # relief: the border faces or avoids the light
            soft = texture.blur(alpha, rng.uniform(1, 5))
            dy, dx = np.gradient(soft)
            relief = np.float32(rng.normal(0, 2)) * (dx * self.light[0] + dy * self.light[1])
            relief += np.float32(rng.normal(0, 0.25)) * (1 - soft)
            paint *= (1 + relief)[..., None]
        for _ in range(rng.choice([0, 0, 0, 1, 2]) if min(h, w) > 16 else 0):
            at = rng.uniform(-0.8, 0.8, 2).astype(np.float32)
            wide = rng.uniform(0.03, 0.3, 2).astype(np.float32)
            glow = np.exp(-(((u - at[0]) / wide[0]) ** 2) - ((v - at[1]) / wide[1]) ** 2)
            glow = rng.uniform(0.2, 1) * np.minimum(1, glow * rng.uniform(1, 4))
            paint += glow[..., None]
        return np.clip(paint, 0, 1, out=paint)


def _coverage(polygons: Outline, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Antialiased coverage [h w] of polygons, in a window from one xy to another."""
    image = Image.new("L", tuple((2 * (last - first)).tolist()))
    draw = ImageDraw.Draw(image)
    for points, filled in polygons:
        draw.polygon((2 * (points - first)).ravel().tolist(), fill=255 * filled)
    return np.asarray(image.reduce(2), np.float32) / np.float32(255)


def _slices(origin: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[slice, slice]:
    """A window between two xy, in an array that begins at the origin."""
    (x0, y0), (x1, y1) = first - origin, last - origin
    return slice(y0, y1), slice(x0, x1)


def _bytes(colours: np.ndarray) -> np.ndarray:
    return (colours * np.float32(255) + np.float32(0.5)).clip(0, 255).astype(np.uint8)
