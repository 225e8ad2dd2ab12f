"""What `python -m benchmarks` can measure: cases for both workers, by name."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.worker import Case

ROOT = Path(__file__).resolve().parent.parent
_TINY, _BASE, _LARGE = (f"sam2.1-hiera-{size}" for size in ("tiny", "base-plus", "large"))
_VIT_B, _NANO = "sam-vit-base", "sam2.1-hiera-nano"
_FILL = 7  # frames until all memory slots are in use
_NO_LIMITS = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


@dataclass(frozen=True)
class Part:
    """Attributes:
    model: preset whose random weights both sides get.
    case: for the workers, beside model, checkpoint, dtype, video and photo.
    turns: timed ones, of each side.
    untimed: turns before them.
    start: each turn is a process of its own, from its start to the first mask.
    dtypes: that the peer computes in.
    workers: modules, of ours and of the peer's.
    """

    model: str
    case: Case = field(default_factory=dict)
    turns: int = 5
    untimed: int = 0
    start: bool = False
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    workers: tuple[str, str] = ("benchmarks.ours", "benchmarks.peer")


def _everything(side: int, **limits: float) -> Case:
    return {"part": "everything", "arguments": {"points_per_side": side, **limits}}


def _train(batch: str) -> Part:
    workers = ("benchmarks.train_ours", "benchmarks.train_peer")
    return Part(_NANO, {"batch": batch, "folder": ""}, turns=5, workers=workers)


def _video(objects: int) -> Case:
    return {"part": "video", "objects": objects}


PARTS: dict[str, Part] = {
    "encoder-tiny": Part(_TINY, {"part": "encoder"}),
    "encoder-base-plus": Part(_BASE, {"part": "encoder"}),
    "encoder-large": Part(_LARGE, {"part": "encoder"}, turns=3),
    "encoder-vit-b": Part(_VIT_B, {"part": "encoder"}, turns=3),
    "decoder-1": Part(_TINY, {"part": "decoder", "prompts": 1}, turns=9),
    "decoder-64": Part(_TINY, {"part": "decoder", "prompts": 64}),
    "memory-attention": Part(_TINY, {"part": "memory-attention"}),
    "memory-encoder": Part(_TINY, {"part": "memory-encoder"}, turns=9),
    "video-1": Part(_TINY, _video(1), untimed=_FILL),
    "video-3": Part(_TINY, _video(3), untimed=_FILL),
    "video-16": Part(_TINY, _video(16), turns=2, untimed=_FILL),
    # No mask of random weights passes the official limits: what is timed is the model. Without
    # limits every mask is measured and compared with the others. Real weights lie between: of
    # docs/media/coffee.jpg 307 of 3072 pass this one, by float32's scores.
    "everything-none": Part(_TINY, _everything(32), turns=2),
    "everything-tenth": Part(
        _TINY,
        _everything(32, pred_iou_thresh=0.641477, stability_score_thresh=0.0),
        turns=2,
        dtypes=("float32",),
    ),
    "everything-all": Part(_TINY, _everything(32, **_NO_LIMITS), turns=1),
    # The official code of SAM 1 hands bfloat16 to numpy, which has none.
    "everything-vit-b": Part(_VIT_B, _everything(32), turns=1, dtypes=("float32",)),
    "everything-16-none": Part(_TINY, _everything(16), turns=2),
    "everything-16-all": Part(_TINY, _everything(16, **_NO_LIMITS), turns=1),
    "train-images": _train("images"),
    "train-videos": _train("videos"),
    "start-cold": Part(_TINY, {"cache": False}, turns=3, start=True),
    "start-warm": Part(_TINY, {"cache": True}, turns=3, start=True),
}


def chosen(names: tuple[str, ...], parts: Iterable[str] = PARTS) -> list[str]:
    """Parts by name, or by what their names begin with where none is called so; all for none.

    Raises:
      ValueError: nothing begins so.
    """
    parts = list(parts)
    if not names:
        return parts
    found = set()
    for name in names:
        begun = {name} & set(parts) or {part for part in parts if part.startswith(name)}
        if not begun:
            raise ValueError(f"no part begins with {name!r}; there are {', '.join(parts)}")
        found |= begun
    return [part for part in parts if part in found]
