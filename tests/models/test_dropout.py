"""Dropout of the memory attention: only in training, and of every branch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.image import apply
from sam_jax.models import build
from sam_jax.types import Model, Recall
from sam_jax.video import init_state

KEYS = [{"dropout": jax.random.key(seed)} for seed in range(2)]


@pytest.fixture(scope="module")
def see(small_tracker: Callable[..., Model]) -> Callable[..., np.ndarray]:
    """`see(dropout, rngs={})`: a frame in the light of a full memory."""
    tracker = small_tracker()
    config, n = tracker.config, 2
    empty = init_state(tracker, n, prompted=1).bank
    random = np.random.default_rng(0)

    def filled(x: jax.Array) -> jax.Array:
        floats = jnp.issubdtype(x.dtype, jnp.floating)
        return jnp.asarray(random.normal(size=x.shape), x.dtype) if floats else jnp.ones_like(x)

    bank = jax.tree.map(filled, empty)
    slots, pointers = bank.frame.shape, bank.pointer_frame.shape
    recall = Recall(
        valid=jnp.ones(slots, bool),
        time=jnp.zeros(slots, jnp.int32),
        pointer_valid=jnp.ones(pointers, bool),
        pointer_age=jnp.zeros(pointers),
    )
    embed = jnp.asarray(random.normal(size=(config.grid, config.grid, config.dim)), jnp.float32)

    def run(dropout: float, rngs: Any = None) -> np.ndarray:
        model = Model(tracker.params, build(config, dropout=dropout), rngs or {})
        return np.asarray(apply(model, "with_memory", embed, bank, recall))

    return run


def test_nothing_is_dropped_without_a_key_or_a_rate(see: Callable[..., np.ndarray]) -> None:
    plain = see(0.0)
    np.testing.assert_array_equal(see(0.5), plain)
    np.testing.assert_array_equal(see(0.0, KEYS[0]), plain)


def test_the_key_says_what_is_dropped(see: Callable[..., np.ndarray]) -> None:
    first = see(0.5, KEYS[0])
    np.testing.assert_array_equal(see(0.5, KEYS[0]), first)
    for other in (see(0.0), see(0.5, KEYS[1])):
        assert np.abs(other - first).mean() > 0.1


def test_objects_lose_different_features_and_all_can_be_lost(
    see: Callable[..., np.ndarray],
) -> None:
    """With everything dropped all objects see the frame alone, which has no memory in it."""
    everything = see(1.0, KEYS[0])
    np.testing.assert_allclose(everything[0], everything[1], atol=1e-6)
    np.testing.assert_allclose(everything, see(1.0, KEYS[1]), atol=1e-6)
    some = see(0.5, KEYS[0])
    assert np.abs(some[0] - some[1]).mean() > 0.1
