"""Worker of `benchmarks.image`: the official PyTorch code, eager, in its own Python.

`python -m benchmarks.peer --write NAME FILE` makes a checkpoint of random weights for both sides.
"""

import sys
from typing import Any

import numpy as np

from benchmarks.worker import Case, serve
from convert import official
from sam_jax.checkpoint import torch_file
from sam_jax.config import Sam2Config
from sam_jax.presets import preset


def build(name: str) -> Any:
    """The official model of a preset name."""
    official.require()
    config = preset(name)
    assert isinstance(config, Sam2Config)
    return official.build_sam2(config, seed=0)


def prepare(case: Case):
    model = build(case["model"])  # makes torch importable
    import torch

    weights = torch.load(case["checkpoint"], weights_only=True)["model"]
    model.load_state_dict(weights)
    side = model.image_size
    picture = torch.from_numpy(np.random.default_rng(0).random((1, 3, side, side), np.float32))

    def context():
        half = case["dtype"] == "bfloat16"
        return torch.autocast("cpu", torch.bfloat16, enabled=half)

    def encode():
        with torch.inference_mode(), context():
            return model.forward_image(picture)["backbone_fpn"]

    if case["part"] == "encoder":
        return encode
    n = case["prompts"]
    clicks = torch.from_numpy(np.random.default_rng(1).uniform(0, side, (n, 1, 2)))
    labels = torch.ones(n, 1, dtype=torch.int32)
    *high_res, embed = encode()

    def decode():
        with torch.inference_mode(), context():
            sparse, dense = model.sam_prompt_encoder(
                points=(clicks.float(), labels), boxes=None, masks=None
            )
            return model.sam_mask_decoder(
                image_embeddings=embed,
                image_pe=model.sam_prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
                repeat_image=n > 1,
                high_res_features=high_res,
            )

    return decode


def write(name: str, path: str) -> None:
    """Random official weights, perturbed as in the parity tests, as an official checkpoint."""
    model = build(name)
    official.perturb(model, seed=0)
    torch_file.write(path, official.state_dict(model))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(*sys.argv[2:])
    else:
        serve(prepare)
