"""The official SAM2VideoPredictor on CPU in float32, from our configs, on frames that are arrays.

It normally wants CUDA or bfloat16 autocast, and a video file or a folder of JPEG files. What this
module changes so that it runs without, and nothing else:

- frames come from a uint8 array instead of a decoder (decord) or lossy files; they are resized and
  normalised as the official JPEG reader does it;
- connected components, a CUDA kernel there, come from scipy: without it the official code skips
  hole filling with a warning;
- spatial memories, stored in bfloat16, are cast to float32 before the memory attention. An object
  that is tracked on frames before its only prompt has no object pointer yet, whose concatenation
  would promote them, and pure float32 layers then refuse bfloat16 input.
"""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from convert import official
from sam_jax.config import Sam2Config

# ImageNet statistics, as sam2/utils/misc.py has them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Live:
    """What brings untrained weights to where a tracker's branches are all taken.

    Untrained attention is nearly an average over everything it could attend to: what a frame shows
    and what the memory holds hardly changes an object's score or predicted IoU, and a mistake in
    the memory hardly changes a mask.

    Attributes:
      seed: of the official initialisers and of `official.perturb`.
      sharper: factor on all query and key projections of the decoder and the memory attention.
      object_head: factor on the last layer of the object-score head, and its new bias (one).
      iou_head: factor on the last layer of the IoU head, and its new biases, one per mask token.
      steeper: factor on all mask logits: steep masks pass the stability test, flat ones do not.
    """

    seed: int = 0
    sharper: float = 1.0
    object_head: tuple[float, tuple[float, ...]] | None = None
    iou_head: tuple[float, tuple[float, ...]] | None = None
    steeper: float = 1.0


def video_predictor(config: Sam2Config, *, live: Live | None = None, **options: Any) -> Any:
    """The official SAM2VideoPredictor of a config: float32, CPU, eval mode, no gradients.

    Of what the official builder switches on under `apply_postprocessing`, the stability fallback
    follows `config.decoder`, and `fill_hole_area` (8) and `binarize_mask_from_pts_for_mem_enc` are
    options.

    Args:
      config: see `official.build_sam2`.
      live: the weights; None leaves the official initialisers' with seed 0, to be overwritten.
      options: of the constructors of SAM2VideoPredictor and SAM2Base, under their names:
        fill_hole_area, non_overlap_masks, add_all_frames_to_correct_as_cond,
        binarize_mask_from_pts_for_mem_enc, max_cond_frames_in_attn,
        memory_temporal_stride_for_eval.
    """
    target = {"_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor"}
    model = official.build_sam2(config, seed=live.seed if live else 0, changes=target | options)
    if live is not None:
        make_live(official.perturb(model, seed=live.seed), live)
    model.memory_attention.register_forward_pre_hook(_promote_memory, with_kwargs=True)
    return model


def make_live(model: Any, live: Live) -> Any:
    """Apply `live` to a perturbed model, in place; returns it."""
    import torch

    decoder = model.sam_mask_decoder
    with torch.no_grad():
        for part in (decoder.transformer, model.memory_attention):
            for name, parameter in part.named_parameters():
                if name.endswith(("q_proj.weight", "k_proj.weight")):
                    parameter.mul_(live.sharper)
        for token in decoder.output_hypernetworks_mlps:
            token.layers[-1].weight.mul_(live.steeper)
            token.layers[-1].bias.mul_(live.steeper)
        for head, change in (
            (decoder.pred_obj_score_head, live.object_head),
            (decoder.iou_prediction_head, live.iou_head),
        ):
            if change is not None:
                factor, bias = change
                head.layers[-1].weight.mul_(factor)
                head.layers[-1].bias.copy_(torch.tensor(bias))
    return model


def _promote_memory(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args, {**kwargs, "memory": kwargs["memory"].float()}


@contextlib.contextmanager
def on_cpu() -> Generator[None]:
    """Inside, hole filling works on CPU and no progress bars are printed."""
    from sam2 import sam2_video_predictor
    from sam2.utils import misc

    with (
        _replaced(misc, "get_connected_components", _connected_components),
        _replaced(sam2_video_predictor, "tqdm", lambda frames, **_: frames),
    ):
        yield


def init_state(predictor: Any, frames: np.ndarray) -> Any:
    """`predictor.init_state` on frames in memory.

    Args:
      predictor: what `video_predictor` returns.
      frames: uint8 RGB [t h w 3].

    Raises:
      ValueError: other frames than that.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be uint8 [t h w 3], got {frames.dtype} {frames.shape}")
    from sam2 import sam2_video_predictor

    def load(image_size: int, **_: Any) -> tuple[Any, int, int]:
        return preprocessed(frames, image_size), frames.shape[1], frames.shape[2]

    with _replaced(sam2_video_predictor, "load_video_frames", load):
        return predictor.init_state(video_path="")


def preprocessed(frames: np.ndarray, side: int) -> Any:
    """What the official loader makes of a JPEG folder: torch float32 [t 3 side side]."""
    import torch

    images = torch.zeros(len(frames), 3, side, side)
    for i, frame in enumerate(frames):
        pixels = np.array(Image.fromarray(frame).resize((side, side))) / 255.0  # bicubic, float64
        images[i] = torch.from_numpy(pixels).permute(2, 0, 1)
    mean, std = (torch.tensor(x)[:, None, None] for x in (_MEAN, _STD))
    return (images - mean) / std


def _connected_components(mask: Any) -> tuple[Any, Any]:
    """Labels from 1 (0 where the mask is false) and areas of 8-connected components, [n 1 h w]."""
    import scipy.ndimage
    import torch

    labels, areas = [], []
    for plane in mask[:, 0].cpu().numpy():
        label, _ = scipy.ndimage.label(plane, structure=np.ones((3, 3)))
        area = np.bincount(label.ravel())
        area[0] = 0
        labels.append(label)
        areas.append(area[label])
    return tuple(torch.from_numpy(np.stack(x)[:, None]) for x in (labels, areas))


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Generator[None]:
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


@dataclass(frozen=True)
class Call:
    """One run of the official mask decoder on one object.

    Attributes:
      frame: index of the frame.
      points: how many points the user gave, corners of a box included.
      initial: without memory: the frame was not tracked before.
      iou: predicted IoU of the candidate masks [m]; one where a single mask was asked for.
      object_logit: > 0 where the object is in the frame.
      stability: of the single mask, or None where three were asked for or the fallback is off.
    """

    frame: int
    points: int
    initial: bool
    iou: np.ndarray
    object_logit: float
    stability: float | None


@contextlib.contextmanager
def listen(predictor: Any) -> Generator[list[Call]]:
    """The list of all decoder runs inside the block, for questions like: was this branch taken?

    Runs on a mask prompt are not in it: their scores are not the decoder's.
    """
    calls: list[Call] = []
    decoder = predictor.sam_mask_decoder
    heard: dict[str, Any] = {}

    def stability(logits: Any) -> Any:
        heard["stability"] = original_stability(logits)
        return heard["stability"]

    def heads(*args: Any, **kwargs: Any) -> Any:
        heard["outputs"] = original_heads(*args, **kwargs)
        return heard["outputs"]

    def track(**kwargs: Any) -> Any:
        heard.clear()
        result = original_track(**kwargs)
        points = kwargs["point_inputs"]
        stable = heard.get("stability")
        if kwargs["mask_inputs"] is None:
            calls.append(
                Call(
                    kwargs["frame_idx"],
                    0 if points is None else points["point_labels"].shape[1],
                    kwargs["is_init_cond_frame"],
                    heard["outputs"][2][0].numpy(),
                    float(heard["outputs"][6]),
                    None if stable is None else float(stable[0, 0]),
                )
            )
        return result

    original_stability = decoder._get_stability_scores
    original_heads, original_track = predictor._forward_sam_heads, predictor.track_step
    with (
        _replaced(decoder, "_get_stability_scores", stability),
        _replaced(predictor, "_forward_sam_heads", heads),
        _replaced(predictor, "track_step", track),
    ):
        yield calls
