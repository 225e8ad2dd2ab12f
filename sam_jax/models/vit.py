"""ViT with windows and relative positions: the image encoder of SAM 1.

Upstream: segment_anything/modeling/image_encoder.py, ImageEncoderViT.

Differences from upstream:
- a padded token's query, key and value are the qkv bias, so qkv runs on real tokens only (exact).
- the position table is stretched to other input sizes; upstream does so with relative ones only.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sam_jax.config import VitConfig
from sam_jax.models.drop_path import draw_branches, scale_branch
from sam_jax.models.layers import LayerNorm, Linear, Mlp, gelu, table_init
from sam_jax.ops.attention import attend_on_map
from sam_jax.ops.resize import bicubic, bilinear_matrix
from sam_jax.ops.windows import partition, unpartition


class Attention(nn.Module):
    """Multi-head attention with relative positions, inside windows or over the whole map.

    Attributes:
      window: side of a window; 0 attends over the whole map.
      side: of the maps that the tables of relative positions are for.
    """

    dim: int
    heads: int
    window: int
    side: int

    def setup(self) -> None:
        self.qkv = Linear(self.dim, 3 * self.dim)
        self.proj = Linear(self.dim, self.dim)
        # Upstream begins with zeros, too.
        shape = (2 * self.side - 1, self.dim // self.heads)
        self.rel_pos_h = self.param("rel_pos_h", nn.initializers.zeros, shape)
        self.rel_pos_w = self.param("rel_pos_w", nn.initializers.zeros, shape)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        h, w = x.shape[1:3]
        q, k, v = self.qkv.split(x, 3)
        if self.window:
            fills = jnp.split(self.qkv.bias, 3)
            q, k, v = (
                partition(t, self.window, fill) for t, fill in zip((q, k, v), fills, strict=True)
            )
        n, kh, kw, _ = q.shape
        q, k, v = (t.reshape(n, kh, kw, self.heads, -1) for t in (q, k, v))
        # From queries that are not scaled.
        high, wide = relative_rows(self.rel_pos_h, kh), relative_rows(self.rel_pos_w, kw)
        rows = jnp.einsum("nyxed,ykd->nyxek", q, high.astype(q.dtype))
        columns = jnp.einsum("nyxed,xkd->nyxek", q, wide.astype(q.dtype))
        out = attend_on_map(q, k, v, rows, columns).reshape(n, kh, kw, self.dim)
        return self.proj(unpartition(out, h, w) if self.window else out)


def relative_rows(table: Float[Array, "r d"], size: int) -> Float[Array, "size size d"]:
    """The row of a table for each place of a query and of a key along one axis.

    Upstream: get_rel_pos, linear interpolation of tables for other sizes included.
    """
    length = 2 * size - 1
    if table.shape[0] != length:
        table = jnp.matmul(bilinear_matrix(table.shape[0], length), table, precision="highest")
    places = np.arange(size)
    return table[places[:, None] - places + size - 1]


class Block(nn.Module):
    """Pre-norm transformer block."""

    dim: int
    heads: int
    window: int
    side: int

    def setup(self) -> None:
        self.norm1 = LayerNorm()
        self.attn = Attention(self.dim, self.heads, self.window, self.side)
        self.norm2 = LayerNorm()
        self.mlp = Mlp((self.dim, 4 * self.dim, self.dim), gelu)

    def __call__(
        self, x: Float[Array, "b h w c"], keep: Float[Array, "2 b"] | None = None
    ) -> Float[Array, "b h w c"]:
        """
        Args:
          keep: what each image's two branches are multiplied by; None: by nothing.
        """
        attention, mlp = (None, None) if keep is None else keep
        x = x + scale_branch(self.attn(self.norm1(x).astype(x.dtype)), attention)
        return x + scale_branch(self.mlp(self.norm2(x).astype(x.dtype)), mlp)


class PatchEmbed(nn.Module):
    """Patches that do not overlap, as a convolution."""

    dim: int
    patch: int
    dtype: DTypeLike

    def setup(self) -> None:
        side = self.patch
        self.proj = nn.Conv(self.dim, (side, side), strides=side, padding="VALID", dtype=self.dtype)

    def __call__(self, image: Float[Array, "b H W 3"]) -> Float[Array, "b h w c"]:
        return self.proj(image)


class Vit(nn.Module):
    """Patches, blocks, and a neck of two convolutions.

    Attributes:
      dim: channels of the embedding.
      drop_path: chance that an image skips a residual branch of the last block, less for earlier
        ones. Only where an rng "drop_path" is given.
      remat: blocks are computed again on the way back instead of stored.
    """

    config: VitConfig
    dim: int
    dtype: DTypeLike = jnp.float32
    drop_path: float = 0.0
    remat: bool = False

    def setup(self) -> None:
        c = self.config
        self.patch_embed = PatchEmbed(c.embed_dim, c.patch, self.dtype)
        self.pos_embed = self.param("pos_embed", table_init, (1, *c.pos_embed_grid, c.embed_dim))
        make = nn.remat(Block) if self.remat else Block
        self.blocks = [
            make(c.embed_dim, c.num_heads, 0, max(c.pos_embed_grid))
            if i in c.global_att_blocks
            else make(c.embed_dim, c.num_heads, c.window, c.window)
            for i in range(c.depth)
        ]
        self.neck = [
            nn.Conv(self.dim, (1, 1), use_bias=False, dtype=self.dtype),
            LayerNorm(),
            nn.Conv(self.dim, (3, 3), padding=1, use_bias=False, dtype=self.dtype),
            LayerNorm(),
        ]

    def __call__(self, image: Float[Array, "b H W 3"]) -> Float[Array, "b h w d"]:
        """The embedding of normalised RGB whose sides are multiples of the patch's."""
        x = self.patch_embed(image)
        x = x + self.position(*x.shape[1:3]).astype(self.dtype)
        keep = draw_branches(self, self.drop_path, self.config.depth, image.shape[0])
        for i, block in enumerate(self.blocks):
            x = block(x, None if keep is None else keep[i])
        for layer in self.neck:
            x = layer(x).astype(self.dtype)
        return x

    def position(self, height: int, width: int) -> Float[Array, "1 h w c"]:
        """The position table, stretched where the grid is another."""
        if self.pos_embed.shape[1:3] == (height, width):
            return self.pos_embed
        return bicubic(self.pos_embed, height, width)
