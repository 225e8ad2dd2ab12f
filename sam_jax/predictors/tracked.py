"""What a tracker answers: kept on the device until somebody looks."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool, Float

from sam_jax.io.images import upsample_logits
from sam_jax.types import FrameOutput


class Tracked:
    """One object on one frame. The numbers are waited for when they are first asked for.

    Attributes:
      mask: bool [h w], at the frame's size.
      iou: predicted IoU of the mask.
      object_logit: > 0 where the object is in the frame, else the mask is empty.
      logits: float32 [hm wm], low-resolution mask logits; > 0 inside.
    """

    def __init__(self, answers: "Answers", slot: int) -> None:
        self._answers = answers
        self._slot = slot

    @property
    def logits(self) -> Float[np.ndarray, "hm wm"]:
        return np.asarray(self._answers.fetch().logits[self._slot])

    @property
    def iou(self) -> float:
        return float(self._answers.fetch().iou[self._slot])

    @property
    def object_logit(self) -> float:
        return float(self._answers.fetch().object_logit[self._slot])

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        return upsample_logits(self.logits, *self._answers.size) > 0

    def __repr__(self) -> str:
        return f"Tracked(iou={self.iou:.3f}, object_logit={self.object_logit:.2f})"


@dataclass
class Answers:
    """Answers for all slots of a frame, on the device until somebody looks."""

    output: FrameOutput
    size: tuple[int, int]

    def fetch(self) -> FrameOutput:
        self.output = jax.device_get(self.output)
        return self.output
