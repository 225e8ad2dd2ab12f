"""What only training asks of the image encoder: skipped branches, and less memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.config import HieraConfig
from sam_jax.models.hiera import Hiera

# Windows are cut, padded and left out; two images tell the axis of images from that of windows.
CONFIG = HieraConfig(8, 1, (1, 1, 2, 1), global_att_blocks=(3,), window_spec=(4, 4, 4, 2))
IMAGES = np.random.default_rng(0).standard_normal((2, 96, 96, 3), np.float32)


@pytest.fixture(scope="module")
def params(random_params: Callable[..., Any]) -> Any:
    shapes = jax.eval_shape(Hiera(CONFIG).init, jax.random.key(0), IMAGES)["params"]
    return random_params(shapes)


def outputs(params: Any, images: np.ndarray, seed: int | None = None, **options: Any) -> Any:
    module = Hiera(CONFIG, **options)
    rngs = None if seed is None else {"drop_path": jax.random.key(seed)}
    return jax.jit(lambda p, x: module.apply({"params": p}, x, rngs=rngs))(params, images)


def kept(params: Any, images: int, **options: Any) -> np.ndarray:
    rngs = {"drop_path": jax.random.key(0)}
    module = Hiera(CONFIG, **options)
    return np.asarray(module.apply({"params": params}, images, method="_keep", rngs=rngs))


def assert_same(a: Any, b: Any) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


def test_nothing_is_skipped_unless_asked(params: Any) -> None:
    plain = outputs(params, IMAGES)
    assert_same(outputs(params, IMAGES, drop_path=0.5), plain)
    assert_same(outputs(params, IMAGES, seed=0), plain)


def test_branches_are_skipped_by_image(params: Any) -> None:
    """An image gets what it would get alone, with its own numbers; the first block's are 1."""
    keep = kept(params, 2, drop_path=0.6)
    assert keep.shape == (5, 2, 2) and (keep[:, :, 0] != keep[:, :, 1]).any()
    both = outputs(params, IMAGES, seed=0, drop_path=0.6)
    np.testing.assert_allclose(both[0], outputs(params, IMAGES)[0], atol=1e-5)
    for image in range(2):
        own = slice(image, image + 1)
        alone = _given(params, keep[:, :, own], IMAGES[own])
        halves = [x.reshape(2, -1, *x.shape[1:])[image] for x in both]
        assert_same(halves, alone)


def _given(params: Any, keep: np.ndarray, image: np.ndarray) -> Any:
    class Given(Hiera):
        def _keep(self, images: int) -> Any:
            return jnp.asarray(keep)

    return jax.jit(Given(CONFIG).apply)({"params": params}, image)


def test_rates_rise_from_nothing_and_the_mean_stays(params: Any) -> None:
    keep = kept(params, 4000, drop_path=0.4)
    np.testing.assert_allclose((keep == 0).mean((1, 2)), [0, 0.1, 0.2, 0.3, 0.4], atol=0.02)
    np.testing.assert_allclose(keep.mean((1, 2)), 1, atol=0.03)


def test_remat_changes_neither_names_nor_numbers(params: Any) -> None:
    image = IMAGES[:1, :32, :32]

    def loss(params: Any, remat: bool) -> jax.Array:
        maps = outputs(params, image, seed=0, drop_path=0.3, remat=remat)
        return sum((x**2).mean() for x in maps)  # type: ignore[return]

    compute = jax.jit(jax.grad(loss), static_argnums=1)
    assert "remat" in str(compute.trace(params, True).jaxpr)
    assert "remat" not in str(compute.trace(params, False).jaxpr)
    assert_same(compute(params, True), compute(params, False))
    shapes = jax.eval_shape(Hiera(CONFIG, remat=True).init, jax.random.key(0), image)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
