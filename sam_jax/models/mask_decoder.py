"""From an image embedding and prompt tokens to masks, their quality and the object's presence.

Upstream: sam2/modeling/sam/mask_decoder.py, MaskDecoder (SAM 1 is the same without the
high-resolution maps, the object score and the sigmoid).

Difference from upstream: all four masks are returned; choosing is `sam_jax.image.select_masks`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from sam_jax.config import DecoderConfig
from sam_jax.models.layers import LayerNorm, Linear, Mlp, Upsample2x, gelu, table_init
from sam_jax.models.two_way import TwoWayTransformer
from sam_jax.ops.formulation import for_cpu
from sam_jax.types import Masks, PromptTokens


class MaskDecoder(nn.Module):
    """Learned output tokens through the two-way transformer, then one small head per token."""

    config: DecoderConfig
    dim: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        c, d = self.config, self.dim
        masks = c.num_multimask_outputs + 1
        self.transformer = TwoWayTransformer(c.depth, d, c.num_heads, c.mlp_dim)
        self.iou_token = self.param("iou_token", table_init, (1, d))
        self.mask_tokens = self.param("mask_tokens", table_init, (masks, d))
        self.output_upscaling = [
            Upsample2x(d, d // 4),
            LayerNorm(),
            gelu,
            Upsample2x(d // 4, d // 8),
            gelu,
        ]
        self.output_hypernetworks_mlps = [Mlp((d, d, d, d // 8)) for _ in range(masks)]
        self.iou_prediction_head = Mlp((d, c.iou_hidden_dim, c.iou_hidden_dim, masks))
        if c.high_res_features:
            self.conv_s0 = Linear(d, d // 8, conv=True)
            self.conv_s1 = Linear(d, d // 4, conv=True)
        if c.object_score:
            self.obj_score_token = self.param("obj_score_token", table_init, (1, d))
            self.pred_obj_score_head = Mlp((d, d, d, 1))

    @property
    def high_res_heads(self) -> tuple[Linear, ...]:
        """What turns the neck's fine levels (stride 4, stride 8) into the decoder's skips."""
        return (self.conv_s0, self.conv_s1) if self.config.high_res_features else ()

    def __call__(
        self,
        embed: Float[Array, "*n h w d"],
        high_res: tuple[Array, ...],
        position: Float[Array, "h w d"],
        prompts: PromptTokens,
    ) -> Masks:
        """Masks of several prompts on one image.

        Args:
          embed: image embedding, stride 16: one for all prompts, or as each of them sees it.
          high_res: skips at stride 4 and 8 for SAM 2, () for SAM 1.
          position: Fourier code of the embedding's cells.
        """
        n = prompts.sparse.shape[0]
        h, w, d = embed.shape[-3:]
        learned = [self.iou_token, self.mask_tokens]
        if self.config.object_score:
            learned.insert(0, self.obj_score_token)
        learned = jnp.concatenate(learned).astype(self.dtype)
        count = learned.shape[0]
        tokens = jnp.concatenate(
            [jnp.broadcast_to(learned, (n, count, d)), prompts.sparse], 1
        )  # [n s d]
        valid = jnp.pad(prompts.valid, ((0, 0), (count, 0)), constant_values=True)

        image = (embed + prompts.dense).astype(self.dtype)  # [k h w d]
        tokens, image = self.transformer(
            tokens,
            image.reshape(-1, h * w, d),
            position.reshape(h * w, d).astype(self.dtype),
            valid,
        )
        first_mask = count - self.mask_tokens.shape[0]
        mask_tokens = tokens[:, first_mask:count]
        logits = self._masks(mask_tokens, image.reshape(n, h, w, d), high_res)

        iou = self.iou_prediction_head(tokens[:, first_mask - 1].astype(jnp.float32))
        iou = jax.nn.sigmoid(iou) if self.config.iou_sigmoid else iou
        if self.config.object_score:
            object_logit = self.pred_obj_score_head(tokens[:, 0].astype(jnp.float32))[:, 0]
        else:
            object_logit = jnp.zeros(n, jnp.float32)
        return Masks(logits=logits, iou=iou, token=mask_tokens, object_logit=object_logit)

    def _masks(
        self,
        mask_tokens: Float[Array, "n m d"],
        image: Float[Array, "n h w d"],
        high_res: tuple[Array, ...],
    ) -> Float[Array, "n m hm wm"]:
        up1, norm, act1, up2, act2 = self.output_upscaling
        x = up1(image)
        if high_res:
            x = x + high_res[1].astype(self.dtype)
        x = act1(norm(x).astype(self.dtype))
        hyper = jnp.stack(
            [mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], 1
        )
        skip = high_res[0].astype(self.dtype) if high_res else None
        if not for_cpu():
            x = act2(up2(x) if skip is None else up2(x) + skip)
            n, h, w, c = x.shape
            return _matmul(hyper, x.reshape(n, h * w, c).swapaxes(1, 2)).reshape(n, -1, h, w)
        # The last 2x2 pixels stay beside the channels until they are logits: less to shuffle. A
        # TPU would fill 128 lanes for the product's four columns: 64 objects took 2.9 GB, not 0.8.
        assert isinstance(up2, Upsample2x)  # for the type checker
        x = up2.packed(x)
        if skip is not None:
            x = x + rearrange(skip, "... (h i) (w j) c -> ... h w i j c", i=2, j=2)
        x = act2(x)
        n, h, w, *_, c = x.shape
        logits = _matmul(x.reshape(n, -1, c), hyper.swapaxes(1, 2))
        return rearrange(logits, "n (h w i j) m -> n m (h i) (w j)", h=h, w=w, i=2)


def _matmul(a: Float[Array, "n i k"], b: Float[Array, "n k j"]) -> Float[Array, "n i j"]:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)
