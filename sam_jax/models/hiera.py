"""Hiera trunk and FPN neck: the image encoder of SAM 2.

Upstream: sam2/modeling/backbones/hieradet.py (Hiera), image_encoder.py (FpnNeck).

Differences from upstream, all exact:
- a "feature map" between blocks is either the whole grid or, where the grid divides into windows,
  the windows themselves as a batch of small maps. Consecutive blocks of equal window skip the
  partition; 2x2 pooling inside a window gives the next stage's window.
- a padded token's query, key and value are the qkv bias, so qkv runs on real tokens only.
- the two fine neck levels are used through one more 1x1 convolution of the mask decoder; the two
  matrices are multiplied first and the 256-channel maps never exist.
"""

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sam_jax.config import HieraConfig
from sam_jax.models.drop_path import draw_branches, scale_branch
from sam_jax.models.layers import LayerNorm, Linear, Mlp, dot, gelu, max_pool_2x2, table_init
from sam_jax.ops.attention import attend
from sam_jax.ops.formulation import for_cpu
from sam_jax.ops.resize import bicubic
from sam_jax.ops.windows import partition, unpartition
from sam_jax.types import Size

_TOGETHER = 1 << 13  # tokens of an image's windows that a CPU works on at once


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, or over the whole map, with optional query pooling.

    Attributes:
      window: side of a window; 0 attends over the whole map.
      pool: halve the queries by 2x2 max pooling after their projection.
    """

    dim: int
    dim_out: int
    heads: int
    window: int
    pool: bool

    def setup(self) -> None:
        self.qkv = Linear(self.dim, 3 * self.dim_out)
        self.proj = Linear(self.dim_out, self.dim_out)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ho wo d"]:
        h, w = x.shape[1:3]
        q, k, v = self.qkv.split(x, 3)
        cut = self.window and (h, w) != (self.window, self.window)
        if cut:
            fills = jnp.split(self.qkv.bias, 3)
            q, k, v = (
                partition(t, self.window, fill) for t, fill in zip((q, k, v), fills, strict=True)
            )
        if self.pool:
            q = max_pool_2x2(q)
            h, w = h // 2, w // 2
        n, qh, qw, _ = q.shape
        q, k, v = (t.reshape(n, -1, self.heads, self.dim_out // self.heads) for t in (q, k, v))
        out = attend(q, k, v).reshape(n, qh, qw, self.dim_out)
        if cut:
            out = unpartition(out, h, w)
        return self.proj(out)


class Block(nn.Module):
    """Pre-norm transformer block; the first of a stage also pools and widens."""

    dim: int
    dim_out: int
    heads: int
    window: int
    pool: bool

    def setup(self) -> None:
        self.norm1 = LayerNorm()
        self.attn = WindowAttention(self.dim, self.dim_out, self.heads, self.window, self.pool)
        self.norm2 = LayerNorm()
        self.mlp = Mlp((self.dim_out, 4 * self.dim_out, self.dim_out), gelu)
        if self.dim != self.dim_out:
            self.proj = Linear(self.dim, self.dim_out)

    def __call__(
        self, x: Float[Array, "n h w c"], keep: Float[Array, "2 b"] | None = None
    ) -> Float[Array, "n ho wo d"]:
        """
        Args:
          x: maps, or windows of maps, those of an image together.
          keep: what each image's two branches are multiplied by; None: by nothing.
        """
        attention, mlp = (None, None) if keep is None else keep
        y = self.norm1(x).astype(x.dtype)
        # The shortcut of a widening block starts from the normalised map, not from x.
        shortcut = x if self.dim == self.dim_out else self.proj(y)
        if self.pool:
            shortcut = max_pool_2x2(shortcut)
        x = shortcut + scale_branch(self.attn(y), attention)
        return x + scale_branch(self.mlp(self.norm2(x).astype(x.dtype)), mlp)


class PatchEmbed(nn.Module):
    """7x7 convolution, stride 4, padding 3."""

    dim: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.proj = nn.Conv(self.dim, (7, 7), strides=4, padding=3, dtype=self.dtype)

    def __call__(self, image: Float[Array, "b H W 3"]) -> Float[Array, "b h w c"]:
        return self.proj(image)


class Hiera(nn.Module):
    """Four stages of blocks at strides 4, 8, 16 and 32.

    Attributes:
      drop_path: chance that an image skips a residual branch of the last block, less for earlier
        ones. Only where an rng "drop_path" is given.
      remat: blocks are computed again on the way back instead of stored.
    """

    config: HieraConfig
    dtype: DTypeLike = jnp.float32
    drop_path: float = 0.0
    remat: bool = False

    def setup(self) -> None:
        c = self.config
        self.patch_embed = PatchEmbed(c.embed_dim, self.dtype)
        self.pos_embed = self.param("pos_embed", table_init, (1, *c.pos_embed_grid, c.embed_dim))
        window = c.window_spec[0]
        self.pos_embed_window = self.param(
            "pos_embed_window", table_init, (1, window, window, c.embed_dim)
        )
        make = nn.remat(Block) if self.remat else Block
        blocks, stage, dim = [], 0, c.embed_dim
        for i in range(c.depth):
            # A pooling block still cuts with the window of the stage it comes from.
            side = 0 if i in c.global_att_blocks else c.window_spec[stage]
            pool = i in c.pool_blocks
            stage += pool
            dim_out = c.stage_dims[stage]
            blocks.append(make(dim, dim_out, c.num_heads * 2**stage, side, pool))
            dim = dim_out
        self.blocks = blocks

    def __call__(self, image: Float[Array, "b H W 3"]) -> list[Float[Array, "n s t c"]]:
        """Output of the last block of each stage, as the grid [b h w c] or as its windows.

        Args:
          image: normalised RGB, height and width multiples of 32.
        """
        x = self.patch_embed(image)  # [b H/4 W/4 c]
        x = x + self.position(*x.shape[1:3]).astype(self.dtype)
        height, width = x.shape[1:3]
        keep = self._keep(image.shape[0])
        outputs = []
        for i, block in enumerate(self.blocks):
            side = block.window
            if x.shape[1:3] != (side, side):
                x = unpartition(x, height, width)
                if side and height % side == 0 and width % side == 0:
                    x = partition(x, side)
            windows = height * width // (x.shape[1] * x.shape[2])  # of an image; 1 is the whole map
            x = _on_some(block, x, None if keep is None else keep[i], windows)
            if block.pool:
                height, width = height // 2, width // 2
            if i in self.config.stage_ends:
                outputs.append(x)
        return outputs

    def _keep(self, images: Size) -> Float[Array, "blocks 2 b"] | None:
        return draw_branches(self, self.drop_path, self.config.depth, images)

    def position(self, height: int, width: int) -> Float[Array, "1 h w c"]:
        """The background table stretched over the grid plus the window table tiled over it."""
        window = self.pos_embed_window
        side = window.shape[1]
        tiled = jnp.tile(window, (1, height // side, width // side, 1))
        return bicubic(self.pos_embed, height, width) + tiled


def _on_some(
    block: Block, x: Float[Array, "n h w c"], keep: Float[Array, "2 b"] | None, each: int
) -> Float[Array, "n ho wo d"]:
    """block(x, keep); on CPU, of `each` windows of an image some at a time.

    The first stages have many tokens, and many more columns inside a block than between blocks: so
    their temporaries are halved, and products find more of their inputs in the caches. (Where a
    mesh of CPUs trains, each part's gradients are added up over it.)
    """
    most = max(1, _TOGETHER // (x.shape[1] * x.shape[2]))
    some = max(s for s in range(1, min(most, each) + 1) if each % s == 0)
    if not for_cpu() or some == each or some < most // 4:
        return block(x, keep)
    # Never some images at a time: devices may have parts of them.
    parts = rearrange(x, "(b p s) h w c -> p (b s) h w c", p=each // some, s=some)
    scan = nn.scan(
        lambda block, _, part: (None, block(part, keep)),
        variable_broadcast="params",
        split_rngs={"params": False},
    )
    _, parts = scan(block, None, parts)
    return rearrange(parts, "p (b s) h w c -> (b p s) h w c", s=some)


class FpnNeck(nn.Module):
    """Lateral 1x1 convolutions; the stride-32 map is added, upsampled, to the stride-16 one."""

    stage_dims: tuple[int, ...]
    dim: int

    def setup(self) -> None:
        # Upstream numbers the levels from the coarsest.
        self.convs = [Linear(c, self.dim, conv=True) for c in reversed(self.stage_dims)]

    def coarse(
        self, stride16: Float[Array, "b h w c3"], stride32: Float[Array, "b h2 w2 c4"]
    ) -> Float[Array, "b h w d"]:
        top = self.convs[0](stride32)
        return self.convs[1](stride16) + top.repeat(2, axis=1).repeat(2, axis=2)

    def fine(self, x: Float[Array, "n s t c"], level: int, head: Linear) -> Float[Array, "n s t e"]:
        """head(lateral(x)) of level 0 (stride 4) or 1 (stride 8), as one product."""
        lateral = self.convs[3 - level]
        kernel = lateral.matrix @ head.matrix
        bias = lateral.bias @ head.matrix + head.bias
        return dot(x, kernel) + bias.astype(x.dtype)


class ImageEncoder(nn.Module):
    """Trunk and neck."""

    config: HieraConfig
    dim: int
    dtype: DTypeLike = jnp.float32
    drop_path: float = 0.0
    remat: bool = False

    def setup(self) -> None:
        self.trunk = Hiera(self.config, self.dtype, self.drop_path, self.remat)
        self.neck = FpnNeck(self.config.stage_dims, self.dim)

    def __call__(
        self, image: Float[Array, "b H W 3"], heads: tuple[Linear, ...]
    ) -> tuple[Float[Array, "b h w d"], tuple[Array, ...]]:
        """The stride-16 embedding, and the fine levels (stride 4, 8) seen through `heads`."""
        height, width = image.shape[1:3]
        *fine, stride16, stride32 = self.trunk(image)
        embed = self.neck.coarse(
            unpartition(stride16, height // 16, width // 16),
            unpartition(stride32, height // 32, width // 32),
        )
        high_res = tuple(
            unpartition(self.neck.fine(x, level, head), height // s, width // s)
            for level, (x, head, s) in enumerate(zip(fine, heads, (4, 8), strict=True))
        )
        return embed, high_res
