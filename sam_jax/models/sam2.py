"""SAM 2 and SAM 2.1: all parameters in one tree, named as in the official checkpoints.

Upstream: sam2/modeling/sam2_base.py, SAM2Base.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, BFloat16, Bool, Float, Int

from sam_jax.config import Sam2Config
from sam_jax.models.hiera import ImageEncoder
from sam_jax.models.layers import Linear, Mlp, table_init
from sam_jax.models.mask_decoder import MaskDecoder
from sam_jax.models.memory_attention import MemoryAttention
from sam_jax.models.memory_encoder import MemoryEncoder
from sam_jax.models.prompt_encoder import PromptEncoder
from sam_jax.models.text import WordTower
from sam_jax.ops.colour import normalise
from sam_jax.ops.position import sine_grid, sine_line
from sam_jax.ops.resize import bilinear
from sam_jax.types import (
    ImageFeatures,
    Masks,
    MemoryBank,
    MemoryTokens,
    Prompts,
    PromptTokens,
    Recall,
)

# Probabilities of a mask, 0 to 1, as the memory encoder wants them: -10 to 10.
MEMORY_MASK_SCALE, MEMORY_MASK_BIAS = 20.0, -10.0


class Sam2(nn.Module):
    """The parts of SAM 2. The functions of `sam_jax.image` and `sam_jax.video` call them.

    Attributes:
      dtype: what products are computed in; parameters, norms, softmax, heads and mask logits are
        float32.
      drop_path, remat: of the image encoder, for training; see `Hiera`.
      dropout: of the memory attention, for training.
    """

    config: Sam2Config
    dtype: DTypeLike = jnp.float32
    drop_path: float = 0.0
    remat: bool = False
    dropout: float = 0.0

    def setup(self) -> None:
        c, m = self.config, self.config.memory
        self.image_encoder = ImageEncoder(c.trunk, c.dim, self.dtype, self.drop_path, self.remat)
        self.prompt_encoder = PromptEncoder(
            c.dim, c.image_size, c.grid, c.mask_channels, self.dtype, c.text_dim
        )
        self.mask_decoder = MaskDecoder(c.decoder, c.dim, self.dtype)
        self.memory_attention = MemoryAttention(
            c.dim, m.dim, m.mlp_dim, m.attention_layers, self.dtype, self.dropout
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
        if c.words is not None:
            self.text_encoder = WordTower(c.words, self.dtype)

    def encode_image(self, images: Float[Array, "b H W 3"]) -> ImageFeatures:
        """Encode RGB images in 0..1 at the model's input size."""
        heads = self.mask_decoder.high_res_heads
        embed, high_res = self.image_encoder(normalise(images), heads)
        return ImageFeatures(embed=embed, high_res=high_res)

    def encode_text(self, tokens: Int[Array, "n t"]) -> Float[Array, "n c"]:
        """Embeddings of length 1, by the model's own tower; tokens of `sam_jax.io.words`."""
        return self.text_encoder(tokens)

    def encode_prompts(self, prompts: Prompts) -> PromptTokens:
        return self.prompt_encoder(prompts)

    def without_memory(self, embed: Float[Array, "*b h w d"]) -> Float[Array, "*b h w d"]:
        """What the decoder sees of an image, or of a video's first prompted frame."""
        return embed + self.no_mem_embed.astype(embed.dtype)

    def with_memory(
        self, embed: Float[Array, "h w d"], bank: MemoryBank, recall: Recall
    ) -> Float[Array, "n h w d"]:
        """What the decoder sees of a tracked frame: for each object, in the light of its memory.

        Upstream: _prepare_memory_conditioned_features.
        """
        h, w, d = embed.shape
        n, k, _, _, e = bank.features.shape
        tokens = d // e  # a pointer is cut into as many tokens of the memory's width
        places = jnp.asarray(sine_grid(h, w, e)).reshape(h * w, e)
        if self.config.memory.pointer_time_encoding:
            pointers_pe = self.obj_ptr_tpos_proj(sine_line(recall.pointer_age, d))  # [n q e]
        else:
            pointers_pe = jnp.zeros((*recall.pointer_age.shape, e))
        memory = MemoryTokens(
            maps=bank.features.reshape(n, k, h * w, e),
            maps_pe=places + self.maskmem_tpos_enc[recall.time][:, :, 0],  # [n k h*w e]
            maps_valid=recall.valid,
            pointers=bank.pointers.reshape(n, -1, e),
            pointers_pe=jnp.repeat(pointers_pe, tokens, 1),
            pointers_valid=jnp.repeat(recall.pointer_valid, tokens, 1),
        )
        frame = jnp.broadcast_to(embed, (n, h, w, d))
        return self.memory_attention(frame, jnp.asarray(sine_grid(h, w, d)), memory)

    def decode_masks(
        self, embed: Float[Array, "*n h w d"], high_res: tuple[Array, ...], prompts: PromptTokens
    ) -> Masks:
        """Masks of several prompts on one image.

        Args:
          embed: the embedding as the decoder should see it, one for all prompts or one for each:
            see `without_memory` and `with_memory`.
          high_res: one image's fine maps, without a batch axis.
        """
        position = self.prompt_encoder.dense_position()
        return self.mask_decoder(embed, high_res, position, prompts)

    def object_pointer(
        self, token: Float[Array, "n d"], present: Bool[Array, " n"]
    ) -> Float[Array, "n d"]:
        """What is remembered of a mask's token; a learned vector where the object is absent."""
        pointer = self.obj_ptr_proj(token.astype(jnp.float32))
        return jnp.where(present[:, None], pointer, self.no_obj_ptr)

    def encode_memory(
        self,
        embed: Float[Array, "h w d"],
        logits: Float[Array, "n hm wm"],
        present: Bool[Array, " n"],
        binary: Bool[Array, " n"],
    ) -> BFloat16[Array, "n h w e"]:
        """The memory map of a frame for each of its objects.

        Args:
          embed: raw, without any memory.
          logits: low-resolution mask logits.
          present: whether the object is in the frame.
          binary: the mask goes in as 0 or 1, not as probabilities.

        Upstream: _encode_new_memory. Stored in bfloat16 whatever the compute dtype, as upstream.
        """
        side = self.config.image_size
        logits = bilinear(logits, side, side)
        mask = jnp.where(binary[:, None, None], logits > 0, jax.nn.sigmoid(logits))
        mask = (mask * MEMORY_MASK_SCALE + MEMORY_MASK_BIAS).astype(self.dtype)
        memory = self.memory_encoder(embed[None], mask[..., None]).astype(jnp.float32)
        if self.config.memory.no_object_embed:
            absent = ~present[:, None, None, None]
            memory = memory + jnp.where(absent, self.no_obj_embed_spatial, 0)
        return memory.astype(jnp.bfloat16)

    def downsample_mask(self, mask: Float[Array, "n H W"]) -> Float[Array, "n hm wm 1"]:
        """A 0/1 mask of the model input's size as a mask prompt."""
        return self.mask_downsample(mask[..., None].astype(self.dtype)).astype(jnp.float32)

    def __call__(self, images: Float[Array, "b H W 3"], prompts: Prompts) -> Masks:
        """Every parameter takes part once: this is what `init` traces."""
        features = self.encode_image(images)
        masks = self.decode_masks(
            self.without_memory(features.embed)[0],
            tuple(x[0] for x in features.high_res),
            self.encode_prompts(prompts),
        )
        n = masks.token.shape[0]
        pointer = self.object_pointer(masks.token[:, 0], masks.object_logit > 0)
        memory = self.encode_memory(
            features.embed[0], masks.logits[:, 0], masks.object_logit > 0, jnp.zeros(n, bool)
        )
        self.downsample_mask(images[..., 0])
        if self.config.words is not None:
            self.encode_text(jnp.zeros((1, 1), jnp.int32))
        slot = jnp.zeros((n, 1), jnp.int32)
        bank = MemoryBank(memory[:, None], slot, pointer[:, None], slot, slot[:, 0])
        always = jnp.ones((n, 1), bool)
        self.with_memory(features.embed[0], bank, Recall(always, slot, always, slot * 1.0))
        return masks
