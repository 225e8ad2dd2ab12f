"""Write tests/golden/*.npz: inputs and outputs of the official PyTorch modules at tiny width.

    python -m convert.golden [FOLDER]        # Python of `make oracle`

They keep parity tested where torch is not installed. Format, all arrays channels last:

- `weights_<model>.npz`: `config` (JSON) and one array per official name. Large arrays are int8 with
  a float32 `<name>:scale`; the outputs were computed with exactly these rounded weights, so nothing
  is lost by it.
- `<part>.npz`: `<case>/in/<name>` and `<case>/out/<name>`, plus `<case>/model`, the name of the
  weights. Float inputs are float16 values, to be used as float32. `<case>/decoder`, where present,
  is JSON of `DecoderConfig` fields that differ from the model's.

`tests/golden/conftest.py` reads them.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convert import official
from sam_jax.checkpoint.config_json import to_json
from sam_jax.config import DecoderConfig, HieraConfig, MemoryConfig, Sam2Config
from sam_jax.ops.colour import MEAN, STD

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "golden"

# Grid 40, 20, 10, 5: windows 8 and 4 fit, 6 pads 10 to 12 and 3 pads 5 to 6, and the pooling block
# in between pools a padded map and crops it.
TINY = Sam2Config(
    "golden-tiny",
    HieraConfig(4, 1, (1, 2, 3, 1), global_att_blocks=(4,), window_spec=(8, 4, 6, 3)),
    image_size=160,
    dim=32,
    mask_channels=8,
    decoder=DecoderConfig(num_heads=4, mlp_dim=48, iou_hidden_dim=24),
    memory=MemoryConfig(dim=8, attention_layers=2, mlp_dim=48),
)
# What base+ and large have: two heads, the 14x14 table, windows that never pad.
WIDE = dataclasses.replace(
    TINY,
    name="golden-wide",
    trunk=HieraConfig(4, 2, (2, 1, 2, 2), (4,), window_spec=(8, 4, 8, 4), pos_embed_grid=(14, 14)),
    image_size=128,
)
LARGEST_PLAIN = 256  # elements of an array that is stored as it is
LEVELS = 7  # larger arrays have weights -7..7 times a scale: four bits each once compressed


def quantise(model: Any) -> dict[str, np.ndarray]:
    """Round the weights of `model` in place; returns what to store."""
    stored, rounded = {}, {}
    for name, array in official.state_dict(model).items():
        if array.size <= LARGEST_PLAIN:
            stored[name] = rounded[name] = array
            continue
        scale = np.float32(np.abs(array).max() / LEVELS)
        stored[name] = np.round(array / scale).astype(np.int8)
        stored[f"{name}:scale"] = scale
        rounded[name] = stored[name].astype(np.float32) * scale
    official.load_state_dict(model, rounded)
    return stored


class Recorder:
    """Runs official modules on seeded inputs and keeps both sides, channels last."""

    def __init__(self, model: Any, name: str) -> None:
        self.model, self.name = model, name
        self.random = np.random.RandomState(7)
        self.parts: dict[str, dict[str, Any]] = {}

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * self.random.standard_normal(shape)).astype(np.float16)

    def put(self, part: str, case: str, inputs: dict, outputs: dict, **extra: Any) -> None:
        arrays = self.parts.setdefault(part, {})
        arrays[f"{case}/model"] = self.name
        arrays |= {f"{case}/in/{key}": value for key, value in inputs.items()}
        arrays |= {f"{case}/out/{key}": to_numpy(value) for key, value in outputs.items()}
        arrays |= {f"{case}/{key}": value for key, value in extra.items()}


def to_torch(array: np.ndarray) -> Any:
    """Channels-last array (4 axes) or any other array as a float32 tensor, maps channels first."""
    import torch

    tensor = torch.from_numpy(np.asarray(array, np.float32))
    return tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor


def to_numpy(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else value.detach().numpy()


def last(tensor: Any) -> np.ndarray:
    """A map [n c h w] as [n h w c]."""
    return tensor.detach().permute(0, 2, 3, 1).contiguous().numpy()


def picture(photo: Image.Image, width: int, height: int) -> np.ndarray:
    """A small copy with 8 levels per colour, which compresses to a fifth."""
    return np.asarray(photo.resize((width, height))) // 32 * 36


def blocks(r: Recorder) -> None:
    trunk = r.model.image_encoder.trunk
    cases = {
        "windowed": (0, (1, 16, 24)),
        "pooling": (1, (1, 16, 24)),
        "global": (4, (1, 10, 7)),
        "padded": (5, (2, 10, 7)),
        "padded_pooling": (6, (1, 10, 14)),
    }
    for case, (index, shape) in cases.items():
        block = trunk.blocks[index]
        x = r.normal(*shape, block.dim)
        y = block(to_torch(x.reshape(-1)).reshape(x.shape))
        r.put("hiera_block", case, {"x": x}, {"x": y}, index=index)


def image_encoder(r: Recorder, image: np.ndarray) -> None:
    trunk = r.model.image_encoder.trunk
    side = r.model.image_size // 4
    table = trunk._get_pos_embed((side, side))[..., :2]
    r.put("position", r.name, {}, {"table": table}, side=side)
    normalised = to_torch(((image / 255 - MEAN) / STD)[None])
    levels = trunk(normalised)
    fine0, fine1, embed = r.model.forward_image(normalised)["backbone_fpn"]
    outputs = {"stage3": last(levels[2]), "stage4": last(levels[3]), "embed": last(embed)}
    outputs |= {"high_res0": last(fine0), "high_res1": last(fine1)}
    r.put("image_encoder", r.name, {"image": image}, outputs)


def prompt_encoder(r: Recorder) -> None:
    import torch

    encoder, side = r.model.sam_prompt_encoder, r.model.image_size
    points = (side * r.random.uniform(-0.1, 1.1, (2, 5, 2))).astype(np.float16)
    labels = np.array([[0, 1, 2, 3, -1], [2, 3, 1, -1, -1]], np.int32)
    # Upstream appends the last not-a-point itself.
    given = to_torch(points)[:, :-1], torch.from_numpy(labels[:, :-1])
    sparse, dense = encoder(given, None, None)
    outputs = {"sparse": sparse, "dense": last(dense[:1])}
    r.put("prompt_encoder", "points", {"points": points, "labels": labels}, outputs)

    # Boxes in the words of SAM 1: two corners and nothing else.
    sparse, _ = encoder(None, to_torch(points[:, 2:4]).reshape(2, 4), None)
    corners = {"points": points[:, 2:4], "labels": np.array([[2, 3], [2, 3]], np.int32)}
    r.put("prompt_encoder", "box", corners, {"sparse": sparse})

    mask = r.normal(2, side // 4, side // 4, 1, scale=8)
    _, dense = encoder(None, None, to_torch(mask))
    r.put("prompt_encoder", "mask", {"mask": mask}, {"dense": last(dense)})
    r.put("prompt_encoder", "grid", {}, {"position": last(encoder.get_dense_pe())[0]})


def mask_decoder(r: Recorder) -> None:
    decoder, side, d = r.model.sam_mask_decoder, r.model.image_size // 16, r.model.hidden_dim
    tokens, image = r.normal(3, 6, d), r.normal(3, side, side, d)
    position = r.normal(1, side, side, d)
    out = decoder.transformer(
        to_torch(image), to_torch(position).expand(3, -1, -1, -1), to_torch(tokens)
    )
    inputs = {"tokens": tokens, "image": image, "position": position[0]}
    r.put("two_way", "three", inputs, {"tokens": out[0], "image": out[1]})

    inputs = {
        "embed": r.normal(1, side, side, d),
        "sparse": r.normal(3, 4, d),
        "dense": r.normal(3, side, side, d, scale=0.5),
        "high_res0": r.normal(1, 4 * side, 4 * side, d // 8),
        "high_res1": r.normal(1, 2 * side, 2 * side, d // 4),
    }
    call = {
        "image_embeddings": to_torch(inputs["embed"]),
        "image_pe": r.model.sam_prompt_encoder.get_dense_pe(),
        "sparse_prompt_embeddings": to_torch(inputs["sparse"]),
        "dense_prompt_embeddings": to_torch(inputs["dense"]),
        "repeat_image": True,
        "high_res_features": [to_torch(inputs["high_res0"]), to_torch(inputs["high_res1"])],
    }
    logits, iou, token, score = decoder.predict_masks(**call)
    outputs = {"logits": logits, "iou": iou, "token": token, "object_logit": score[:, 0]}
    r.put("mask_decoder", "all", inputs, outputs)

    # A threshold between the three scores: some prompts fall back and some do not.
    scores = np.sort(to_numpy(decoder._get_stability_scores(logits[:, :1])).ravel())
    middle = float((scores[0] + scores[1]) / 2)
    assert scores[0] < middle < scores[1], scores
    for case, multimask, changes in (
        ("multimask", True, {}),
        ("single", False, {"stability_fallback": False}),
        ("some_fall_back", False, {"stability_threshold": middle}),
        ("all_fall_back", False, {"stability_threshold": 1.1}),
    ):
        fields = dataclasses.replace(TINY.decoder, **changes)
        decoder.dynamic_multimask_via_stability = fields.stability_fallback
        decoder.dynamic_multimask_stability_thresh = fields.stability_threshold
        logits, iou, token, _ = decoder(multimask_output=multimask, **call)
        # The masks are among those of "all": their first row tells which.
        outputs = {"first_row": logits[:, :, :1], "iou": iou, "token": token}
        r.put("select_masks", case, {}, outputs, decoder=json.dumps(changes), multimask=multimask)
    decoder.dynamic_multimask_via_stability = TINY.decoder.stability_fallback
    decoder.dynamic_multimask_stability_thresh = TINY.decoder.stability_threshold


def memory(r: Recorder) -> None:
    model, side, d, m = r.model, r.model.image_size // 16, r.model.hidden_dim, r.model.mem_dim
    embed = r.normal(2, side, side, d)
    mask = r.normal(2, 2 * side, 2 * side, 1, scale=10).repeat(8, axis=1).repeat(8, axis=2)
    out = model.memory_encoder(to_torch(embed), to_torch(mask), skip_mask_sigmoid=True)
    inputs, position = {"embed": embed, "mask": mask}, out["vision_pos_enc"][0][:1]
    outputs = {"memory": last(out["vision_features"]), "position": last(position)[0]}
    r.put("memory_encoder", "two", inputs, outputs)

    cells, pointers = side * side, 4 * 3
    frame, frame_pe = r.normal(2, cells, d), r.normal(1, cells, d)
    bank, bank_pe = r.normal(2, 2 * cells + pointers, m), r.normal(1, 2 * cells + pointers, m)
    x = model.memory_attention(  # tokens first, as upstream calls it
        curr=to_torch(frame).transpose(0, 1),
        curr_pos=to_torch(frame_pe).expand(2, -1, -1).transpose(0, 1),
        memory=to_torch(bank).transpose(0, 1),
        memory_pos=to_torch(bank_pe).expand(2, -1, -1).transpose(0, 1),
        num_obj_ptr_tokens=pointers,
    )
    inputs = {"frame": frame, "frame_pe": frame_pe, "memory": bank, "memory_pe": bank_pe}
    outputs = {"frame": x.transpose(0, 1)}
    r.put("memory_attention", "two_maps", inputs, outputs, spatial=2 * cells)

    token = r.normal(3, d)
    r.put("pointers", "project", {"x": token}, {"x": model.obj_ptr_proj(to_torch(token))})
    r.put("pointers", "time", {"x": token}, {"x": model.obj_ptr_tpos_proj(to_torch(token))})
    small = model.mask_downsample(to_torch(mask[:1]))
    r.put("pointers", "mask", {"mask": mask[:1]}, {"mask": last(small)})


def end_to_end(r: Recorder, image: np.ndarray) -> None:
    predictor = official.image_predictor(r.model)
    predictor.set_image(image)
    outputs = {"embed": last(predictor.get_image_embedding())}
    r.put("end_to_end", "image", {"image": image}, outputs)
    side = r.model.image_size // 4
    height, width = image.shape[:2]
    boxes = np.array([[0.1, 0.1, 0.6, 0.8], [0.3, 0.2, 0.9, 0.9]]) * [width, height, width, height]
    click = {"point_coords": np.array([[0.4 * width, 0.3 * height]]), "point_labels": np.ones(1)}
    two = {"point_coords": np.array([[10.0, 20.0], [60.5, 40.25]]), "point_labels": [1, 0]}
    prompts = {
        "click": click,
        "two_clicks": two,
        "box": {"box": boxes[0]},
        "boxes": {"box": boxes},
        "box_and_click": {"box": boxes[0], **click},
        "mask": {
            "mask_input": r.normal(1, side // 4, side // 4, scale=9).repeat(4, 1).repeat(4, 2)
        },
    }
    for name, prompt in prompts.items():
        inputs = {key: np.asarray(value) for key, value in prompt.items()}
        for multimask in (False, True):
            _, iou, logits = predictor.predict(**prompt, multimask_output=multimask)
            # Every fourth row and column: the rest would show nothing new, and is large.
            outputs = {"iou": iou, "logits": logits[..., ::4, ::4]}
            case = f"{name}_{'three' if multimask else 'one'}"
            r.put("end_to_end", case, inputs, outputs, multimask=multimask)


def main(folder: Path) -> None:
    official.require()
    import torch

    from convert import golden_sam  # which imports this module

    photo = Image.open(ROOT / "docs" / "media" / "coffee.jpg").convert("RGB")
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, dict[str, Any]] = {}
    with torch.no_grad():
        for name, config in (("tiny", TINY), ("wide", WIDE)):
            model = official.perturb(official.build_sam2(config, seed=0), seed=0)
            weights = quantise(model)
            recorder = Recorder(model, name)
            side = config.image_size
            image_encoder(recorder, picture(photo, side, side))
            if name == "tiny":
                for record in (blocks, prompt_encoder, mask_decoder, memory):
                    record(recorder)
                end_to_end(recorder, picture(photo, 150, 100))
            else:  # only the image encoder differs
                used = ("image_encoder.", "sam_mask_decoder.conv_s")
                weights = {key: value for key, value in weights.items() if key.startswith(used)}
            for part, arrays in recorder.parts.items():
                parts.setdefault(part, {}).update(arrays)
            parts[f"weights_{name}"] = {"config": to_json(config), **weights}
        parts |= golden_sam.record(photo)
    for part, arrays in parts.items():
        np.savez_compressed(folder / f"{part}.npz", **arrays)
    total = sum((folder / f"{part}.npz").stat().st_size for part in parts)
    print(f"{len(parts)} files, {total / 1e3:.0f} kB, in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
