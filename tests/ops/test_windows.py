import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.ops.windows import partition, unpartition


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 4), (6, 10, 4), (3, 5, 7), (8, 8, 8)])
def test_unpartition_undoes_partition(height, width, side):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, height, width, 3)))
    windows = partition(x, side)
    assert windows.shape[1:3] == (side, side)
    np.testing.assert_array_equal(unpartition(windows, height, width), x)


def test_windows_come_row_by_row_and_padding_holds_the_fill():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    windows = partition(x, 2, jnp.full(1, -1.0))
    np.testing.assert_array_equal(windows[0, ..., 0], [[0, 1], [3, 4]])
    np.testing.assert_array_equal(windows[1, ..., 0], [[2, -1], [5, -1]])
