"""Record the parameter names and shapes of the released models, official and Hugging Face.

    python tests/names/record.py        # see `make oracle`; also needs transformers

The official lists come from the official builders; the Hugging Face ones from `Sam2VideoModel` and
`SamModel`, built from the `config.json` that our converter writes, and from `CLIPModel`. No weights
are needed. Each list is one `<scheme>_<model>.json.gz`, name -> shape, in the order of the model's
`state_dict`.
"""

import gzip
import importlib
import json
from pathlib import Path

import torch

from convert import official as oracle
from sam_jax.checkpoint import hf_config
from sam_jax.clip_config import CLIP_PRESETS
from sam_jax.config import Sam2Config
from sam_jax.presets import PRESETS

HERE = Path(__file__).parent
YAMLS = {
    "sam2.1-hiera-tiny": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "sam2.1-hiera-small": "configs/sam2.1/sam2.1_hiera_s.yaml",
    "sam2.1-hiera-base-plus": "configs/sam2.1/sam2.1_hiera_b+.yaml",
    "sam2.1-hiera-large": "configs/sam2.1/sam2.1_hiera_l.yaml",
    "sam2-hiera-tiny": "configs/sam2/sam2_hiera_t.yaml",
    "sam2-hiera-small": "configs/sam2/sam2_hiera_s.yaml",
    "sam2-hiera-base-plus": "configs/sam2/sam2_hiera_b+.yaml",
    "sam2-hiera-large": "configs/sam2/sam2_hiera_l.yaml",
}
BUILDERS = {
    "sam-vit-base": "build_sam_vit_b",
    "sam-vit-large": "build_sam_vit_l",
    "sam-vit-huge": "build_sam_vit_h",
}


def official(name: str) -> torch.nn.Module:
    # Not on the meta device: Hiera's constructor reads the values of a torch.linspace.
    if name in YAMLS:
        return importlib.import_module("sam2.build_sam").build_sam2(YAMLS[name], device="cpu")
    with torch.device("meta"):
        return getattr(importlib.import_module("segment_anything.build_sam"), BUILDERS[name])()


def hugging_face(name: str) -> torch.nn.Module:
    import transformers

    config = PRESETS[name]
    kind = "Sam2Video" if isinstance(config, Sam2Config) else "Sam"
    values = json.loads(hf_config.to_json(config))
    built = getattr(transformers, f"{kind}Config").from_dict(values)
    with torch.device("meta"):
        return getattr(transformers, f"{kind}Model")(built)


def clip(name: str) -> torch.nn.Module:
    import transformers

    c = CLIP_PRESETS[name]
    towers = {
        kind: {
            "hidden_size": tower.width,
            "intermediate_size": 4 * tower.width,
            "num_hidden_layers": tower.depth,
            "num_attention_heads": tower.num_heads,
        }
        for kind, tower in (("text_config", c.text), ("vision_config", c.image))
    }
    towers["vision_config"] |= {"patch_size": c.image.patch, "image_size": c.image.image_size}
    with torch.device("meta"):
        return transformers.CLIPModel(transformers.CLIPConfig(projection_dim=c.embed_dim, **towers))


def record(scheme: str, name: str, model: torch.nn.Module) -> None:
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    text = json.dumps(shapes, separators=(",", ":"))
    path = HERE / f"{scheme}_{name}.json.gz"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))  # no time: the same file every time
    print(
        f"{path.name}: {len(shapes)} names, {sum(map(torch.numel, model.parameters())):,} numbers"
    )


if __name__ == "__main__":
    for model_name in CLIP_PRESETS:
        record("hf", model_name, clip(model_name))
    oracle.require()
    for model_name in [*YAMLS, *BUILDERS]:
        record("official", model_name, official(model_name))
        record("hf", model_name, hugging_face(model_name))
