"""Worker of `benchmarks.accelerator`: the official code, eager or compiled, or transformers.

What they are given lies on the GPU before, normalised; ours gets frames from the host, as bytes.
transformers reads the same weights, which are converted for it. It gives masks of a quarter of the
input's side, where ours and the official code make them as large as the video.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.train_peer import peak_mb
from benchmarks.worker import Case, boxes, serve
from convert import official, official_video, verify_everything
from sam_jax.config import Sam2Config
from sam_jax.io.images import read_image
from sam_jax.io.videos import open_video
from sam_jax.presets import preset

_known: Case = {"each": 1}  # frames or pictures of a call

Run = Callable[[], object]


def prepare(case: Case) -> Run:
    official.require()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":  # as the official examples have it
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    half = torch.autocast(device, torch.bfloat16, enabled=case["dtype"] == "bfloat16")
    with torch.inference_mode(), half:
        work = _CASES[case["part"], case["peer"] == "transformers"](case, device)

    def run() -> None:
        with torch.inference_mode(), half:
            work()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _official(case: Case, device: str, **changes: Any) -> Any:
    """The official model with the case's weights, or by changes a video predictor, which is one."""
    import torch

    config = preset(case["model"])
    assert isinstance(config, Sam2Config)
    model = official.build_sam2(config, seed=0, changes=changes)
    model.load_state_dict(torch.load(case["checkpoint"], weights_only=True)["model"])
    return model.to(device)


def _transformers(case: Case, device: str, name: str) -> Any:
    """A model of transformers with the case's weights."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "hf"
        convert = [sys.executable, "-m", "convert", case["checkpoint"], converted]
        subprocess.run(convert, check=True, stdout=sys.stderr)
        return getattr(transformers, name).from_pretrained(converted).to(device).eval()


def _frames(case: Case) -> np.ndarray:
    with open_video(case["video"]) as video:
        return np.stack(list(video.frames()))


def _official_video(case: Case, device: str) -> Run:
    """A whole clip."""
    name = "sam2.sam2_video_predictor.SAM2VideoPredictor"
    compiled = {"_target_": f"{name}VOS", "compile_image_encoder": True}
    changes = compiled if case["peer"] == "compiled" else {"_target_": name}
    model = _official(case, device, **changes)
    frames = _frames(case)
    _known["each"] = len(frames)
    state = official_video.init_state(model, frames)
    state["images"] = state["images"].to(device)

    def run() -> None:
        model.reset_state(state)
        for i, box in enumerate(boxes(case["objects"], *frames.shape[1:3])):
            model.add_new_points_or_box(state, 0, i, box=np.array(box, np.float32))
        _exhaust(model.propagate_in_video(state))

    return run


def _transformers_video(case: Case, device: str) -> Run:
    """A whole clip."""
    import torch
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    model = _transformers(case, device, "Sam2VideoModel")
    frames, side = _frames(case), model.config.image_size
    _known["each"] = len(frames)
    height, width = frames.shape[1:3]
    session = Sam2VideoInferenceSession(
        video=official_video.preprocessed(frames, side).to(device),
        video_height=height,
        video_width=width,
        inference_device=device,
        inference_state_device=device,
        video_storage_device=device,
        dtype=torch.float32,  # autocast does the rest
    )
    labels = torch.tensor([[[2, 3]]], dtype=torch.int32, device=device)
    scale = torch.tensor([side / width, side / height])

    def run() -> None:
        session.reset_inference_session()
        ids = list(range(case["objects"]))
        for i, box in enumerate(boxes(case["objects"], height, width)):
            corners = (torch.tensor(box).reshape(1, 1, 2, 2) * scale).to(device)
            prompt = {"point_coords": corners, "point_labels": labels}
            session.add_point_inputs(session.obj_id_to_idx(i), 0, prompt)
        session.obj_with_new_inputs = ids
        _exhaust(model.propagate_in_video_iterator(session, start_frame_idx=0))

    return run


def _exhaust(answers: Iterator[object]) -> None:
    for _ in answers:
        pass


def _pictures(case: Case, side: int, device: str) -> Any:
    import torch

    _known["each"] = case["batch"]
    return torch.zeros(case["batch"], 3, side, side, device=device)


def _official_pictures(case: Case, device: str) -> Run:
    import torch

    model = _official(case, device)
    if case["peer"] == "compiled":
        encoder = model.image_encoder
        encoder.forward = torch.compile(
            encoder.forward, mode="max-autotune", fullgraph=True, dynamic=False
        )
    pictures = _pictures(case, model.image_size, device)
    return lambda: model.forward_image(pictures)


def _transformers_pictures(case: Case, device: str) -> Run:
    model = _transformers(case, device, "Sam2Model")
    pictures = _pictures(case, model.config.vision_config.backbone_config.image_size[0], device)
    return lambda: model.get_image_embeddings(pictures)


def _official_everything(case: Case, device: str) -> Run:
    generator = verify_everything.generator(_official(case, device))
    photo = read_image(case["photo"])
    return lambda: generator.generate(photo)


_CASES: dict[tuple[str, bool], Callable[[Case, str], Run]] = {
    ("video", False): _official_video,
    ("video", True): _transformers_video,
    ("pictures", False): _official_pictures,
    ("pictures", True): _transformers_pictures,
    ("everything", False): _official_everything,
}


if __name__ == "__main__":
    serve(prepare, peak_mb, lambda: _known)
