"""Names of colours, by what they measure."""

import colorsys

import numpy as np
import pytest

from train.world.colours import COLOURS, colour_indices, colour_name


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"),
        ((30, 30, 36), "black"),
        ((255, 255, 255), "white"),
        ((235, 230, 225), "white"),
        ((128, 128, 128), "grey"),
        ((120, 135, 130), "grey"),
        ((220, 30, 30), "red"),
        ((120, 10, 20), "red"),
        ((250, 140, 20), "orange"),
        ((110, 70, 30), "brown"),
        ((240, 220, 40), "yellow"),
        ((40, 160, 60), "green"),
        ((120, 200, 90), "green"),
        ((40, 90, 220), "blue"),
        ((60, 180, 220), "blue"),
        ((120, 40, 180), "purple"),
        ((240, 110, 190), "pink"),
        ((250, 180, 180), "pink"),
    ],
)
def test_well_known_colours(rgb: tuple[int, int, int], name: str) -> None:
    assert COLOURS[colour_indices(np.array(rgb, np.uint8))] == name


def test_every_colour_has_a_name_and_hues_are_in_order() -> None:
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1)
    found = colour_indices(cube)
    assert found.shape == cube.shape[:3]
    assert set(found.ravel().tolist()) == set(range(len(COLOURS)))
    for name, low, high in (("green", 65, 170), ("blue", 160, 260), ("yellow", 40, 72)):
        for rgb in cube[found == COLOURS.index(name)] / 255:
            assert low <= 360 * colorsys.rgb_to_hsv(*rgb)[0] <= high


def test_a_mixture_has_no_colour() -> None:
    red, green = np.array([[220, 30, 30]] * 6, np.uint8), np.array([[40, 160, 60]] * 6, np.uint8)
    assert colour_name(red) == "red" and colour_name(green) == "green"
    assert colour_name(np.concatenate([red, green])) == ""
    assert colour_name(np.concatenate([red, green[:1]])) == "red"
