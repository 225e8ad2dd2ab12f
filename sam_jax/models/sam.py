"""SAM 1: all parameters in one tree, named as in the official checkpoints.

Upstream: segment_anything/modeling/sam.py, Sam.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from sam_jax.config import SamConfig
from sam_jax.models.mask_decoder import MaskDecoder
from sam_jax.models.prompt_encoder import PromptEncoder
from sam_jax.models.text import WordTower
from sam_jax.models.vit import Vit
from sam_jax.ops.colour import normalise
from sam_jax.types import ImageFeatures, Masks, Prompts, PromptTokens


class Sam(nn.Module):
    """The parts of SAM 1, under the names that `Sam2` has for them: what `sam_jax.image` calls.

    Attributes:
      dtype: what products are computed in; parameters, norms, softmax, heads and mask logits are
        float32.
      drop_path, remat: of the image encoder, for training; see `Vit`.
    """

    config: SamConfig
    dtype: DTypeLike = jnp.float32
    drop_path: float = 0.0
    remat: bool = False

    def setup(self) -> None:
        c = self.config
        self.image_encoder = Vit(c.encoder, c.dim, self.dtype, self.drop_path, self.remat)
        self.prompt_encoder = PromptEncoder(
            c.dim, c.image_size, c.grid, c.mask_channels, self.dtype, c.text_dim
        )
        self.mask_decoder = MaskDecoder(c.decoder, c.dim, self.dtype)
        if c.words is not None:
            self.text_encoder = WordTower(c.words, self.dtype)

    def encode_image(self, images: Float[Array, "b H W 3"]) -> ImageFeatures:
        """Encode RGB images in 0..1 at the model's input size."""
        return ImageFeatures(embed=self.image_encoder(normalise(images)), high_res=())

    def encode_text(self, tokens: Int[Array, "n t"]) -> Float[Array, "n c"]:
        """Embeddings of length 1, by the model's own tower; tokens of `sam_jax.io.words`."""
        return self.text_encoder(tokens)

    def encode_prompts(self, prompts: Prompts) -> PromptTokens:
        return self.prompt_encoder(prompts)

    def without_memory(self, embed: Float[Array, "*b h w d"]) -> Float[Array, "*b h w d"]:
        """What the decoder sees of an image: SAM 1 knows no memory, nor a word for its lack."""
        return embed

    def decode_masks(
        self, embed: Float[Array, "*n h w d"], high_res: tuple[Array, ...], prompts: PromptTokens
    ) -> Masks:
        """Masks of several prompts on one image.

        Args:
          embed: of the image, one for all prompts or one for each.
          high_res: empty.
        """
        position = self.prompt_encoder.dense_position()
        return self.mask_decoder(embed, high_res, position, prompts)

    def __call__(self, images: Float[Array, "b H W 3"], prompts: Prompts) -> Masks:
        """Every parameter takes part once: this is what `init` traces."""
        features = self.encode_image(images)
        if self.config.words is not None:
            self.encode_text(jnp.zeros((1, 1), jnp.int32))
        return self.decode_masks(features.embed[0], (), self.encode_prompts(prompts))
