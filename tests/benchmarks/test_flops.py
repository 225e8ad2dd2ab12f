"""Products and sums of traced programs."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.flops import flops

X = jax.ShapeDtypeStruct((64, 64), jnp.float32)
ONE = 2 * 64**3


def count(function, *inputs, busy=1.0):
    return flops(jax.jit(function).trace(*inputs).jaxpr.jaxpr, busy=busy)


def test_a_loop_counts_as_often_as_it_turns():
    assert count(lambda x: x @ x @ x, X) == 2 * ONE
    assert count(lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, length=5)[0], X) == 5 * ONE


def test_what_is_computed_again_counts_again():
    def loss(x):
        return jax.checkpoint(lambda x: jnp.sin(jnp.sin(x @ x) @ x))(x).sum()

    stored = count(jax.grad(lambda x: jnp.sin(jnp.sin(x @ x) @ x).sum()), X)
    assert stored == 6 * ONE and count(jax.grad(loss), X) == 8 * ONE


def test_a_branch_that_does_nothing_is_taken_in_its_share():
    def either(x):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ x, lambda: x)

    assert count(either, X, busy=0.25) == ONE / 4
    both = count(lambda x: jax.lax.cond(x[0, 0] > 0, lambda: x @ x @ x, lambda: x @ x), X)
    assert both == 2 * ONE


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_are_as_xla_counts_them(groups, stride):
    image = jax.ShapeDtypeStruct((2, 32, 32, 8), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 8 // groups, 16), jnp.float32)

    def convolve(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (stride, stride), "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
        )  # fmt: skip

    cost = jax.jit(convolve).lower(image, kernel).compile().cost_analysis()
    assert count(convolve, image, kernel) == pytest.approx(cost["flops"], rel=0.01)
