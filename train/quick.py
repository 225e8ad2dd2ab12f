"""Gradients of the memory that are quick on CPU: the same sums, ordered for the way back.

`sam_jax` orders its sums for answers. There, attention keeps a running maximum over chunks, which
never holds all scores; a strided convolution is one. On CPU the gradients of these take
several times as long as those of plain products, which a short clip has the memory for.

    with quick_gradients(frames=4):
        jax.grad(loss)(params)  # of clips of 4 frames
"""

from contextlib import AbstractContextManager
from functools import partial, reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Int

from sam_jax.models.layers import Linear, Upsample2x
from sam_jax.models.memory_attention import RopeAttention
from sam_jax.models.memory_encoder import DepthwiseConv
from sam_jax.ops.position import rotate


def quick_gradients(frames: int) -> AbstractContextManager[None]:
    """Trace what is inside with quick gradients.

    Args:
      frames: of the clips: all but one of them can be remembered, whatever room there is.
    """
    return nn.intercept_methods(partial(_replace, frames))


def _replace(
    frames: int, method: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext
) -> Any:
    module = context.module
    if isinstance(module, RopeAttention) and context.method_name == "to_memory":
        return _to_memory(module, frames - 1, *args)
    if isinstance(module, Upsample2x) and context.method_name == "packed":
        return _packed(module, args[0])
    if context.method_name == "__call__":
        if isinstance(module, DepthwiseConv):
            x = args[0]
            return _depthwise(x, module.kernel.astype(x.dtype)) + module.bias.astype(x.dtype)
        if isinstance(module, Linear):
            x = args[0]
            return _dot(x, module.matrix.astype(x.dtype)) + module.bias.astype(x.dtype)
        if isinstance(module, nn.Conv):
            return _convolve(module, args[0])
    return method(*args, **kwargs)


@jax.custom_vjp
def _dot(x: Float[Array, "... i"], kernel: Float[Array, "i o"]) -> Float[Array, "... o"]:
    return x @ kernel


def _dot_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    """Two plain products: jax would contract all leading axes at once, which CPUs do slowly."""
    x, kernel = saved
    flat = grad.reshape(-1, grad.shape[-1])
    return (flat @ kernel.T).reshape(x.shape), x.reshape(-1, x.shape[-1]).T @ flat


_dot.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _dot_backward)


@jax.custom_vjp
def _depthwise(x: Float[Array, "n h w c"], kernel: Float[Array, "k k 1 c"]) -> Array:
    """A depthwise convolution that keeps the size, as shifted multiply-adds."""
    h, w = x.shape[1:3]
    x = _padded(x, kernel)
    parts = (x[:, i : i + h, j : j + w] * kernel[i, j, 0] for i, j in np.ndindex(kernel.shape[:2]))
    return reduce(jnp.add, parts)


def _padded(x: Float[Array, "n h w c"], kernel: Float[Array, "k k 1 c"]) -> Array:
    around = kernel.shape[0] // 2
    return jnp.pad(x, ((0, 0), (around, around), (around, around), (0, 0)))


def _depthwise_backward(saved: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    """Shifted products again: jax would add up a padded array for each shift.

    The kernel's sums are a loop, which takes a quarter of the time that they take side by side.
    """
    x, kernel = saved
    x, shifts = _padded(x, kernel), jnp.array(list(np.ndindex(kernel.shape[:2])))

    def of_shift(shift: Int[Array, " 2"]) -> Float[Array, " c"]:
        part = jax.lax.dynamic_slice(x, (0, *shift, 0), grad.shape)
        return (part * grad).sum((0, 1, 2))

    of_kernel = jax.lax.map(of_shift, shifts)
    return _depthwise(grad, kernel[::-1, ::-1]), of_kernel.reshape(kernel.shape)


_depthwise.defvjp(lambda x, kernel: (_depthwise(x, kernel), (x, kernel)), _depthwise_backward)


def _packed(module: Upsample2x, x: Float[Array, "n h w i"]) -> Float[Array, "n h w 2 2 o"]:
    kernel = rearrange(module.kernel.astype(x.dtype), "i j o c -> c (i j o)")
    return _dot(x, kernel).reshape(*x.shape[:-1], 2, 2, -1) + module.bias.astype(x.dtype)


def _convolve(module: nn.Conv, x: Float[Array, "n h w i"]) -> Float[Array, "n hs ws o"]:
    """A convolution as a product with the neighbours of each place."""
    kernel, bias = (module.get_variable("params", name) for name in ("kernel", "bias"))
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=module.dtype)
    high, wide, _, out = kernel.shape
    stride = module.strides  # a number, and so is the padding if there is any
    assert isinstance(stride, int)
    pad = module.padding if isinstance(module.padding, int) else 0
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    n, h, w, c = x.shape
    h, w = (h - high) // stride + 1, (w - wide) // stride + 1
    # Strides become an axis, of which the parts are whole slices.
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % stride), (0, -x.shape[2] % stride), (0, 0)))
    x = x.reshape(n, x.shape[1] // stride, stride, x.shape[2] // stride, stride, c)
    parts = [
        x[:, i // stride : i // stride + h, i % stride, j // stride : j // stride + w, j % stride]
        for i in range(high)
        for j in range(wide)
    ]
    neighbours = jnp.concatenate(parts, -1)
    found = _dot(neighbours, kernel.reshape(-1, out))
    return found if bias is None else found + bias


def _to_memory(module: RopeAttention, most: int, x: Array, memory: Any, tables: Any) -> Array:
    """`RopeAttention.to_memory` with all scores at once, of slots that can hold something."""
    # No matter in which order: what a slot holds knows its age.
    held = jnp.argsort(~memory.maps_valid, axis=1)[:, :most]
    maps, maps_pe = (
        jnp.take_along_axis(m, held[..., None, None], 1) for m in (memory.maps, memory.maps_pe)
    )
    maps_valid = jnp.take_along_axis(memory.maps_valid, held, 1)
    n, _, t, e = maps.shape
    q = rotate(module.q_proj(x), *tables) * jnp.asarray(module.dim**-0.5, x.dtype)
    keys = rotate(module.k_proj(maps + maps_pe), *tables).reshape(n, -1, module.dim)
    keys = jnp.concatenate([keys, module.k_proj(memory.pointers + memory.pointers_pe)], 1)
    values = jnp.concatenate([maps.reshape(n, -1, e), memory.pointers], 1)
    valid = jnp.concatenate([jnp.repeat(maps_valid, t, 1), memory.pointers_valid], 1)
    out = _attend(q, keys, values, jnp.where(valid, 0, -1e30)[:, None])
    return module.out_proj(module.v_proj(out))


@jax.custom_vjp
def _attend(
    q: Float[Array, "n t d"],
    keys: Float[Array, "n k d"],
    values: Float[Array, "n k e"],
    bias: Float[Array, "n 1 k"],
) -> Float[Array, "n t e"]:
    """softmax(q keys^T + bias) values; the bias gets no gradient."""
    return _attend_forward(q, keys, values, bias)[0]


def _attend_forward(q: Array, keys: Array, values: Array, bias: Array) -> tuple[Array, tuple]:
    scores = _float_matmul(q, keys.swapaxes(1, 2)) + bias
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    total = weights.sum(-1, keepdims=True)
    out = _float_matmul(weights.astype(values.dtype), values) / total
    return out.astype(q.dtype), (q, keys, values, weights, total, out)


def _attend_backward(saved: tuple, grad: Array) -> tuple[Array, Array, Array, None]:
    """Divided where there are few columns, and with one pass over the scores less than jax's."""
    q, keys, values, weights, total, out = saved
    grad = grad.astype(jnp.float32) / total
    along = (grad * out).sum(-1, keepdims=True)
    of_scores = weights * (grad @ values.swapaxes(1, 2) - along)
    grads = of_scores @ keys, of_scores.swapaxes(1, 2) @ q, weights.swapaxes(1, 2) @ grad
    return *(g.astype(x.dtype) for g, x in zip(grads, saved, strict=False)), None


def _float_matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


_attend.defvjp(_attend_forward, _attend_backward)
