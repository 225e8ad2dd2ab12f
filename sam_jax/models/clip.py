"""CLIP: a text and an image tower that meet in one space of embeddings.

Upstream: transformers/models/clip/modeling_clip.py, CLIPModel. Parameters are named as in its
checkpoints. New is what the SAM paper (D.5) adds: in the last layer of the image tower the output
token can be kept from seeing what lies outside a mask.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from sam_jax.clip_config import ClipConfig, ClipImageConfig
from sam_jax.models.layers import kernel_init, table_init
from sam_jax.models.text import ClipNorm, Encoder, TextTower


class ImageEmbeddings(nn.Module):
    """The output token, and patches with their places."""

    config: ClipImageConfig
    dtype: DTypeLike

    def setup(self) -> None:
        c = self.config
        self.class_embedding = self.param("class_embedding", table_init, (c.width,))
        self.patch_embedding = nn.Conv(
            c.width,
            (c.patch, c.patch),
            strides=c.patch,
            padding="VALID",
            use_bias=False,
            dtype=self.dtype,
        )
        self.position_embedding = self.param(
            "position_embedding", table_init, (c.grid**2 + 1, c.width)
        )

    def __call__(self, images: Float[Array, "b H W 3"]) -> Float[Array, "b t d"]:
        b, width = images.shape[0], self.config.width
        patches = self.patch_embedding(images.astype(self.dtype)).reshape(b, -1, width)
        output = jnp.broadcast_to(self.class_embedding.astype(self.dtype), (b, 1, width))
        return jnp.concatenate([output, patches], 1) + self.position_embedding


class ImageTower(nn.Module):
    """Images to one vector each, before projection."""

    config: ClipImageConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c = self.config
        self.embeddings = ImageEmbeddings(c, self.dtype)
        self.pre_layrnorm = ClipNorm()  # upstream's spelling
        self.encoder = Encoder(c.width, c.depth, c.num_heads, self.dtype)
        self.post_layernorm = ClipNorm()

    def __call__(
        self, images: Float[Array, "b H W 3"], visible: Bool[Array, "k t"]
    ) -> Float[Array, "b d"]:
        """Images as `io.clip_input` makes them; `visible` as of `Clip.encode_image`."""
        x = self.pre_layrnorm(self.embeddings(images)).astype(self.dtype)
        everything = jnp.ones((1, x.shape[1], x.shape[1]), bool)
        is_output = jnp.arange(x.shape[1])[:, None] == 0
        x = self.encoder(x, everything, ~is_output | visible[:, None])
        return self.post_layernorm(x[:, 0])


class Clip(nn.Module):
    """The whole model.

    Attributes:
      dtype: what products are computed in; parameters, norms and embeddings are float32.
    """

    config: ClipConfig
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c = self.config
        self.text_model = TextTower(c.text, self.dtype)
        self.vision_model = ImageTower(c.image, self.dtype)
        self.text_projection = nn.Dense(c.embed_dim, use_bias=False, kernel_init=kernel_init)
        self.visual_projection = nn.Dense(c.embed_dim, use_bias=False, kernel_init=kernel_init)
        # Of the contrastive loss; part of every checkpoint.
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(2.6592), ())

    def encode_text(self, tokens: Int[Array, "n t"]) -> Float[Array, "n c"]:
        """Embeddings of length 1 of texts, each closed by the end-of-text token."""
        return _unit(self.text_projection(self.text_model(tokens)))

    def encode_image(
        self, images: Float[Array, "b H W 3"], visible: Bool[Array, "k t"]
    ) -> Float[Array, "b c"]:
        """Embeddings of length 1.

        Args:
          images: as `io.clip_input` makes them.
          visible: what the output token sees in the last layer: itself (first), and the patches,
            row by row. All true is CLIP as published; k = b, or 1 when shared by all.
        """
        return _unit(self.visual_projection(self.vision_model(images, visible)))

    def __call__(
        self,
        images: Float[Array, "b H W 3"],
        visible: Bool[Array, "k t"],
        tokens: Int[Array, "n t2"],
    ) -> tuple[Array, Array]:
        """Every parameter takes part once: this is what `init` traces."""
        return self.encode_image(images, visible), self.encode_text(tokens)


def abstract_clip_params(module: Clip) -> dict[str, Any]:
    """Names, shapes and dtypes of a CLIP's parameters, without computing any."""
    c = module.config.image
    images, visible = (
        jnp.zeros((1, c.image_size, c.image_size, 3)),
        jnp.ones((1, c.grid**2 + 1), bool),
    )
    inputs = (images, visible, jnp.zeros((1, 1), jnp.int32))
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs)["params"])


def _unit(x: Float[Array, "n c"]) -> Float[Array, "n c"]:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
