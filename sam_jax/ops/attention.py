"""Scaled dot-product attention with a float32 softmax, of sequences and of maps.

Formulations of the same sum. Short sequences (windows) are dense. Of long ones the scores, 4096 x
4096, never exist at once: chunks of keys with a running maximum, or on TPU, where those of several
pictures do not fit beside its units, chunks of queries.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sam_jax.ops.formulation import for_cpu, for_tpu
from sam_jax.types import Size

_CHUNK = 512  # keys per scan step: a [4096, 512] float32 tile stays in the cache of one core
_BESIDE = 1 << 24  # scores that a TPU keeps beside its units: 64 of 128 MiB
_ROWS = 128  # queries at once where a chunk of keys has more scores than that
_DENSE_LIMIT = 1 << 20  # scores per head above which keys are scanned


def attend(
    q: Float[Array, "n tq heads d"],
    k: Float[Array, "n tk heads d"],
    v: Float[Array, "n tk heads e"],
    *,
    scale: float | None = None,
) -> Float[Array, "n tq heads e"]:
    """softmax(scale q k^T) v for each head.

    Args:
      scale: 1 / sqrt(d) if None.
    """
    n, tq, heads, d = q.shape
    tk = k.shape[1]
    q = q * jnp.asarray(d**-0.5 if scale is None else scale, q.dtype)
    # One batch axis of n * heads matrices, laid out before the product: the CPU backend otherwise
    # packs strided heads inside every product.
    q, k, v = (x.swapaxes(1, 2).reshape(n * heads, x.shape[1], x.shape[3]) for x in (q, k, v))
    if tq * tk <= _DENSE_LIMIT:
        out = _dense(q, k, v)
    elif for_tpu() and tq % _ROWS == 0 and not _fits(n * heads, tq * _CHUNK):
        out = _map_rows(q, k, v)
    else:
        out = _scan_keys(q, k, v) if tk % _CHUNK == 0 else _dense(q, k, v)
    return out.reshape(n, heads, tq, -1).swapaxes(1, 2)


def attend_on_map(
    q: Float[Array, "n h w heads d"],
    k: Float[Array, "n h w heads d"],
    v: Float[Array, "n h w heads d"],
    rows: Float[Array, "n h w heads h"],
    columns: Float[Array, "n h w heads w"],
) -> Float[Array, "n h w heads d"]:
    """Every place of a map reads every place, with a say of its own about rows and columns.

    softmax(q k^T / sqrt(d) + bias) v for each head; the bias is the sum of what a query's `rows`
    and `columns` say about the key's row and column.
    """
    n, h, w, heads, d = q.shape
    q = q * jnp.asarray(d**-0.5, q.dtype)
    long = (h * w) ** 2 > _DENSE_LIMIT
    if long and not for_cpu():
        # The bias as more columns: with one-hot rows and columns as keys it is part of the product.
        at_row = jnp.broadcast_to(jnp.eye(h, dtype=k.dtype)[:, None, None], rows.shape)
        at_column = jnp.broadcast_to(jnp.eye(w, dtype=k.dtype)[:, None], columns.shape)
        q = jnp.concatenate([q, rows, columns], -1)
        k = jnp.concatenate([k, at_row, at_column], -1)
        q, k, v = (x.reshape(n, h * w, heads, -1) for x in (q, k, v))
        return attend(q, k, v, scale=1.0).reshape(n, h, w, heads, d)
    parts = [
        x.transpose(0, 3, 1, 2, 4).reshape(n * heads, h * w, -1) for x in (q, k, v, rows, columns)
    ]
    # On CPU one head after the other, some rows of queries at a time: half the time of the scan.
    if long:
        out = jax.lax.map(lambda x: _map_queries(*x, h), parts)
    else:
        q, k, v, rows, columns = parts
        out = _dense_on_map(q, k.swapaxes(1, 2), v, rows, columns)
    return out.reshape(n, heads, h, w, d).transpose(0, 2, 3, 1, 4)


def _map_queries(
    q: Float[Array, "t d"],
    k: Float[Array, "t d"],
    v: Float[Array, "t d"],
    rows: Float[Array, "t h"],
    columns: Float[Array, "t w"],
    h: int,
) -> Float[Array, "t d"]:
    w = columns.shape[1]
    together = max(i for i in range(1, h + 1) if h % i == 0 and (i == 1 or i * w <= _CHUNK))
    some = [x.reshape(h // together, together * w, -1) for x in (q, rows, columns)]
    k = k.T
    if k.dtype == jnp.bfloat16:
        # Unless they are laid out before the loop, the CPU backend multiplies them as float32.
        k = jax.lax.optimization_barrier(k)
    out = jax.lax.map(lambda x: _dense_on_map(x[0], k, v, *x[1:]), some)
    return out.reshape(q.shape)


def _dense_on_map(
    q: Float[Array, "*z tq d"],
    keys: Float[Array, "*z d tk"],
    v: Float[Array, "*z tk d"],
    rows: Float[Array, "*z tq h"],
    columns: Float[Array, "*z tq w"],
) -> Float[Array, "*z tq d"]:
    scores = _matmul(q, keys)
    # In float32 like the scores, so that their sum is not rounded.
    rows, columns = rows.astype(jnp.float32), columns.astype(jnp.float32)
    bias = rows[..., :, None] + columns[..., None, :]  # [*z tq h w]
    return _read(scores + bias.reshape(scores.shape), v)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _dense(
    q: Float[Array, "z tq d"], k: Float[Array, "z tk d"], v: Float[Array, "z tk e"]
) -> Float[Array, "z tq e"]:
    return _read(_matmul(q, k.swapaxes(1, 2)), v)


def _read(scores: Float[Array, "*z tq tk"], v: Float[Array, "*z tk e"]) -> Float[Array, "*z tq e"]:
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    # Dividing after the product touches e columns instead of tk.
    out = _matmul(weights.astype(v.dtype), v) / weights.sum(-1, keepdims=True)
    return out.astype(v.dtype)


def _fits(z: Size, scores: int) -> bool:
    """Whether z matrices of so many scores stay beside a TPU's units; no, if z is left open."""
    return isinstance(z, int) and z * scores <= _BESIDE


def _map_rows(
    q: Float[Array, "z tq d"], k: Float[Array, "z tk d"], v: Float[Array, "z tk e"]
) -> Float[Array, "z tq e"]:
    # Not some heads at a time: devices may have parts of z, never of the queries.
    z, tq, d = q.shape
    rows = q.reshape(z, tq // _ROWS, _ROWS, d).swapaxes(0, 1)
    # As in `_scan_keys`.
    again = jax.checkpoint(lambda some: _dense(some, k, v), prevent_cse=False)
    return jax.lax.map(again, rows).swapaxes(0, 1).reshape(z, tq, v.shape[2])


def _scan_keys(
    q: Float[Array, "z tq d"], k: Float[Array, "z tk d"], v: Float[Array, "z tk e"]
) -> Float[Array, "z tq e"]:
    z, tq, _ = q.shape
    chunks = k.shape[1] // _CHUNK
    # A column of ones makes the product with v return the row sums as well.
    v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], -1)
    keys = k.reshape(z, chunks, _CHUNK, -1).transpose(1, 0, 3, 2)
    values = v.reshape(z, chunks, _CHUNK, -1).swapaxes(0, 1)

    def step(carry: tuple[Array, Array], chunk: tuple[Array, Array]) -> tuple:
        peak, total = carry
        scores = _matmul(q, chunk[0])  # [z tq chunk]
        new_peak = jnp.maximum(peak, scores.max(-1, keepdims=True))
        weights = jnp.exp(scores - new_peak).astype(q.dtype)
        return (new_peak, total * jnp.exp(peak - new_peak) + _matmul(weights, chunk[1])), None

    start = (
        jnp.full((z, tq, 1), -jnp.inf, jnp.float32),
        jnp.zeros((z, tq, v.shape[-1]), jnp.float32),
    )
    # Scores that training keeps for the way back would be those that must not exist at once.
    again = jax.checkpoint(step, prevent_cse=False)
    (_, total), _ = jax.lax.scan(again, start, (keys, values))
    return (total[..., :-1] / total[..., -1:]).astype(q.dtype)
