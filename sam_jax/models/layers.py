"""Layers shared by the encoders and the decoder.

Parameter names and layouts are those a PyTorch checkpoint has after the renames of
`sam_jax.checkpoint.names`: `kernel` and `bias`, `scale` and `bias`. Parameters are float32; `dtype`
is what products are computed in.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

# Statistics in float32 and the two-pass variance: the one-pass form loses digits that parity needs.
LayerNorm = partial(nn.LayerNorm, epsilon=1e-6, use_fast_variance=False)

# PyTorch's default for nn.Linear and nn.Conv2d, U(+-1/sqrt(fan_in)).
kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
table_init = nn.initializers.truncated_normal(0.02)


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Exact GELU through erf, in float32.

    `jax.nn.gelu(approximate=False)` goes through erfc, which takes 2.5 times as long on CPU and
    differs by less than 1e-6.
    """
    y = x.astype(jnp.float32)
    return (0.5 * y * (1 + jax.lax.erf(y * 0.5**0.5))).astype(x.dtype)


def dot(x: Float[Array, "... i"], kernel: Float[Array, "i o"]) -> Float[Array, "... o"]:
    """x @ kernel in x's dtype."""
    return x @ kernel.astype(x.dtype)


class Linear(nn.Module):
    """x @ kernel + bias over the last axis; a 1x1 convolution when `conv`.

    `nn.Dense` hides its parameters inside the call. Here they are attributes, because the neck, the
    attention blocks and the decoder multiply them with one another (exact foldings) or use a part.

    Attributes:
      conv: store the kernel as [1 1 i o], as an official 1x1 convolution converts.
    """

    dim_in: int
    dim_out: int
    conv: bool = False

    def setup(self) -> None:
        shape = (1, 1, self.dim_in, self.dim_out) if self.conv else (self.dim_in, self.dim_out)
        self.kernel = self.param("kernel", kernel_init, shape)
        self.bias = self.param("bias", nn.initializers.zeros, (self.dim_out,))

    @property
    def matrix(self) -> Float[Array, "i o"]:
        return self.kernel.reshape(self.dim_in, self.dim_out)

    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        return dot(x, self.matrix) + self.bias.astype(x.dtype)

    def split(self, x: Float[Array, "... i"], parts: int) -> list[Float[Array, "... p"]]:
        """The output in `parts` equal pieces, each its own product: no slicing of a wide result."""
        kernels = jnp.split(self.matrix, parts, axis=1)
        biases = jnp.split(self.bias, parts)
        return [dot(x, k) + b.astype(x.dtype) for k, b in zip(kernels, biases, strict=True)]


class Mlp(nn.Module):
    """Linear layers with an activation between them.

    Attributes:
      dims: widths from input to output.
    """

    dims: tuple[int, ...]
    activation: Callable[[Array], Array] = nn.relu

    def setup(self) -> None:
        pairs = zip(self.dims[:-1], self.dims[1:], strict=True)
        self.layers = [Linear(i, o) for i, o in pairs]

    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class Upsample2x(nn.Module):
    """Transposed convolution, kernel 2, stride 2: one product and a pixel shuffle."""

    dim_in: int
    dim_out: int

    def setup(self) -> None:
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=-1, out_axis=-2)
        self.kernel = self.param("kernel", init, (2, 2, self.dim_out, self.dim_in))
        self.bias = self.param("bias", nn.initializers.zeros, (self.dim_out,))

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        return rearrange(self.packed(x), "n h w i j o -> n (h i) (w j) o")

    def packed(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w 2 2 o"]:
        """The 2x2 pixels of each place beside one another."""
        # The barrier keeps the transpose out of the product, where the CPU backend is slow with it.
        kernel = rearrange(self.kernel.astype(x.dtype), "i j o c -> c (i j o)")
        y = x @ jax.lax.optimization_barrier(kernel)
        return y.reshape(*x.shape[:-1], 2, 2, self.dim_out) + self.bias.astype(x.dtype)


def max_pool_2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """2x2 max pooling, stride 2; h and w even. Strided slices: faster on CPU than reduce_window."""
    x = jnp.maximum(x[:, :, 0::2], x[:, :, 1::2])
    return jnp.maximum(x[:, 0::2], x[:, 1::2])
