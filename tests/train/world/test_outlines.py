"""Outlines and things of the synthetic world."""

import numpy as np
import pytest

from train.world.outlines import OUTLINES
from train.world.things import ARTICULATED, RIGID, Thing, random_thing


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_fill_the_unit_frame(name: str) -> None:
    for seed in range(20):
        outline = OUTLINES[name](np.random.default_rng(seed))
        points = np.concatenate([p for p, _ in outline])
        assert outline[0][1]
        assert np.isfinite(points).all()
        assert 0.5 < np.abs(points).max() < 2


def _family(thing: Thing) -> list[Thing]:
    return [thing, *(other for part in thing.parts for other in _family(part))]


def test_things_name_known_outlines() -> None:
    for thing in RIGID + ARTICULATED:
        assert all(part.outline in OUTLINES for part in _family(thing))
    assert all(sum(p.joint is not None for p in _family(t)) >= 3 for t in ARTICULATED)


def test_nine_things_never_have_more_layers_than_a_byte_can_number() -> None:
    counts = [len(_family(random_thing(np.random.default_rng(i)))) for i in range(300)]
    assert max(counts) * 9 < 256
