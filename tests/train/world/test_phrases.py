"""What is said of the objects of a scene is true, and means one of them."""

import dataclasses

import numpy as np
import pytest

from train.data.synthetic import Synthetic, SyntheticVideo
from train.world.colours import COLOURS
from train.world.paint import Look
from train.world.phrases import Words, describe, shortest
from train.world.scene import Scene, make_clip
from train.world.texture import Pattern, fill

Described = list[tuple[Scene, dict[int, Words]]]


@pytest.fixture(scope="module")
def described() -> Described:
    scenes = [make_clip(np.random.default_rng(i), frames=1, size=128)[0] for i in range(40)]
    return [(scene, describe(scene)) for scene in scenes]


def words(noun: str = "circle", **changes: str) -> Words:
    plain = Words(noun, noun, "red", "plain", "", "on the left", "")
    return dataclasses.replace(plain, **changes)


def test_a_scene_is_described_in_the_same_words_again() -> None:
    first, again = (describe(make_clip(np.random.default_rng(3), 1, 96)[0]) for _ in range(2))
    assert first == again and len(first) > 5


def test_everything_that_can_be_asked_for_has_words(described: Described) -> None:
    for scene, found in described:
        assert list(found) == scene.targets()
        assert all(w.noun and w.shape and w.place for w in found.values())
    nouns = {w.noun for _, found in described for w in found.values()}
    assert {"circle", "blob", "cat", "dog", "person", "car", "wheel", "plate", "cup"} <= nouns
    said = {w.colour for _, found in described for w in found.values()}
    assert said - {""} <= set(COLOURS) and len(said) >= 9


def test_colours_are_true_by_measurement(described: Described) -> None:
    """Not by the table of names itself: by the channels of the mean colour."""
    checked = set()
    for scene, found in described:
        for layer, w in found.items():
            r, g, b = scene.image[scene.mask(layer)].mean(0)
            true = {
                "red": r > g + 12 and r > b + 12,
                "green": g > r - 12 and g > b - 1,
                "blue": b > r + 12 and b >= g - 30,
                "yellow": min(r, g) > b + 12,
                "black": max(r, g, b) < 57,
                "white": min(r, g, b) > 200,
                "grey": max(r, g, b) - min(r, g, b) < 58,
                "purple": min(r, b) > g,
                "pink": r > g + 12 and r > 130,
                "orange": r > g > b,
                "brown": r > b + 8 and g > b - 12 and r < 160,
                "": True,
            }
            assert true[w.colour], (w, r, g, b)
            checked.add(w.colour)
    assert len(checked) >= 9


def test_sizes_and_places_are_true_by_measurement(described: Described) -> None:
    for scene, found in described:
        for layer, w in found.items():
            mask = scene.mask(layer)
            y, x = (np.nonzero(mask)[axis].mean() / mask.shape[0] for axis in (0, 1))
            assert ("left" in w.place) == (x < 0.33) or 0.31 < x < 0.35
            assert ("right" in w.place) == (x > 0.66) or 0.64 < x < 0.68
            assert ("top" in w.place) == (y < 0.33) or 0.31 < y < 0.35
            assert ("bottom" in w.place) == (y > 0.66) or 0.64 < y < 0.68
            assert (w.size == "large") == (mask.mean() > 0.06)
            assert (w.size == "small") == (mask.mean() < 0.005)


def test_stripes_and_checks_can_be_seen(described: Described) -> None:
    """Where something is called striped or checked, its own pixels differ more than plain ones."""
    spread: dict[str, list[float]] = {"striped": [], "checked": [], "plain": [], "": []}
    for scene, found in described:
        for layer, w in found.items():
            own = scene.image[scene.layers == layer]
            spread[w.pattern].append(own.std(0).max() if len(own) else 0)
    assert len(spread["striped"]) > 20 and spread["checked"]
    usual = np.median(spread["plain"])
    assert min(spread["striped"] + spread["checked"]) > 0.5 * usual
    assert np.median(spread["striped"]) > 1.3 * usual


def test_parts_say_what_they_are_a_part_of(described: Described) -> None:
    wheels = 0
    for scene, found in described:
        for layer, w in found.items():
            root = layer
            while scene.parents[root]:
                root = scene.parents[root]
            look = scene.looks[root]
            noun = look.name or look.shape
            assert w.whole == ("" if root == layer else w.whole) and w.whole.endswith(
                "" if root == layer else f" the {noun}"
            )
            wheels += (w.noun, w.whole) == ("wheel", "of the car")
    assert wheels > 3


def test_the_shortest_phrase_means_one_object(described: Described) -> None:
    found = none = 0
    for _, all_words in described:
        for layer, own in all_words.items():
            phrase = shortest(all_words, layer)
            if phrase is None:
                none += 1
                continue
            found += 1
            parts = [own.colour, own.pattern, own.size, own.whole, own.place]
            rest = phrase
            for part in sorted(filter(None, parts), key=len, reverse=True):
                rest = rest.replace(part, "", 1) if part in rest else rest
            assert rest.split() == own.noun.split(), (phrase, own)
    assert found > 5 * none > 0


def test_what_singles_out() -> None:
    assert shortest({1: words(), 2: words("star")}, 1) == "circle"
    assert shortest({1: words(), 2: words(colour="blue")}, 1) == "red circle"
    assert shortest({1: words(), 2: words(place="on the right")}, 1) == "circle on the left"
    both = {1: words(), 2: words(colour="blue"), 3: words(place="on the right")}
    assert shortest(both, 1) == "red circle on the left"
    assert shortest({1: words(), 2: words()}, 1) is None
    # in doubt it is not said: something of no certain colour, or a plate, which is a circle too
    assert shortest({1: words(), 2: words(colour="")}, 1) is None
    plate = words("plate", shape="circle", place="on the right")
    assert shortest({1: words(), 2: plate}, 1) == "circle on the left"
    assert shortest({1: words(), 2: plate}, 2) == "plate"
    # "" is a size, and belonging to nothing is something
    assert shortest({1: words(), 2: words(size="large")}, 2) == "large circle"
    assert shortest({1: words(), 2: words(whole="of the car")}, 2) == "circle of the car"
    assert words(size="large", whole="on the star").full == (
        "large red plain circle on the star on the left"
    )


def test_held_out_pairs_are_fixed_and_about_an_eighth(described: Described) -> None:
    pairs = {(w.colour, w.noun): w.held_out for _, f in described for w in f.values() if w.colour}
    assert 0.06 < np.mean(list(pairs.values())) < 0.2
    for _, found in described:
        for w in found.values():
            again = words(w.noun, colour=w.colour, place="at the top", size="small")
            assert again.held_out == w.held_out
    # Written down: a change of the rule would let training see what it must not.
    nouns = ("circle", "star", "ring", "cup", "cat", "car", "square", "blob")
    kept = [f"{c} {n}" for c in COLOURS for n in nouns if words(n, colour=c).held_out]
    assert kept == HELD_OUT
    assert not words(colour="").held_out


HELD_OUT = [
    "black star",
    "black square",
    "white ring",
    "red circle",
    "orange circle",
    "orange star",
    "orange car",
    "orange square",
    "yellow cat",
    "green ring",
    "green cup",
    "green cat",
    "purple cup",
    "pink circle",
    "pink ring",
]


def test_videos_give_phrases_by_object() -> None:
    video = Synthetic("train", frames=3, size=96)[4]
    assert isinstance(video, SyntheticVideo)
    masks = video.masks(0)
    for t in range(3):
        found, phrases = video.words(t), video.phrases(t)
        assert set(phrases) <= set(found) <= set(masks)
        assert len(set(phrases.values())) == len(phrases) > 0
        for number in found:
            assert video.masks(t)[number].any()


def test_a_texture_says_what_it_is() -> None:
    v, u = np.mgrid[-1:1:64j, -1:1:64j].astype(np.float32)
    seen = {}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        tone = np.full(3, 0.5)
        light = np.array([1, 0], np.float32)
        paint, pattern = fill(rng, u, v, tone, light=light, cells=8)
        seen.setdefault(pattern.kind, []).append((paint, pattern))
    assert len(seen) == 8
    for paint, pattern in seen["striped"]:
        if pattern.contrast < 0.2:
            continue
        # Two colours, about the contrast apart, whatever the shading between them.
        spread = np.ptp(paint, axis=(0, 1)).max()
        assert spread > 0.6 * pattern.contrast
        assert abs(pattern.period * pattern.cycles - 63) < 20 * pattern.cycles
    assert all(pattern == Pattern("plain") for _, pattern in seen["plain"])


def test_hidden_patterns_are_not_named() -> None:
    layers = np.zeros((40, 40), np.uint8)
    layers[5:30, 5:30], layers[5:24, 5:30] = 1, 2  # mostly its part is seen
    image = np.random.default_rng(0).integers(0, 2, (40, 40, 3), np.uint8) + np.uint8(1)
    striped = Pattern("striped", contrast=0.5, cycles=4, period=6)

    def word(pattern: Pattern, covered: bool, light: int = 80) -> str:
        looks = (Look("", ""), Look("", "circle", pattern), Look("", "star", None))
        seen = layers if covered else np.minimum(layers, 1)
        return describe(Scene(np.uint8(light) * image, seen, (0, 0, 1), looks))[1].pattern

    assert word(striped, covered=False) == "striped"
    assert word(striped, covered=True) == ""
    assert word(striped, covered=False, light=5) == ""
    for changes in ({"contrast": 0.1}, {"cycles": 1.0}, {"period": 2.0}):
        assert word(dataclasses.replace(striped, **changes), covered=False) == ""
    assert word(dataclasses.replace(striped, contrast=0.03), covered=False) == "plain"
