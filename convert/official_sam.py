"""The official PyTorch SAM 1 (segment_anything), and its predictor with the words of SAM 2's."""

from functools import partial
from typing import Any

import numpy as np

from convert import official
from sam_jax.config import SamConfig


def build_sam(config: SamConfig, *, seed: int) -> Any:
    """The official Sam of a config: float32, CPU, eval mode, no gradients."""
    official.require()
    import torch
    from segment_anything.modeling import ImageEncoderViT, PromptEncoder, Sam

    encoder, side = config.encoder, config.image_size
    decoder = partial(official.mask_decoder, "segment_anything.modeling", config.decoder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sam(
            image_encoder=ImageEncoderViT(
                img_size=side,
                patch_size=encoder.patch,
                embed_dim=encoder.embed_dim,
                depth=encoder.depth,
                num_heads=encoder.num_heads,
                mlp_ratio=4,
                out_chans=config.dim,
                qkv_bias=True,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=encoder.window,
                global_attn_indexes=encoder.global_att_blocks,
            ),
            prompt_encoder=PromptEncoder(
                config.dim, (config.grid, config.grid), (side, side), config.mask_channels
            ),
            mask_decoder=decoder(config.dim),
        )
    return model.float().eval().requires_grad_(False)


class Predictor:
    """SamPredictor, called as SAM2ImagePredictor is: several boxes are several objects."""

    def __init__(self, model: Any) -> None:
        from segment_anything import SamPredictor

        self.model = model
        self._predictor = SamPredictor(model)

    def set_image(self, image: np.ndarray) -> None:
        self._predictor.set_image(image)

    def get_image_embedding(self) -> Any:
        return self._predictor.get_image_embedding()

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        *,
        multimask_output: bool,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks [m h w], predicted IoU [m] and logits [m hm wm]; of several boxes, [n ...]."""
        how = {"multimask_output": multimask_output, "return_logits": return_logits}
        if np.ndim(box) < 2:
            return self._predictor.predict(  # type: ignore[return]
                None if point_coords is None else np.asarray(point_coords),
                point_labels,
                box,
                mask_input,
                **how,
            )
        import torch

        assert point_coords is None and mask_input is None
        scaled = self._predictor.transform.apply_boxes(box, self._predictor.original_size)
        boxes = torch.as_tensor(scaled, dtype=torch.float)
        masks, iou, low = self._predictor.predict_torch(None, None, boxes, None, **how)
        return masks.numpy(), iou.numpy(), low.numpy()
