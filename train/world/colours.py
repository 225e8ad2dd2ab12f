"""Names of colours: of pixels as they are seen, not of the paint that was mixed."""

import numpy as np
from jaxtyping import Int8, UInt8

COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink")
COLOURS += ("brown",)
_BLACK, _WHITE, _GREY, _ORANGE, _YELLOW, _PURPLE, _PINK, _BROWN = (
    COLOURS.index(name)
    for name in ("black", "white", "grey", "orange", "yellow", "purple", "pink", "brown")
)
# Where the hues of red, orange, yellow, green, blue, purple, pink and red again end, degrees.
_HUES = np.array([12, 42, 70, 165, 255, 290, 345])
_AT_HUE = np.array([COLOURS.index(name) for name in COLOURS[3:10]] + [COLOURS.index("red")])
_MAJORITY = 0.5


def colour_indices(pixels: UInt8[np.ndarray, "*n 3"]) -> Int8[np.ndarray, "*n"]:
    """Of each RGB pixel, which of `COLOURS` it has."""
    rgb = pixels.astype(np.float32) / 255
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = np.maximum(high - low, 1e-6)
    sector = np.where(
        high == r, (g - b) / chroma, np.where(high == g, 2 + (b - r) / chroma, 4 + (r - g) / chroma)
    )
    found = _AT_HUE[np.digitize(60 * sector % 360, _HUES)]
    found = np.where((found == _ORANGE) & (high < 0.62), _BROWN, found)  # dark orange
    found = np.where((found == _YELLOW) & (high < 0.45), _BROWN, found)
    found = np.where((found == _PINK) & (high < 0.55), _PURPLE, found)
    pale_red = (found == COLOURS.index("red")) & (low > 0.5)
    found = np.where(pale_red, _PINK, found)
    grey = np.where(high < 0.22, _BLACK, np.where(low > 0.8, _WHITE, _GREY))
    found = np.where((chroma < 0.08) | (chroma < 0.16 * high), grey, found)
    return np.where(high < 0.16, _BLACK, found).astype(np.int8)


def colour_name(pixels: UInt8[np.ndarray, "n 3"]) -> str:
    """The colour of what has these pixels: that of their mean, if most of them have it; else "".

    Something red and green has a brown mean, and is not brown.
    """
    mean = pixels.mean(0).round().astype(np.uint8)
    index = int(colour_indices(mean))
    return COLOURS[index] if (colour_indices(pixels) == index).mean() > _MAJORITY else ""
