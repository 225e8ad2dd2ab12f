"""The two-way transformer: tokens read the image and the image reads the tokens.

Upstream: sam2/modeling/sam/transformer.py, TwoWayTransformer.

Difference from upstream, exact: there are about eight tokens and 4096 image positions, so no
projection is applied to the image side. In token-to-image attention the key matrix moves to the
query (its bias shifts all scores of a row alike and leaves the softmax) and the value matrix moves
behind the average; in image-to-token attention the query matrix moves to the key, and the value and
output matrices are merged per token.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from sam_jax.models.layers import LayerNorm, Linear, Mlp

Tokens = Float[Array, "n s d"]
Image = Float[Array, "k t d"]  # k = n, or 1 while the image is the same for all prompts
Valid = Bool[Array, "n s"]


# Scores leave the product, and pass the softmax, in float32 whatever the compute dtype.
_einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)
_matmul = partial(jnp.matmul, preferred_element_type=jnp.float32)


class Attention(nn.Module):
    """Multi-head attention between tokens, or between tokens and image.

    Attributes:
      inner: width of queries, keys and values; `dim` or half of it.
    """

    dim: int
    inner: int
    heads: int

    def setup(self) -> None:
        self.q_proj = Linear(self.dim, self.inner)
        self.k_proj = Linear(self.dim, self.inner)
        self.v_proj = Linear(self.dim, self.inner)
        self.out_proj = Linear(self.inner, self.dim)

    @property
    def scale(self) -> float:
        return (self.inner // self.heads) ** -0.5

    def _split(self, x: Float[Array, "... inner"]) -> Float[Array, "... heads e"]:
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def _matrix(self, layer: Linear, dtype: DTypeLike) -> Float[Array, "d heads e"]:
        return self._split(layer.matrix.astype(dtype))

    def tokens(self, q: Tokens, k: Tokens, v: Tokens, valid: Valid) -> Tokens:
        """Tokens read tokens."""
        q, k, v = (
            self._split(self.q_proj(q)),
            self._split(self.k_proj(k)),
            self._split(self.v_proj(v)),
        )
        scores = _einsum("nqhe,nkhe->nhqk", q, k) * self.scale
        weights = jax.nn.softmax(jnp.where(valid[:, None, None], scores, -jnp.inf)).astype(v.dtype)
        out = jnp.einsum("nhqk,nkhe->nqhe", weights, v)
        return self.out_proj(out.reshape(*out.shape[:2], -1))

    def tokens_to_image(self, q: Tokens, k: Image, v: Image) -> Tokens:
        """Tokens read the image: q are tokens, k the image with its positions, v without."""
        n, s, _ = q.shape
        q = self._split(self.q_proj(q)) * self.scale
        q = jnp.einsum("nshe,dhe->nhsd", q, self._matrix(self.k_proj, q.dtype))
        # All columns that read the same image in one product.
        q = q.reshape(k.shape[0], -1, self.dim)  # [k n/k*heads*s d]
        weights = jax.nn.softmax(_einsum("kcd,ktd->kct", q, k)).astype(v.dtype)
        out = jnp.einsum("kct,ktd->kcd", weights, v).reshape(n, self.heads, s, self.dim)
        out = jnp.einsum("nhsd,dhe->nshe", out, self._matrix(self.v_proj, v.dtype))
        out = out.reshape(n, s, -1) + self.v_proj.bias.astype(v.dtype)
        return self.out_proj(out)

    def image_to_tokens(
        self, q: Image, k: Tokens, v: Tokens, valid: Valid
    ) -> Float[Array, "n t d"]:
        """The image reads the tokens: q the image with its positions, k and v tokens."""
        n, s, _ = k.shape
        k = self._split(self.k_proj(k)) * self.scale
        bias = jnp.einsum("nshe,he->nhs", k, self._split(self.q_proj.bias.astype(k.dtype)))
        k = jnp.einsum("nshe,dhe->ndhs", k, self._matrix(self.q_proj, k.dtype))
        scores = _matmul(q, k.reshape(n, self.dim, -1))  # [n t heads*s]
        scores = scores.reshape(n, -1, self.heads, s) + bias[:, None]
        weights = jax.nn.softmax(jnp.where(valid[:, None, None], scores, -jnp.inf))
        out = self.out_proj.matrix.astype(v.dtype).reshape(self.heads, -1, self.dim)
        v = jnp.einsum("nshe,hed->nhsd", self._split(self.v_proj(v)), out)
        read = weights.astype(v.dtype).reshape(n, q.shape[1], -1) @ v.reshape(n, -1, self.dim)
        return read + self.out_proj.bias.astype(v.dtype)


class TwoWayBlock(nn.Module):
    """Tokens read tokens, tokens read the image, an MLP, the image reads the tokens.

    Attributes:
      first: the first block's self-attention replaces the tokens and ignores their positions.
    """

    dim: int
    heads: int
    mlp_dim: int
    first: bool

    def setup(self) -> None:
        self.self_attn = Attention(self.dim, self.dim, self.heads)
        self.cross_attn_token_to_image = Attention(self.dim, self.dim // 2, self.heads)
        self.mlp = Mlp((self.dim, self.mlp_dim, self.dim))
        self.cross_attn_image_to_token = Attention(self.dim, self.dim // 2, self.heads)
        # 1e-5 here, 1e-6 in the encoders: PyTorch's default, kept by upstream.
        self.norm1, self.norm2, self.norm3, self.norm4 = (LayerNorm(epsilon=1e-5) for _ in range(4))

    def __call__(
        self, x: Tokens, image: Image, token_pe: Tokens, image_pe: Float[Array, "t d"], valid: Valid
    ) -> tuple[Tokens, Float[Array, "n t d"]]:
        dtype = x.dtype
        if self.first:
            x = self.self_attn.tokens(x, x, x, valid)
        else:
            x = x + self.self_attn.tokens(x + token_pe, x + token_pe, x, valid)
        x = self.norm1(x).astype(dtype)
        x = x + self.cross_attn_token_to_image.tokens_to_image(
            x + token_pe, image + image_pe, image
        )
        x = self.norm2(x).astype(dtype)
        x = self.norm3(x + self.mlp(x)).astype(dtype)
        image = image + self.cross_attn_image_to_token.image_to_tokens(
            image + image_pe, x + token_pe, x, valid
        )
        return x, self.norm4(image).astype(dtype)


class TwoWayTransformer(nn.Module):
    """Blocks and a last look of the tokens at the image."""

    depth: int
    dim: int
    heads: int
    mlp_dim: int

    def setup(self) -> None:
        self.layers = [
            TwoWayBlock(self.dim, self.heads, self.mlp_dim, i == 0) for i in range(self.depth)
        ]
        self.final_attn_token_to_image = Attention(self.dim, self.dim // 2, self.heads)
        self.norm_final_attn = LayerNorm(epsilon=1e-5)

    def __call__(
        self, tokens: Tokens, image: Image, image_pe: Float[Array, "t d"], valid: Valid
    ) -> tuple[Tokens, Float[Array, "n t d"]]:
        """Updated tokens and image.

        Args:
          tokens: also their own positional term in every later use.
          image: embedding plus dense prompt, flattened row by row.
          valid: false for tokens nobody may read.
        """
        x = tokens
        for layer in self.layers:
            x, image = layer(x, image, tokens, image_pe, valid)
        read = self.final_attn_token_to_image.tokens_to_image(x + tokens, image + image_pe, image)
        return self.norm_final_attn(x + read).astype(x.dtype), image
