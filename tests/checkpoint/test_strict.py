"""The comparison every load ends in."""

import jax
import numpy as np
import pytest

from sam_jax.checkpoint import strict
from sam_jax.checkpoint.error import CheckpointError

EXPECTED = {
    "a": {"kernel": jax.ShapeDtypeStruct((2, 3), np.float32)},
    "b": {"c": {"scale": jax.ShapeDtypeStruct((3,), np.float32)}},
    "d": jax.ShapeDtypeStruct((1,), np.float32),
}
FOUND = {"d": np.ones(1), "a/kernel": np.zeros((2, 3)), "b/c/scale": np.zeros(3)}


def test_merge_arranges_the_tree_in_the_models_order() -> None:
    tree = strict.merge(EXPECTED, FOUND)
    assert list(tree) == ["a", "b", "d"]
    assert tree["a"]["kernel"] is FOUND["a/kernel"]
    assert tree["b"]["c"]["scale"] is FOUND["b/c/scale"]


def test_merge_lists_every_difference() -> None:
    found = {"a/kernel": np.zeros((3, 2)), "d": np.ones(1), "e/bias": np.zeros(4)}
    with pytest.raises(CheckpointError) as error:
        strict.merge(EXPECTED, found, "x.pt")
    assert str(error.value) == (
        "x.pt does not match the model (1 missing, 1 unexpected, 1 of other shape of 3 parameters):"
        "\n  - b/c/scale (3,)"
        "\n  + e/bias (4,)"
        "\n  ~ a/kernel: expected (2, 3), found (3, 2)"
    )


def test_merge_caps_long_lists() -> None:
    found = FOUND | {f"extra_{i}": np.zeros(1) for i in range(25)}
    with pytest.raises(CheckpointError) as error:
        strict.merge(EXPECTED, found)
    lines = str(error.value).splitlines()
    assert len(lines) == 22
    assert lines[-2:] == ["  + extra_19 (1,)", "  + ... and 5 more"]


def test_flatten_and_back() -> None:
    assert strict.unflatten(strict.flatten(EXPECTED)) == EXPECTED
    assert list(strict.flatten(EXPECTED)) == ["a/kernel", "b/c/scale", "d"]


def test_damaged_numbers_are_named() -> None:
    strict.require_finite(FOUND)
    damaged = {"d": np.array([np.nan]), "b": {"c": np.array([1, np.inf])}, "a": np.zeros(2)}
    with pytest.raises(CheckpointError) as error:
        strict.require_finite(damaged, "x.pt")
    assert str(error.value) == (
        "x.pt is damaged:\n  - d has NaN or infinite values\n  - b/c has NaN or infinite values"
    )
