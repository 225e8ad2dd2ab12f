"""The current frame reads the memory.

Upstream: sam2/modeling/memory_attention.py, MemoryAttention; sam2/modeling/sam/transformer.py,
RoPEAttention.

Differences from upstream, all exact:
- softmax(S) (M W + b) = (softmax(S) M) W + b: the product with the scores has the memory's few
  columns, not d, and the value projection comes after it.
- empty slots are masked, and skipped where there is one object: the memory has one shape always.
- keys are read in chunks with a running maximum, so that the scores of 4096 x 28,736 tokens never
  exist at once.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sam_jax.models.layers import LayerNorm, Linear, dot
from sam_jax.ops.attention import attend
from sam_jax.ops.formulation import for_cpu
from sam_jax.ops.position import rope_tables, rotate
from sam_jax.types import MemoryTokens

Tables = tuple[np.ndarray, np.ndarray]  # cosines and sines, constants of the grid

_CHUNK = 1024  # keys per scan step
_NOTHING = -1e30  # a score below all others, but finite: an object without any memory gets zeros


class RopeAttention(nn.Module):
    """Single-head attention whose queries and keys turn with their grid position."""

    dim: int
    kv_dim: int

    def setup(self) -> None:
        self.q_proj = Linear(self.dim, self.dim)
        self.k_proj = Linear(self.kv_dim, self.dim)
        self.v_proj = Linear(self.kv_dim, self.dim)
        self.out_proj = Linear(self.dim, self.dim)

    def to_itself(self, x: Float[Array, "n t d"], tables: Tables) -> Float[Array, "n t d"]:
        q, k = rotate(self.q_proj(x), *tables), rotate(self.k_proj(x), *tables)
        out = attend(q[:, :, None], k[:, :, None], self.v_proj(x)[:, :, None])
        return self.out_proj(out[:, :, 0])

    def to_memory(
        self, x: Float[Array, "n t d"], memory: MemoryTokens, tables: Tables
    ) -> Float[Array, "n t d"]:
        q = rotate(self.q_proj(x), *tables) * jnp.asarray(self.dim**-0.5, x.dtype)
        # Not the module itself, which must not be called inside a scan.
        kernel, bias = self.k_proj.matrix, self.k_proj.bias.astype(x.dtype)
        out = _read(q, lambda tokens: dot(tokens, kernel) + bias, memory, tables)
        return self.out_proj(self.v_proj(out))


def _read(
    q: Float[Array, "n t d"],
    key: Callable[[Float[Array, "*s e"]], Float[Array, "*s d"]],
    memory: MemoryTokens,
    tables: Tables,
) -> Float[Array, "n t e"]:
    """Average of the memory's values, weighted by softmax(q keys^T).

    Scores are kept as [keys, queries]: the softmax then runs along the rows of memory. On CPU keys
    are made where they are read: those of all slots and layers would be the largest thing in
    memory, and those of empty slots are not needed. By its compiler's estimates a TPU, which is
    slow at turning pairs, takes twice as long for a frame then.

    Args:
      key: from a token and its position to its key, not yet turned.
    """
    n, t, _ = q.shape
    slots, width = memory.maps.shape[1], memory.maps.shape[-1]
    chunk = min(t, _CHUNK)
    while t % chunk:
        chunk -= 1
    dtype = q.dtype
    q = jax.lax.optimization_barrier(q.swapaxes(1, 2))  # [n d t]

    def with_ones(values: Array) -> Array:  # a row of ones makes the product return the sums, too
        return jnp.concatenate([values, jnp.ones_like(values[..., :1])], -1).swapaxes(-1, -2)

    def update(carry: tuple, keys: Array, values: Array, valid: Array | None) -> tuple:
        peak, total = carry
        scores = jnp.matmul(keys, q, preferred_element_type=jnp.float32)  # [n chunk t]
        if valid is not None:
            scores = jnp.where(valid[..., None], scores, -jnp.inf)
        new_peak = jnp.maximum(peak, scores.max(1, keepdims=True))
        weights = jnp.exp(scores - new_peak).astype(dtype)
        read = jnp.matmul(with_ones(values), weights, preferred_element_type=jnp.float32)
        return new_peak, total * jnp.exp(peak - new_peak) + read

    def cut(tokens: Float[Array, "n k t c"]) -> Float[Array, "parts n chunk c"]:
        return tokens.reshape(n, -1, chunk, tokens.shape[-1]).swapaxes(0, 1)

    if for_cpu():
        turns = tuple(jnp.asarray(table).reshape(t // chunk, chunk, -1) for table in tables)
        source = jnp.tile(jnp.arange(t // chunk), slots), cut(memory.maps_pe)
    else:
        source = cut(rotate(key(memory.maps + memory.maps_pe), *tables))

    def keys_of(maps: Array, source: Any) -> Array:
        if isinstance(source, tuple):
            part, places = source
            return rotate(key(maps + places), *(turn[part] for turn in turns))
        return source

    def step(carry: tuple, tokens: tuple[Array, Any, Array]) -> tuple:
        maps, source, valid = tokens

        def look(carry: tuple, valid: Array | None = None) -> tuple:
            return update(carry, keys_of(maps, source), maps, valid)

        if n != 1:
            return look(carry, valid[:, None]), None
        return jax.lax.cond(valid[0], look, lambda c: c, carry), None

    start = (
        jnp.full((n, 1, t), _NOTHING, jnp.float32),
        jnp.zeros((n, width + 1, t), jnp.float32),
    )
    pointer_keys = key(memory.pointers + memory.pointers_pe)
    carry = update(start, pointer_keys, memory.pointers, memory.pointers_valid)
    valid = jnp.repeat(memory.maps_valid, t // chunk, 1).swapaxes(0, 1)
    # Scores that training keeps for the way back would be those that must not exist at once.
    again = jax.checkpoint(step, prevent_cse=False)
    (_, total), _ = jax.lax.scan(again, carry, (cut(memory.maps), source, valid))
    out = total[:, :-1] / jnp.maximum(total[:, -1:], jnp.finfo(jnp.float32).tiny)
    return out.swapaxes(1, 2).astype(dtype)


class MemoryAttentionLayer(nn.Module):
    """Pre-norm: self-attention, attention to the memory, feed-forward; see `MemoryAttention`."""

    dim: int
    memory_dim: int
    mlp_dim: int
    dropout: float

    def setup(self) -> None:
        self.self_attn = RopeAttention(self.dim, self.dim)
        self.cross_attn_image = RopeAttention(self.dim, self.memory_dim)
        self.linear1 = Linear(self.dim, self.mlp_dim)
        self.linear2 = Linear(self.mlp_dim, self.dim)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(epsilon=1e-5) for _ in range(3))
        self.drop = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))

    def __call__(
        self, x: Float[Array, "n t d"], memory: MemoryTokens, tables: Tables
    ) -> Float[Array, "n t d"]:
        seen = self.self_attn.to_itself(self.norm1(x).astype(x.dtype), tables)
        x = x + self.drop(seen)
        seen = self.cross_attn_image.to_memory(self.norm2(x).astype(x.dtype), memory, tables)
        x = x + self.drop(seen)
        hidden = self.drop(nn.relu(self.linear1(self.norm3(x).astype(x.dtype))))
        return x + self.drop(self.linear2(hidden))


class MemoryAttention(nn.Module):
    """Layers and a final norm.

    Attributes:
      dropout: chance that a feature of a branch, or of the feed-forward's hidden layer, is dropped.
        Only where an rng "dropout" is given. Upstream drops attention weights, too, which here
        never exist at once.
    """

    dim: int
    memory_dim: int
    mlp_dim: int
    depth: int
    dtype: DTypeLike = jnp.float32
    dropout: float = 0.0

    def setup(self) -> None:
        self.layers = [
            MemoryAttentionLayer(self.dim, self.memory_dim, self.mlp_dim, self.dropout)
            for _ in range(self.depth)
        ]
        self.norm = LayerNorm(epsilon=1e-5)

    def __call__(
        self,
        frame: Float[Array, "n h w d"],
        frame_pe: Float[Array, "h w d"],
        memory: MemoryTokens,
    ) -> Float[Array, "n h w d"]:
        """Features of the frame, conditioned on the memory; a memory without tokens reads as 0."""
        n, h, w, d = frame.shape
        tables = rope_tables(h, w, d)
        x = (frame + 0.1 * frame_pe).astype(self.dtype).reshape(n, h * w, d)
        memory = jax.tree.map(lambda a: a if a.dtype == bool else a.astype(self.dtype), memory)
        for layer in self.layers:
            x = layer(x, memory, tables)
        return self.norm(x).astype(x.dtype).reshape(n, h, w, d)
