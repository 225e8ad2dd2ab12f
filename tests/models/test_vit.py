"""SAM 1's image encoder: relative positions by their definition, other sizes, and training."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.config import VitConfig
from sam_jax.models.vit import Attention, Vit, relative_rows

CONFIG = VitConfig(8, 3, 2, global_att_blocks=(1,), window=4, pos_embed_grid=(6, 6))
IMAGES = np.random.default_rng(0).standard_normal((2, 96, 96, 3), np.float32)


@pytest.fixture(scope="module")
def params(random_params: Callable[..., Any]) -> Any:
    return random_params(jax.eval_shape(Vit(CONFIG, 16).init, jax.random.key(0), IMAGES)["params"])


def embed(params: Any, images: Any, seed: int | None = None, **options: Any) -> jax.Array:
    module = Vit(CONFIG, 16, **options)
    rngs = None if seed is None else {"drop_path": jax.random.key(seed)}
    return jax.jit(lambda p, x: module.apply({"params": p}, x, rngs=rngs))(params, images)


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 3, 5)])
def test_relative_positions_by_their_definition(random_params, shape) -> None:
    """Each score is q k / sqrt(d) + q Rh[row - row'] + q Rw[column - column'], q unscaled."""
    b, h, w = shape
    x = np.random.default_rng(1).standard_normal((*shape, 8)).astype(np.float32)
    module = Attention(dim=8, heads=2, window=0, side=5)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.asarray(x))["params"]
    params = jax.tree.map(jnp.asarray, random_params(shapes))
    found = module.apply({"params": params}, jnp.asarray(x))

    projected = x @ params["qkv"]["kernel"] + params["qkv"]["bias"]
    q, k, v = projected.reshape(b, h, w, 3, 2, 4).transpose(3, 0, 4, 1, 2, 5)
    out = np.zeros((b, h, w, 2, 4))
    high, wide = (
        np.asarray(relative_rows(jnp.asarray(params[f"rel_pos_{axis}"]), size))
        for axis, size in (("h", h), ("w", w))
    )
    for i, head, row, column in np.ndindex(b, 2, h, w):
        query = q[i, head, row, column]
        scores = k[i, head] @ query / 2
        scores = scores + (high[row] @ query)[:, None] + wide[column] @ query
        weights = np.exp(scores) / np.exp(scores).sum()
        out[i, row, column, head] = np.einsum("yx,yxd->d", weights, v[i, head])
    expected = out.reshape(b, h, w, 8) @ params["proj"]["kernel"] + params["proj"]["bias"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rows_of_a_table_go_from_the_farthest_key_before_to_the_farthest_behind() -> None:
    table = jnp.arange(5.0)[:, None] * jnp.ones(2)
    rows = relative_rows(table, 3)[..., 0]
    np.testing.assert_array_equal(rows, [[2, 1, 0], [3, 2, 1], [4, 3, 2]])


def test_tables_of_other_sizes_are_interpolated() -> None:
    """Along a table that is a straight line, but for its ends, which are repeated."""
    table = jnp.arange(11.0)[:, None] * jnp.ones(3)
    rows = np.asarray(relative_rows(table, 12))[..., 0]
    assert rows.shape == (12, 12)
    np.testing.assert_allclose(np.diag(rows), 5, atol=1e-5)  # the middle stays the middle
    np.testing.assert_allclose(rows[3, 2] - rows[2, 2], 11 / 23, atol=1e-5)
    assert rows.min() == 0 and rows.max() == 10


def test_a_window_is_a_map_of_its_own(params: Any, random_params) -> None:
    """What lies in one window changes nothing in another; a global block tells them apart."""
    other = IMAGES.copy()
    other[:, 64:, 64:] += 1  # the padded last window of the 6 x 6 grid, windows being 4
    config = VitConfig(8, 1, 2, global_att_blocks=(), window=4, pos_embed_grid=(6, 6))
    module = Vit(config, 16)
    shapes = jax.eval_shape(module.init, jax.random.key(0), IMAGES)["params"]
    own = jax.tree.map(jnp.asarray, random_params(shapes))
    a, b = (module.apply({"params": own}, jnp.asarray(x)) for x in (IMAGES, other))
    np.testing.assert_array_equal(a[:, :3, :3], b[:, :3, :3])  # the 3 x 3 convolution sees one on
    assert not np.allclose(a[:, 4:, 4:], b[:, 4:, 4:])
    a, b = (embed(params, x) for x in (IMAGES, other))
    assert not np.allclose(a[:, :3, :3], b[:, :3, :3])


def test_bfloat16_is_near(params: Any) -> None:
    exact, half = embed(params, IMAGES), embed(params, IMAGES, dtype=jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    assert np.abs(half.astype(jnp.float32) - exact).mean() < 0.02 * np.abs(exact).mean()


def test_branches_are_skipped_by_image(params: Any) -> None:
    plain = embed(params, IMAGES)
    np.testing.assert_array_equal(embed(params, IMAGES, drop_path=0.9), plain)
    np.testing.assert_array_equal(embed(params, IMAGES, seed=0), plain)
    same = np.stack([IMAGES[0]] * 8)
    skipped = np.asarray(embed(params, same, seed=1, drop_path=0.9))
    assert len({image.tobytes() for image in skipped}) > 1


def test_remat_changes_neither_names_nor_numbers(params: Any) -> None:
    def loss(params: Any, remat: bool) -> jax.Array:
        return (embed(params, IMAGES[:1, :32, :32], remat=remat) ** 2).mean()

    compute = jax.jit(jax.grad(loss), static_argnums=1)
    assert "remat" in str(compute.trace(params, True).jaxpr)
    assert "remat" not in str(compute.trace(params, False).jaxpr)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
        compute(params, True),
        compute(params, False),
    )
