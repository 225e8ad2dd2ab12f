"""SAM 2 and SAM 2.1: all parameters in one tree, named as in the official checkpoints.

Upstream: sam2/modeling/sam2_base.py, SAM2Base.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sam_jax.config import Sam2Config
from sam_jax.models.hiera import ImageEncoder
from sam_jax.models.layers import Linear, Mlp, table_init
from sam_jax.models.mask_decoder import MaskDecoder
from sam_jax.models.memory_attention import MemoryAttention
from sam_jax.models.memory_encoder import MemoryEncoder
from sam_jax.models.prompt_encoder import PromptEncoder
from sam_jax.types import ImageFeatures, Masks, Prompts, PromptTokens

# ImageNet statistics of RGB in 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Sam2(nn.Module):
    """The parts of SAM 2. The functions of `sam_jax.image` call them.

    Attributes:
      dtype: what products are computed in; parameters, norms, softmax, heads and mask logits are
        float32.
    """

    config: Sam2Config
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c, m = self.config, self.config.memory
        self.image_encoder = ImageEncoder(c.trunk, c.dim, self.dtype)
        self.prompt_encoder = PromptEncoder(
            c.dim, c.image_size, c.grid, c.mask_channels, self.dtype
        )
        self.mask_decoder = MaskDecoder(c.decoder, c.dim, self.dtype)
        self.memory_attention = MemoryAttention(
            c.dim, m.dim, m.mlp_dim, m.attention_layers, self.dtype
        )
        self.memory_encoder = MemoryEncoder(c.dim, m.dim, m.fuser_layers, self.dtype)
        self.maskmem_tpos_enc = self.param(
            "maskmem_tpos_enc", table_init, (m.num_maskmem, 1, 1, m.dim)
        )
        self.no_mem_embed = self.param("no_mem_embed", table_init, (1, 1, c.dim))
        # Never used by the released models, but part of every checkpoint.
        self.no_mem_pos_enc = self.param("no_mem_pos_enc", table_init, (1, 1, c.dim))
        self.no_obj_ptr = self.param("no_obj_ptr", table_init, (1, c.dim))
        self.mask_downsample = nn.Conv(1, (4, 4), strides=4, padding="VALID", dtype=self.dtype)
        self.obj_ptr_proj = Mlp((c.dim, c.dim, c.dim, c.dim))
        if m.no_object_embed:
            self.no_obj_embed_spatial = self.param("no_obj_embed_spatial", table_init, (1, m.dim))
        if m.pointer_time_encoding:
            self.obj_ptr_tpos_proj = Linear(c.dim, m.dim)

    def encode_image(self, images: Float[Array, "b H W 3"]) -> ImageFeatures:
        """Encode RGB images in 0..1 at the model's input size."""
        normalised = (images - jnp.asarray(MEAN)) / jnp.asarray(STD)
        embed, high_res = self.image_encoder(normalised, self.mask_decoder.high_res_heads)
        return ImageFeatures(embed=embed, high_res=high_res)

    def encode_prompts(self, prompts: Prompts) -> PromptTokens:
        return self.prompt_encoder(prompts)

    def without_memory(self, embed: Float[Array, "b h w d"]) -> Float[Array, "b h w d"]:
        """What the decoder sees of an image, or of a video's first prompted frame."""
        return embed + self.no_mem_embed.astype(embed.dtype)

    def decode_masks(
        self, embed: Float[Array, "h w d"], high_res: tuple[Array, ...], prompts: PromptTokens
    ) -> Masks:
        """Masks of several prompts on one image.

        Args:
          embed: the embedding as the decoder should see it: see `without_memory`.
          high_res: one image's fine maps, without a batch axis.
        """
        position = self.prompt_encoder.dense_position()
        return self.mask_decoder(embed, high_res, position, prompts)

    def __call__(self, images: Float[Array, "b H W 3"], prompts: Prompts) -> Masks:
        """Every parameter takes part once: this is what `init` traces."""
        features = self.encode_image(images)
        masks = self.decode_masks(
            self.without_memory(features.embed)[0],
            tuple(x[0] for x in features.high_res),
            self.encode_prompts(prompts),
        )
        mask = images[..., :1]
        memory = self.memory_encoder(features.embed, mask)
        tokens = memory.reshape(memory.shape[0], -1, memory.shape[-1])
        self.memory_attention(
            features.embed,
            features.embed[0],
            tokens,
            tokens,
            jnp.ones(tokens.shape[:2], bool),
            spatial=tokens.shape[1],
        )
        self.mask_downsample(mask)
        pointer = self.obj_ptr_proj(masks.token[:, 0])
        if self.config.memory.pointer_time_encoding:
            self.obj_ptr_tpos_proj(pointer)
        return masks
