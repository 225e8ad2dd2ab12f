"""Sprites filmed: masks are where pixels are, whatever moves or bends them."""

import numpy as np
import pytest

from train.world.camera import Film, Frame
from train.world.motion import Actor, Path, Ripple, crossing, excursion
from train.world.paint import Sprite
from train.world.things import Joint

SIZE = 48
RED, GREEN = (230, 20, 20), (20, 220, 20)
AT_REST = np.zeros(2)


def _square(colour: tuple[int, int, int], layer: int, only: bool = True) -> Sprite:
    """Twelve pixels wide, in the middle of the frame."""
    paint, layers = np.zeros((16, 16, 4), np.uint8), np.zeros((16, 16), np.uint8)
    paint[2:14, 2:14] = (*colour, 255)
    layers[2:14, 2:14] = layer
    return Sprite(paint, layers, (16, 16), layer if only else None, np.full(2, SIZE / 2))


def _path(x: float, y: float, size: float = 1.0, turn: float = 0.0, frames: int = 1) -> Path:
    one = np.ones(frames)
    return Path(np.full(2, SIZE / 2), np.array([[x, y]]) * one[:, None], turn * one, size * one)


def _frame(
    *placed: tuple[Sprite, np.ndarray], bend: Ripple | None = None, smear: np.ndarray = AT_REST
) -> Frame:
    frame = Frame(np.full((SIZE, SIZE, 3), 40, np.uint8), np.eye(3), SIZE, AT_REST)
    for sprite, matrix in placed:
        frame.add(sprite, matrix, bend and bend.at(0), smear)
    return frame


def _agree(mask: np.ndarray, pixels: np.ndarray) -> bool:
    return (mask & pixels).sum() > 0.9 * (mask | pixels).sum()


def _reddish(frame: Frame) -> np.ndarray:
    return frame.colours[..., 0].astype(int) > frame.colours[..., 1] + 100


@pytest.mark.parametrize("only", [True, False])
@pytest.mark.parametrize(
    ("x", "y", "size", "turn"),
    [(0, 0, 1, 0), (9, -4, 1, 0), (-6, 8, 1.5, 0), (3, 3, 0.7, 0), (2, 0, 1.2, 0.7)],
)
def test_a_mask_follows_its_pixels(
    x: float, y: float, size: float, turn: float, only: bool
) -> None:
    frame = _frame((_square(RED, 1, only), _path(x, y, size, turn).matrix(0)))
    mask = frame.layers == 1
    ys, xs = np.nonzero(mask)
    assert abs(xs.mean() + 0.5 - SIZE / 2 - x) < 1
    assert abs(ys.mean() + 0.5 - SIZE / 2 - y) < 1
    assert abs(mask.sum() / (12 * size) ** 2 - 1) < 0.15
    assert _agree(mask, _reddish(frame))


@pytest.mark.parametrize("only", [True, False])
def test_bending_moves_masks_with_pixels(only: bool) -> None:
    waves = np.array([[0.0, 0.3], [0.3, 0.0]])
    ripple = Ripple(np.array([2.5, 2.0]), waves, np.array([0.3, 1.0]), 0.5)
    rest = _frame((_square(RED, 1, only), np.eye(3)))
    bent = _frame((_square(RED, 1, only), np.eye(3)), bend=ripple)
    assert _agree(bent.layers == 1, _reddish(bent))
    assert (bent.layers != rest.layers).sum() > 20
    assert 0.7 < (bent.layers == 1).sum() / 144 < 1.4


def test_nothing_is_cut_off_a_bent_thing() -> None:
    everywhere = Ripple(np.array([6.0, 6.0]), np.zeros((2, 2)), np.full(2, np.pi / 2), 0)
    bent = _frame((_square(RED, 1), np.eye(3)), bend=everywhere)
    assert (bent.layers == 1).sum() == 144


def test_what_is_in_front_hides_what_is_behind() -> None:
    red, green = _square(RED, 1), _square(GREEN, 2)
    half = _frame((red, np.eye(3)), (green, _path(6, 0).matrix(0)))
    assert (half.layers == 2).sum() == 144
    assert (half.layers == 1).sum() == 72
    assert _agree(half.layers == 1, _reddish(half))
    assert not (_frame((red, np.eye(3)), (green, np.eye(3))).layers == 1).any()
    assert not _frame((red, _path(60, 0).matrix(0))).layers.any()


def test_motion_blur_softens_along_the_way_only() -> None:
    frame = _frame((_square(RED, 1), np.eye(3)), smear=np.array([6.0, 0]))
    assert (frame.layers == 1).sum() == 144
    middle = frame.colours[SIZE // 2, :, 0].astype(int)
    assert ((middle > 60) & (middle < 210)).sum() >= 4
    middle = frame.colours[:, SIZE // 2, 0].astype(int)
    assert not ((middle > 60) & (middle < 210)).any()


def test_what_hangs_on_a_joint_turns_about_it() -> None:
    body = _square(RED, 1)
    joint = Joint(swing=1.0)
    limb = Sprite(body.paint, body.layers, (22, 22), 2, np.array([24.0, 24]), joint, 0)
    actor = Actor((body, limb), _path(5, 0, frames=3), 1.0, 0.0, (None, None))
    pivot = np.array([24.0, 24, 1])
    for t in range(3):
        on_body, on_limb = actor.matrices(t)
        np.testing.assert_allclose(on_body @ pivot, on_limb @ pivot, atol=1e-9)
    turned = actor.matrices(1)[1]
    assert np.arctan2(turned[1, 0], turned[0, 0]) == pytest.approx(np.sin(1))


def test_an_excursion_leaves_the_picture_and_ends_inside() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        path = excursion(rng, _path(0, 0, frames=8), np.full(2, SIZE / 2), SIZE)
        far = np.abs(path.shift).max(1)
        assert far[0] == 0
        assert far.max() > SIZE


def test_a_crossing_hides_its_target() -> None:
    target = _path(4, 5, frames=8)
    passing = crossing(np.random.default_rng(0), _path(-20, -20, frames=8), target, SIZE)
    apart = np.linalg.norm(passing.shift - target.shift, axis=1)
    assert apart.min() < 0.12 * SIZE
    assert apart.max() > 0.15 * SIZE


def test_a_film_changes_light_over_time() -> None:
    tables = np.stack([np.tile(np.arange(256), 3) // k for k in (1, 2)]).astype(np.uint8)
    shade = np.ones((2, 9, 9))
    shade[:, :, 5:] = 0.5
    film = Film(tables, shade, 0.0, 0.0, np.zeros((2, 2), int), None)
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    first, second = (film.develop(grey, t).astype(int) for t in (0, 1))
    assert abs(first[24, 2, 0] - 200) < 3
    assert abs(first[24, -2, 0] - 100) < 3
    np.testing.assert_allclose(second, first // 2, atol=1)
