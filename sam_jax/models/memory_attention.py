"""The current frame reads the memory.

Upstream: sam2/modeling/memory_attention.py, MemoryAttention; sam2/modeling/sam/transformer.py,
RoPEAttention.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from sam_jax.models.layers import LayerNorm, Linear
from sam_jax.ops.attention import attend
from sam_jax.ops.position import rope_tables, rotate

Tables = tuple[np.ndarray, np.ndarray]  # cosines and sines, constants of the grid


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
        self,
        x: Float[Array, "n t d"],
        memory: Float[Array, "n k e"],
        memory_pe: Float[Array, "n k e"],
        valid: Bool[Array, "n k"],
        *,
        spatial: int,
        tables: Tables,
    ) -> Float[Array, "n t d"]:
        """Read `memory`, whose first `spatial` tokens are whole grids and turn; the rest do not."""
        q = rotate(self.q_proj(x), *tables) * self.dim**-0.5
        k = self.k_proj(memory + memory_pe)
        n, t = x.shape[:2]
        grids = rotate(k[:, :spatial].reshape(n, -1, t, self.dim), *tables)
        k = jnp.concatenate([grids.reshape(n, spatial, self.dim), k[:, spatial:]], 1)
        scores = jnp.einsum("ntd,nkd->ntk", q, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(jnp.where(valid[:, None], scores, -jnp.inf), -1)
        # softmax(S) (M W + b) = (softmax(S) M) W + b, exactly: the product has e columns, not d.
        out = jnp.einsum("ntk,nke->nte", weights.astype(memory.dtype), memory)
        return self.out_proj(self.v_proj(out))


class MemoryAttentionLayer(nn.Module):
    """Pre-norm: self-attention, attention to the memory, feed-forward."""

    dim: int
    memory_dim: int
    mlp_dim: int

    def setup(self) -> None:
        self.self_attn = RopeAttention(self.dim, self.dim)
        self.cross_attn_image = RopeAttention(self.dim, self.memory_dim)
        self.linear1 = Linear(self.dim, self.mlp_dim)
        self.linear2 = Linear(self.mlp_dim, self.dim)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(epsilon=1e-5) for _ in range(3))


class MemoryAttention(nn.Module):
    """Layers and a final norm."""

    dim: int
    memory_dim: int
    mlp_dim: int
    depth: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.layers = [
            MemoryAttentionLayer(self.dim, self.memory_dim, self.mlp_dim) for _ in range(self.depth)
        ]
        self.norm = LayerNorm(epsilon=1e-5)

    def __call__(
        self,
        frame: Float[Array, "n h w d"],
        frame_pe: Float[Array, "h w d"],
        memory: Float[Array, "n k e"],
        memory_pe: Float[Array, "n k e"],
        valid: Bool[Array, "n k"],
        *,
        spatial: int,
    ) -> Float[Array, "n h w d"]:
        """Features of the frame, conditioned on the memory.

        Args:
          memory: flattened memory maps, then pointer tokens.
          memory_pe: added to the keys only.
          valid: false for memory tokens that hold nothing; at least one must be true.
          spatial: how many of the memory tokens are maps (a multiple of h w).
        """
        n, h, w, d = frame.shape
        tables = rope_tables(h, w, d)
        x = (frame + 0.1 * frame_pe).astype(self.dtype).reshape(n, h * w, d)
        memory, memory_pe = memory.astype(self.dtype), memory_pe.astype(self.dtype)
        for layer in self.layers:
            x = x + layer.self_attn.to_itself(layer.norm1(x).astype(x.dtype), tables)
            x = x + layer.cross_attn_image.to_memory(
                layer.norm2(x).astype(x.dtype),
                memory,
                memory_pe,
                valid,
                spatial=spatial,
                tables=tables,
            )
            y = layer.norm3(x).astype(x.dtype)
            x = x + layer.linear2(nn.relu(layer.linear1(y)))
        return self.norm(x).astype(x.dtype).reshape(n, h, w, d)
