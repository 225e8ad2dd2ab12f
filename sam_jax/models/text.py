"""CLIP's text tower, and the transformer that both towers are made of.

Upstream: transformers/models/clip/modeling_clip.py, CLIPTextModel, CLIPEncoder. Parameters are
named as in its checkpoints.

Difference from upstream, exact: padding is not masked. It follows the end of the text, attention is
causal, and only the end is looked at.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from sam_jax.clip_config import ClipTextConfig
from sam_jax.config import WordsConfig
from sam_jax.models.layers import LayerNorm, Linear, table_init

ClipNorm = partial(LayerNorm, epsilon=1e-5)


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The approximation that OpenAI trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention, where a mask allows it."""

    dim: int
    heads: int

    def setup(self) -> None:
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            Linear(self.dim, self.dim) for _ in range(4)
        )

    def __call__(
        self, x: Float[Array, "n t d"], mask: Bool[Array, "k tq t"]
    ) -> Float[Array, "n t d"]:
        n, t, _ = x.shape
        q, k, v = (
            layer(x).reshape(n, t, self.heads, -1)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = jax.nn.dot_product_attention(q, k, v, mask=mask[:, None])  # softmax in float32
        return self.out_proj(out.reshape(n, t, self.dim))


class Mlp(nn.Module):
    dim: int

    def setup(self) -> None:
        self.fc1 = Linear(self.dim, 4 * self.dim)
        self.fc2 = Linear(4 * self.dim, self.dim)

    def __call__(self, x: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
        return self.fc2(quick_gelu(self.fc1(x)))


class Layer(nn.Module):
    dim: int
    heads: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.self_attn = Attention(self.dim, self.heads)
        self.layer_norm1, self.layer_norm2 = ClipNorm(), ClipNorm()
        self.mlp = Mlp(self.dim)

    def __call__(
        self, x: Float[Array, "n t d"], mask: Bool[Array, "k tq t"]
    ) -> Float[Array, "n t d"]:
        x = x + self.self_attn(self.layer_norm1(x).astype(self.dtype), mask)
        return x + self.mlp(self.layer_norm2(x).astype(self.dtype))


class Encoder(nn.Module):
    """The layers of a tower."""

    dim: int
    depth: int
    heads: int
    dtype: DTypeLike

    def setup(self) -> None:
        self.layers = [Layer(self.dim, self.heads, self.dtype) for _ in range(self.depth)]

    def __call__(
        self,
        x: Float[Array, "n t d"],
        mask: Bool[Array, "k t t"],
        last_mask: Bool[Array, "j t t"],
    ) -> Float[Array, "n t d"]:
        """Which token (second axis) may see which (last axis), in all layers and in the last."""
        for layer in self.layers[:-1]:
            x = layer(x, mask)
        return self.layers[-1](x, last_mask)


class TextEmbeddings(nn.Module):
    """Words and their places in the text."""

    config: ClipTextConfig

    def setup(self) -> None:
        c = self.config
        self.token_embedding = self.param("token_embedding", table_init, (c.vocab_size, c.width))
        self.position_embedding = self.param("position_embedding", table_init, (c.context, c.width))

    def __call__(self, tokens: Int[Array, "n t"]) -> Float[Array, "n t d"]:
        if tokens.shape[1] > self.config.context:
            raise ValueError(
                f"a text of {tokens.shape[1]} tokens, and the model reads {self.config.context}"
            )
        return self.token_embedding[tokens] + self.position_embedding[: tokens.shape[1]]


class TextTower(nn.Module):
    """Tokens to one vector a text, before projection."""

    config: ClipTextConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c = self.config
        self.embeddings = TextEmbeddings(c)
        self.encoder = Encoder(c.width, c.depth, c.num_heads, self.dtype)
        self.final_layer_norm = ClipNorm()

    def __call__(self, tokens: Int[Array, "n t"]) -> Float[Array, "n d"]:
        """Tokens are closed by the end-of-text token; what follows it has no effect."""
        x = self.embeddings(tokens).astype(self.dtype)
        causal = jnp.tril(jnp.ones((1, x.shape[1], x.shape[1]), bool))
        x = self.encoder(x, causal, causal)
        end = self.config.eos_token
        at = (tokens if end == 2 else tokens == end).argmax(1)
        pooled = jnp.take_along_axis(x, at[:, None, None], 1)[:, 0]
        return self.final_layer_norm(pooled)


class WordTower(nn.Module):
    """A model's own, small text tower: words to embeddings of length 1. CLIP's form, our size.

    After the words come the tokens of a text's beginning and its end; see `sam_jax.io.words`.
    """

    config: WordsConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c, count = self.config, len(self.config.words)
        self.tower = TextTower(
            ClipTextConfig(c.width, c.depth, c.num_heads, c.context, count + 2, count + 1),
            self.dtype,
        )

    def __call__(self, tokens: Int[Array, "n t"]) -> Float[Array, "n d"]:
        x = self.tower(tokens)
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
