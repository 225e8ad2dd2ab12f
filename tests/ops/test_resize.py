"""Numbers from docs and formulas; agreement with torch itself is in tests/golden."""

import jax.numpy as jnp
import numpy as np

from sam_jax.ops.resize import bicubic, bicubic_matrix, bilinear, bilinear_matrix


def test_bicubic_has_the_kernel_of_torch():
    weights = bicubic_matrix(7, 256)
    np.testing.assert_allclose(weights[0, :3], [1.096241, -0.096241, 0], atol=1e-6)
    np.testing.assert_allclose(weights[18, :3], [0.99558, 0.004446, -0.000026], atol=1e-6)
    np.testing.assert_allclose(
        weights[128, 2:6], [-0.009975, 0.999583, 0.010531, -0.000138], atol=1e-6
    )
    np.testing.assert_allclose(weights[255], weights[0, ::-1], atol=1e-6)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


def test_bicubic_of_the_same_size_is_the_identity():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 5, 6, 2)))
    np.testing.assert_allclose(bicubic(x, 5, 6), x, atol=1e-6)


def test_bilinear_halves_by_averaging_only_with_antialias():
    x = jnp.array([[0.0, 0, 8, 8, 0, 0, 4, 4]])
    plain = bilinear(x, 1, 2)
    # Without antialiasing a sample sees two neighbours of its centre (1.5 and 5.5).
    np.testing.assert_allclose(plain, [[4, 2]], atol=1e-6)
    assert abs(bilinear(x, 1, 2, antialias=True) - plain).max() > 0.4


def test_bilinear_rows_sum_to_one_and_repeat_the_edge():
    for antialias in (False, True):
        weights = bilinear_matrix(4, 16, antialias)
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(weights[0], [1, 0, 0, 0], atol=1e-6)
