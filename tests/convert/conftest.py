"""Recorded key lists of the released models (tests/names), as states without memory."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

_NAMES = Path(__file__).resolve().parent.parent / "names"


@pytest.fixture(scope="session")
def recorded() -> Callable[[str, str], dict[str, np.ndarray]]:
    """`recorded(scheme, model)`: name -> array of the recorded shape, filled with its index.

    Every array is one number, repeated by stride 0, and no two arrays hold the same.
    """

    def read(scheme: str, model: str) -> dict[str, np.ndarray]:
        shapes = json.loads(gzip.decompress((_NAMES / f"{scheme}_{model}.json.gz").read_bytes()))
        return {
            name: np.broadcast_to(np.float32(i), shape)
            for i, (name, shape) in enumerate(shapes.items())
        }

    return read
