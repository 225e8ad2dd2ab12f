"""Worker of `benchmarks.train`: the official model and losses, with torch's AdamW.

The official trainer itself wants a cluster's launcher and a data set; what it does with a batch is
here. Its dropout, which sam_jax does not have, is off.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.train_case import SHAPES, arrays
from benchmarks.worker import Case, resident_mb, serve
from convert import official
from sam_jax.config import Sam2Config
from sam_jax.presets import preset

_WEIGHTS = {"loss_mask": 20.0, "loss_dice": 1.0, "loss_iou": 1.0, "loss_class": 1.0}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _importable() -> None:
    """What the official training code imports for a name only, and what needs more packages."""
    for name, content in {
        "training.trainer": {"CORE_LOSS_KEY": "core_loss"},
        "training.utils.data_utils": {"BatchedVideoDatapoint": SimpleNamespace},
    }.items():
        stub = ModuleType(name)
        vars(stub).update(content)
        sys.modules[name] = stub


def prepare(case: Case) -> Callable[[], object]:
    """Each call takes a step on the same batch."""
    official.require()
    _importable()
    import torch

    losses = importlib.import_module("training.loss_fns")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape, config = SHAPES[case["batch"]], preset(case["model"])
    assert isinstance(config, Sam2Config)
    changes = {
        "_target_": "training.model.sam2.SAM2Train",
        "prob_to_use_pt_input_for_train": 1.0,
        "prob_to_use_box_input_for_train": 0.0,
        "num_frames_to_correct_for_train": 1,
        "num_init_cond_frames_for_train": 1,
        "num_correction_pt_per_frame": shape.corrections,
        "prob_to_sample_from_gt_for_train": 0.1,
        "add_all_frames_to_correct_as_cond": True,
    }
    model = official.build_sam2(config, seed=0, changes=changes)
    model.load_state_dict(torch.load(case["checkpoint"], weights_only=True)["model"])
    model.train().requires_grad_(True).to(device)
    _without_dropout(model)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=5e-6, weight_decay=0.1, fused=True)
    loss = losses.MultiStepMultiMasksAndIous(
        _WEIGHTS, supervise_all_iou=True, iou_use_l1_loss=True, pred_obj_scores=True
    )
    datapoint = _datapoint(*arrays(shape, config.image_size), device)
    half = case["dtype"] == "bfloat16"

    def run() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=half):
            total = loss(model(datapoint), datapoint.masks)["core_loss"]
        total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.1)
        optimizer.step()
        return float(total.detach())

    return run


def _without_dropout(model: Any) -> None:
    import torch

    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if hasattr(part, "dropout_p"):
            part.dropout_p = 0.0


def _datapoint(images: np.ndarray, masks: np.ndarray, device: str) -> SimpleNamespace:
    """The batch as the official loader hands it out."""
    import torch

    t, b = images.shape[:2]
    n = masks.shape[1]
    pixels = (images.reshape(t * b, *images.shape[2:]) / 255 - _MEAN) / _STD
    owner = np.arange(t)[:, None] * b + np.arange(n) // (n // b)
    return SimpleNamespace(
        flat_img_batch=torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32).to(device),
        masks=torch.tensor(masks).to(device),
        num_frames=t,
        flat_obj_to_img_idx=torch.tensor(owner).to(device),
    )


def peak_mb() -> float:
    """Of the GPU where there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resident_mb()


if __name__ == "__main__":
    serve(prepare, peak_mb)
