from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.ops import attention
from sam_jax.ops.formulation import tracing_for


def _reference(q, k, v):
    scores = np.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("nhqk,nkhe->nqhe", weights, v)


def _qkv(tq, tk, scale=1.0):
    random = np.random.default_rng(0)
    shapes = (2, tq, 3, 8), (2, tk, 3, 8), (2, tk, 3, 5)
    return [jnp.asarray(scale * random.standard_normal(s), jnp.float32) for s in shapes]


@pytest.mark.parametrize(
    ("tq", "tk", "scale"),
    [(7, 9, 1), (1200, 1024, 1), (1200, 1024, 6), (1100, 1000, 1)],
    ids=["dense", "scanned", "scanned-peaked", "long-but-no-multiple-of-the-chunk"],
)
def test_attend_is_softmax_attention(tq, tk, scale):
    q, k, v = _qkv(tq, tk, scale)
    np.testing.assert_allclose(attention.attend(q, k, v), _reference(q, k, v), atol=5e-5 * scale)


@pytest.mark.parametrize("scale", [1, 6])
def test_attend_for_tpus(scale, monkeypatch):
    monkeypatch.setattr(attention, "_BESIDE", 1)
    q, k, v = _qkv(1280, 1000, scale)
    with tracing_for("tpu"):
        out, gradients = attention.attend(q, k, v), _gradients(q, k, v)
    np.testing.assert_allclose(out, _reference(q, k, v), atol=5e-5 * scale)
    for a, b in zip(gradients, _gradients(q, k, v), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * scale)


def _gradients(q, k, v):
    return jax.grad(lambda *qkv: (attention.attend(*qkv) ** 2).sum(), (0, 1, 2))(q, k, v)


# Tiles: one on the way there; scores, weights and their gradients on the way back.
@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize(("function", "share"), [(attention.attend, 1 / 3), (_gradients, 2 / 3)])
def test_long_sequences_never_hold_all_scores(function, share, platform, monkeypatch):
    monkeypatch.setattr(attention, "_BESIDE", 1)  # on TPU, rows of queries
    q, k, v = (jnp.zeros((1, 4096, 2, 8)) for _ in range(3))
    with tracing_for(platform):
        traced = jax.jit(partial(function)).trace(q, k, v)  # partial: traced for each platform
    program = traced.lower().compile()
    all_scores = 2 * 4096 * 4096 * 4
    assert program.memory_analysis().temp_size_in_bytes < share * all_scores


def test_gradients_agree_between_the_formulations(monkeypatch):
    q, k, v = _qkv(64, 1024)

    def loss(q, k, v):
        return (attention.attend(q, k, v) ** 2).sum()

    dense = jax.grad(loss, (0, 1, 2))(q, k, v)
    monkeypatch.setattr(attention, "_DENSE_LIMIT", 1)
    scanned = jax.grad(loss, (0, 1, 2))(q, k, v)
    for a, b in zip(dense, scanned, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def _maps(h, w):
    random = np.random.default_rng(1)
    shapes = [(2, h, w, 3, 8)] * 3 + [(2, h, w, 3, h), (2, h, w, 3, w)]
    return [jnp.asarray(random.standard_normal(s), jnp.float32) for s in shapes]


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 5e-5), ("bfloat16", 0.05)])
@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize(("h", "w"), [(4, 6), (36, 32), (33, 31)])
def test_rows_and_columns_of_a_map_are_a_bias(h, w, platform, dtype, atol):
    """Dense; in parts, as on CPU; and by more columns of queries and keys, as elsewhere."""
    q, k, v, rows, columns = (x.astype(dtype) for x in _maps(h, w))
    exact = [np.asarray(x, np.float32) for x in (q, k, v, rows, columns)]
    flat = [x.reshape(2, h * w, 3, 8) for x in exact[:3]]
    scores = np.einsum("nqed,nked->neqk", flat[0], flat[1]) / np.sqrt(8)
    bias = exact[3][..., :, None] + exact[4][..., None, :]
    scores += bias.transpose(0, 3, 1, 2, 4, 5).reshape(scores.shape)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("neqk,nked->nqed", weights, flat[2]).reshape(q.shape)
    with tracing_for(platform):
        found = attention.attend_on_map(q, k, v, rows, columns)
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, np.float32), expected, atol=atol)
