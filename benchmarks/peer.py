"""Worker of `python -m benchmarks`: the official PyTorch code, eager.

`python -m benchmarks.peer --write NAME FILE` makes a checkpoint of random weights for both sides.
"""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.worker import Case, boxes, memory_inputs, serve
from convert import official, official_sam, official_video, verify_everything
from sam_jax.checkpoint import torch_file
from sam_jax.config import Sam2Config, SamConfig
from sam_jax.io.images import read_image
from sam_jax.io.videos import open_video
from sam_jax.presets import preset

_FOR_LIFE = contextlib.ExitStack()  # of the process: contexts that tracking runs in


def build(name: str) -> Any:
    """The official model of a preset name."""
    official.require()
    config = preset(name)
    if isinstance(config, SamConfig):
        return official_sam.build_sam(config, seed=0)
    return official.build_sam2(config, seed=0)


def prepare(case: Case) -> Callable[[], object]:
    if case["part"] == "video":
        return prepare_video(case)
    model = build(case["model"])  # makes torch importable
    import torch

    weights = torch.load(case["checkpoint"], weights_only=True)["model"]
    model.load_state_dict(weights)
    sam1 = isinstance(preset(case["model"]), SamConfig)
    side = model.image_encoder.img_size if sam1 else model.image_size
    picture = torch.from_numpy(np.random.default_rng(0).random((1, 3, side, side), np.float32))

    def context():
        half = case["dtype"] == "bfloat16"
        return torch.autocast("cpu", torch.bfloat16, enabled=half)

    def encode():
        with torch.inference_mode(), context():
            if sam1:
                return [model.image_encoder(picture)]
            return model.forward_image(picture)["backbone_fpn"]

    if case["part"] == "encoder":
        return encode
    if case["part"].startswith("memory"):
        part = _memory_attention if case["part"] == "memory-attention" else _memory_encoder
        run = part(model)

        def remember():
            with torch.inference_mode(), context():
                return run()

        return remember
    if case["part"] == "everything":
        generator = verify_everything.generator(model, **case["arguments"])
        photo = read_image(case["photo"])

        def generate():
            with context():
                return generator.generate(photo)

        return generate
    n = case["prompts"]
    clicks = torch.from_numpy(np.random.default_rng(1).uniform(0, side, (n, 1, 2)))
    labels = torch.ones(n, 1, dtype=torch.int32)
    *high_res, embed = encode()

    encoder, decoder = (
        getattr(model, name if sam1 else f"sam_{name}")
        for name in ("prompt_encoder", "mask_decoder")
    )
    only_sam2 = {} if sam1 else {"repeat_image": n > 1, "high_res_features": high_res}

    def decode():
        with torch.inference_mode(), context():
            sparse, dense = encoder(points=(clicks.float(), labels), boxes=None, masks=None)
            return decoder(
                image_embeddings=embed,
                image_pe=encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
                **only_sam2,
            )

    return decode


def _memory_attention(model: Any) -> Callable[[], object]:
    """One object whose memory is full; tokens first, as upstream calls it."""
    import torch

    side = model.image_size // 16
    frame, maps, pointers = (
        torch.from_numpy(x)[:, None]
        for x in memory_inputs(side * side, model.hidden_dim, model.mem_dim)
    )
    memory = torch.cat([maps, pointers])
    return lambda: model.memory_attention(
        curr=frame,
        curr_pos=frame,
        memory=memory,
        memory_pos=memory,
        num_obj_ptr_tokens=len(pointers),
    )


def _memory_encoder(model: Any) -> Callable[[], object]:
    """One object."""
    import torch

    side, random = model.image_size, np.random.default_rng(0)
    embed = random.random((1, model.hidden_dim, side // 16, side // 16), np.float32)
    mask = random.random((1, 1, side, side), np.float32)
    return lambda: model.memory_encoder(
        torch.from_numpy(embed), torch.from_numpy(mask), skip_mask_sigmoid=True
    )


def prepare_video(case: Case) -> Callable[[], object]:
    """Each call tracks the next frame."""
    config = preset(case["model"])
    assert isinstance(config, Sam2Config)
    official.require()
    import torch

    model = official_video.video_predictor(config, binarize_mask_from_pts_for_mem_enc=True)
    model.load_state_dict(torch.load(case["checkpoint"], weights_only=True)["model"])
    with open_video(case["video"]) as video:
        frames = np.stack(list(video.frames(stop=case["frames"])))
    half = case["dtype"] == "bfloat16"
    for context in (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
        official_video.on_cpu(),
    ):
        _FOR_LIFE.enter_context(context)
    state = official_video.init_state(model, frames)
    for i, box in enumerate(boxes(case["objects"], *frames.shape[1:3])):
        model.add_new_points_or_box(state, 0, i, box=np.array(box, np.float32))
    propagation = model.propagate_in_video(state)
    next(propagation)

    return lambda: next(propagation)


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
