"""Oracle tests need the official PyTorch code; without it they say how to get it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def clip(media: Path) -> Callable[[int], np.ndarray]:
    """`clip(n)`: the first n of every third frame of bedroom.mp4, uint8 [n 540 960 3]."""
    from convert.video_scenarios import SCENARIOS, read_clip

    longest = read_clip(media / "bedroom.mp4", max(s.frames for s in SCENARIOS.values()))
    return lambda frames: longest[:frames]


@pytest.fixture(scope="session")
def official():
    """`convert.official`, ready to build models."""
    pytest.importorskip("torch", reason="torch is not installed: run `make oracle`")
    from convert import official

    try:
        official.require()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    return official
