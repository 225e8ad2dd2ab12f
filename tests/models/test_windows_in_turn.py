"""On CPU the image encoder works on some windows of an image at a time."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.config import HieraConfig
from sam_jax.models import hiera
from sam_jax.ops.formulation import tracing_for

# 64 windows of 4 x 4 tokens in an image, then of 2 x 2.
CONFIG = HieraConfig(8, 1, (1, 2, 2, 1), global_att_blocks=(4,), window_spec=(4, 2, 2, 2))
IMAGES = np.random.default_rng(0).standard_normal((2, 128, 128, 3), np.float32)


@pytest.fixture(scope="module")
def params(random_params: Callable[..., Any]) -> Any:
    shapes = jax.eval_shape(hiera.Hiera(CONFIG).init, jax.random.key(0), IMAGES)["params"]
    return random_params(shapes)


def loss(params: Any, images: np.ndarray) -> Any:
    module = hiera.Hiera(CONFIG, drop_path=0.5, remat=True)
    maps = module.apply({"params": params}, images, rngs={"drop_path": jax.random.key(0)})
    return sum((x**2).mean() for x in maps), maps


def test_windows_in_turn_change_no_number(params: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two images, with branches that one of them skips, there and back."""
    at_once = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, IMAGES)
    monkeypatch.setattr(hiera, "_TOGETHER", 144)  # up to 9 windows of each, then 36
    # Another function: the traces of the first one are remembered.
    compute = jax.jit(jax.value_and_grad(partial(loss), has_aux=True))
    assert "scan[" in str(compute.trace(params, IMAGES).jaxpr)
    in_turn = compute(params, IMAGES)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), in_turn, at_once)
    names = jax.eval_shape(hiera.Hiera(CONFIG).init, jax.random.key(0), IMAGES)["params"]
    assert jax.tree.map(jnp.shape, names) == jax.tree.map(jnp.shape, params)


def test_windows_in_turn_need_less_memory(params: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def temporaries() -> int:
        encode = jax.jit(lambda p, x: hiera.Hiera(CONFIG).apply({"params": p}, x))
        program = encode.lower(params, IMAGES[:1]).compile()
        return program.memory_analysis().temp_size_in_bytes

    at_once = temporaries()
    monkeypatch.setattr(hiera, "_TOGETHER", 128)
    assert temporaries() < 0.7 * at_once


def test_windows_and_maps_may_be_larger_than_what_goes_together(
    params: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(1).standard_normal((1, 32, 736, 3), np.float32)
    expected = jax.jit(lambda p, x: hiera.Hiera(CONFIG).apply({"params": p}, x))(params, image)
    monkeypatch.setattr(hiera, "_TOGETHER", 8)
    found = jax.jit(lambda p, x: hiera.Hiera(CONFIG).apply({"params": p}, x))(params, image)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), found, expected)


def test_windows_are_not_cut_into_many_small_parts(
    params: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """92 windows: 23 of them go together, but not 4, where there is room for 22."""
    image = np.zeros((1, 32, 736, 3), np.float32)

    def program(windows: int) -> str:
        monkeypatch.setattr(hiera, "_TOGETHER", windows * 4 * 4)
        trace = jax.jit(lambda p, x: hiera.Hiera(CONFIG).apply({"params": p}, x)).trace
        return str(trace(params, image).jaxpr)

    assert "length=4\n" in program(23)
    assert "length=23\n" not in program(22)


def test_elsewhere_windows_are_one_batch(params: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiera, "_TOGETHER", 128)
    with tracing_for("tpu"):
        trace = jax.jit(lambda p, x: hiera.Hiera(CONFIG).apply({"params": p}, x)).trace
        assert "scan[" not in str(trace(params, IMAGES).jaxpr)
