"""Points, boxes, masks and text as tokens and maps. The same for SAM 1, SAM 2 and 2.1.

Upstream: sam2/modeling/sam/prompt_encoder.py, PromptEncoder.

Difference from upstream: nothing is appended here. A box is two labelled points and the not-a-point
token is an explicit label, so that a prompt says all that the decoder will see; PAD is a slot no
attention reads (upstream pads by appending not-a-point, which changes the masks).

The text token is described in the SAM paper (7.5 and D.5) and was never released, so its form is
ours: one linear projection of a CLIP embedding.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sam_jax.models.layers import LayerNorm, Linear, gelu, table_init
from sam_jax.ops.position import fourier_code, fourier_grid
from sam_jax.types import NOT_A_POINT, PAD, Prompts, PromptTokens

NO_TEXT = (
    "has no text projection, nor has any released checkpoint (that of the SAM paper was never "
    "published), so its answer to a text would be noise. Let a detector turn the text into boxes "
    "(sam_jax.text_boxes), or use a model that was trained with text: docs/text.md"
)


class FourierEmbedding(nn.Module):
    """The random matrix of the Fourier position code: drawn once, kept in the checkpoint."""

    dim: int

    def setup(self) -> None:
        self.positional_encoding_gaussian_matrix = self.param(
            "positional_encoding_gaussian_matrix", nn.initializers.normal(1.0), (2, self.dim // 2)
        )


class PromptEncoder(nn.Module):
    """Prompts to decoder input.

    Attributes:
      image_size: side of the model input in pixels.
      grid: side of the image embedding.
      text_dim: width of text embeddings; 0 for a model that takes none.
    """

    dim: int
    image_size: int
    grid: int
    mask_channels: int
    dtype: DTypeLike = jnp.float32
    text_dim: int = 0

    def setup(self) -> None:
        self.pe_layer = FourierEmbedding(self.dim)
        # negative click, positive click, box top-left, box bottom-right
        self.point_embeddings = [
            self.param(f"point_embeddings_{i}", table_init, (1, self.dim)) for i in range(4)
        ]
        self.not_a_point_embed = self.param("not_a_point_embed", table_init, (1, self.dim))
        self.no_mask_embed = self.param("no_mask_embed", table_init, (1, self.dim))
        conv = partial(nn.Conv, padding="VALID", dtype=self.dtype)
        c = self.mask_channels
        self.mask_downscaling = [
            conv(c // 4, (2, 2), strides=2),
            LayerNorm(),
            gelu,
            conv(c, (2, 2), strides=2),
            LayerNorm(),
            gelu,
            conv(self.dim, (1, 1)),
        ]
        if self.text_dim:
            self.text_projection = Linear(self.text_dim, self.dim)

    @property
    def gaussian(self) -> Float[Array, "2 f"]:
        return self.pe_layer.positional_encoding_gaussian_matrix

    def dense_position(self) -> Float[Array, "h w d"]:
        """Fourier code of the image embedding's cells."""
        return fourier_grid(self.grid, self.grid, self.gaussian)

    def __call__(self, prompts: Prompts) -> PromptTokens:
        sparse, valid = self._points(prompts).astype(self.dtype), prompts.labels != PAD
        if prompts.text.shape[0]:
            sparse = jnp.concatenate([sparse, self._text(prompts)[:, None]], 1)
            valid = jnp.concatenate([valid, prompts.has_text[:, None]], 1)
        return PromptTokens(sparse=sparse, valid=valid, dense=self._mask(prompts))

    def _points(self, prompts: Prompts) -> Float[Array, "n p d"]:
        labels = prompts.labels[..., None]
        # Prompts name pixels; the code is of their centres.
        code = fourier_code((prompts.points + 0.5) / self.image_size, self.gaussian)
        code = jnp.where(labels == NOT_A_POINT, 0, code)
        code += jnp.where(labels == NOT_A_POINT, self.not_a_point_embed, 0)
        for label, embedding in enumerate(self.point_embeddings):
            code += jnp.where(labels == label, embedding, 0)
        return jnp.where(labels == PAD, 0, code)

    def _text(self, prompts: Prompts) -> Float[Array, "n d"]:
        if not self.text_dim:
            raise ValueError(f"a text prompt: the model {NO_TEXT}")
        if prompts.text.shape[1] != self.text_dim:
            raise ValueError(
                f"text embeddings must be {self.text_dim} wide, got {prompts.text.shape[1]}: this "
                "model was trained with another text encoder"
            )
        token = self.text_projection(prompts.text.astype(self.dtype))
        return jnp.where(prompts.has_text[:, None], token, 0)

    def _mask(self, prompts: Prompts) -> Float[Array, "k h w d"]:
        k = prompts.mask.shape[0]
        shape = (max(k, 1), self.grid, self.grid, self.dim)
        absent = jnp.broadcast_to(self.no_mask_embed.astype(self.dtype), shape)

        def embed() -> Array:
            x = prompts.mask.astype(self.dtype)
            for layer in self.mask_downscaling:
                x = layer(x).astype(self.dtype)
            return jnp.where(prompts.has_mask[:, None, None, None], x, absent)

        if k == 0:
            return absent
        # Several masks are computed always: whether one of them is given is not known to a device
        # that holds some of them.
        if self.is_initializing() or k != 1:
            return embed()
        return jax.lax.cond(prompts.has_mask.any(), embed, lambda: absent)
