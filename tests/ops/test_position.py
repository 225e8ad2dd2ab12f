"""Golden numbers: computed in float64 from the formulas of the official code."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sam_jax.ops.position import fourier_code, fourier_grid, rope_tables, rotate, sine_grid


def test_sine_grid():
    grid = sine_grid(64, 64, 256)
    np.testing.assert_allclose(
        grid[0, 0, :4], [0.09801714, 0.99518473, 0.08491347, 0.99638833], atol=1e-6
    )
    np.testing.assert_allclose(
        grid[10, 20, :4], [0.88192126, 0.47139675, 0.80470258, 0.59367816], atol=1e-6
    )
    np.testing.assert_allclose(
        grid[10, 20, 128:132], [0.88192128, -0.47139671, 0.97707518, -0.21289454], atol=1e-6
    )
    np.testing.assert_allclose(grid.sum(dtype=np.float64), 518706.1075, rtol=1e-7)


def test_fourier_grid_is_the_code_of_the_cell_centres():
    gaussian = jnp.asarray(np.random.default_rng(0).standard_normal((2, 16)))
    y, x = np.mgrid[:5, :7] + 0.5
    centres = jnp.asarray(np.stack([x / 7, y / 5], -1))
    np.testing.assert_allclose(
        fourier_grid(5, 7, gaussian), fourier_code(centres, gaussian), atol=2e-5
    )


@given(st.integers(0, 7), st.integers(0, 7), st.integers(0, 3), st.integers(0, 3))
def test_rotated_products_depend_on_the_offset_only(x, y, dx, dy):
    cos, sin = rope_tables(11, 11, 32)
    q, k = jnp.asarray(np.random.default_rng(0).standard_normal((2, 32)))

    def turned(vector, column, row):
        at = row * 11 + column
        return np.asarray(rotate(vector[None], cos[at : at + 1], sin[at : at + 1]))[0]

    here = turned(q, x, y) @ turned(k, x + dx, y + dy)
    origin = turned(q, 0, 0) @ turned(k, dx, dy)
    np.testing.assert_allclose(here, origin, atol=1e-4)
