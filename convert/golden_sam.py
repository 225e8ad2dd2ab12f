"""What `convert.golden` records of SAM 1: its image encoder, and its predictor end to end."""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from convert import official, official_sam
from convert.golden import Recorder, last, picture, quantise, to_torch
from sam_jax.checkpoint.config_json import to_json
from sam_jax.config import SamConfig, VitConfig
from sam_jax.ops.colour import MEAN, STD
from sam_jax.presets import SAM_VIT_B

# The grid is 10: windows of 4 pad it to 12. Heads are 3 wide, and two.
CONFIG = SamConfig(
    "golden-vit",
    VitConfig(6, 3, 2, global_att_blocks=(1,), window=4, pos_embed_grid=(10, 10)),
    image_size=160,
    dim=32,
    mask_channels=8,
    decoder=dataclasses.replace(SAM_VIT_B.decoder, num_heads=4, mlp_dim=48, iou_hidden_dim=24),
)


def record(photo: Image.Image) -> dict[str, dict[str, Any]]:
    """The arrays of each file."""
    model = official.perturb(official_sam.build_sam(CONFIG, seed=0), seed=0)
    weights = quantise(model)
    recorder = Recorder(model, "vit")
    _encoder(recorder, picture(photo, CONFIG.image_size, CONFIG.image_size))
    _relative_positions(recorder)
    _end_to_end(recorder, picture(photo, 150, 100))
    return recorder.parts | {"weights_vit": {"config": to_json(CONFIG), **weights}}


def _encoder(r: Recorder, image: np.ndarray) -> None:
    encoder = r.model.image_encoder
    for case, index in (("windowed", 0), ("global", 1)):
        x = r.normal(2, 10, 10, CONFIG.encoder.embed_dim)
        y = encoder.blocks[index](to_torch(x.ravel()).reshape(x.shape))
        r.put("vit_block", case, {"x": x}, {"x": y}, index=index)
    normalised = to_torch(((image / 255 - MEAN) / STD)[None])
    r.put("vit", "encoder", {"image": image}, {"embed": last(encoder(normalised))})


def _relative_positions(r: Recorder) -> None:
    from segment_anything.modeling.image_encoder import get_rel_pos

    for size in (5, 8, 13):
        table = r.normal(15, 3)  # of maps of 8
        rows = get_rel_pos(size, size, to_torch(table))
        r.put("vit", f"relative_{size}", {"table": table}, {"rows": rows}, size=size)


def _end_to_end(r: Recorder, image: np.ndarray) -> None:
    predictor = official_sam.Predictor(r.model)
    predictor.set_image(image)
    embed = last(predictor.get_image_embedding())
    r.put("vit_end_to_end", "image", {"image": image}, {"embed": embed})
    click = {"point_coords": np.array([[60.0, 30.5]]), "point_labels": np.ones(1, int)}
    two = {"point_coords": np.array([[10.0, 20], [60.5, 40]]), "point_labels": np.array([1, 0])}
    boxes = np.array([[15.0, 10, 90, 80], [45, 20, 135, 90]])
    logits = r.normal(1, 40, 40, scale=9)
    prompts = {
        "click": click,
        "two_clicks": two,
        "box": {"box": boxes[0]},
        "boxes": {"box": boxes},
        "box_and_click": {"box": boxes[0], **click},
        "mask": {"mask_input": logits},
    }
    for name, prompt in prompts.items():
        for multimask in (False, True):
            full, iou, low = predictor.predict(
                **prompt, multimask_output=multimask, return_logits=True
            )
            # Some rows and columns: the rest would show nothing new, and is large.
            outputs = {"full": full[..., ::9, ::9], "iou": iou, "logits": low[..., ::4, ::4]}
            case = f"{name}_{'three' if multimask else 'one'}"
            r.put("vit_end_to_end", case, prompt, outputs, multimask=multimask)
