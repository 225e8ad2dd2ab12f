"""One video being edited: its frames, and what is known about its objects."""

import operator
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from sam_jax import video
from sam_jax.io.images import upsample_logits
from sam_jax.io.prefetch import prefetch
from sam_jax.io.videos import Video
from sam_jax.predictors.history import ObjectMemory
from sam_jax.types import ImageFeatures, Model

_FEATURES_KEPT = 4  # frames whose features stay on the device for the next click


@dataclass
class VideoSession:
    """One video being edited: what `init_state` returns and the other methods take.

    Attributes:
      video: where frames come from.
      num_frames, video_height, video_width: of the video.
      memories: what is known about each object, by its id, in order of their adding.
    """

    video: Video
    num_frames: int
    video_height: int
    video_width: int
    memories: dict[Any, ObjectMemory] = field(default_factory=dict)
    # On the device: features of the frames clicked on last; what an object's memory makes of the
    # frame of the last correction, with (frame, object).
    features: OrderedDict[int, ImageFeatures] = field(default_factory=OrderedDict)
    seen: tuple[tuple[int, Any], Array] | None = None

    @property
    def obj_ids(self) -> list[Any]:
        return list(self.memories)

    def check_frame(self, frame_idx: Any) -> None:
        """Raises ValueError if there is no such frame, TypeError if it is not a whole number."""
        if not 0 <= operator.index(frame_idx) < self.num_frames:
            raise ValueError(
                f"frame_idx {frame_idx} is not in the video, which has frames 0 to "
                f"{self.num_frames - 1}"
            )

    def require(self, obj_id: Any) -> ObjectMemory:
        """What is known about an object; ValueError if there is none of that name."""
        if obj_id not in self.memories:
            raise ValueError(f"no object {obj_id!r}; there are {self.obj_ids}")
        return self.memories[obj_id]

    def any_pending_cond(self, frame_idx: int) -> bool:
        """Whether a frame has prompts of which no memory was made yet."""
        return any(frame_idx in memory.pending_cond for memory in self.memories.values())

    def scores(self, frame_idx: int) -> dict[Any, dict[str, float]]:
        """As `VideoPredictor.scores`."""
        self.check_frame(frame_idx)
        found = {obj_id: memory.scores.get(frame_idx) for obj_id, memory in self.memories.items()}
        return {
            obj_id: {"iou": scores[0], "object_logit": scores[1]}
            for obj_id, scores in found.items()
            if scores is not None
        }

    def frame_features(self, model: Model, frame_idx: int) -> ImageFeatures:
        """Features of one frame, kept for the next click on it."""
        if frame_idx not in self.features:
            square = self.video.model_input(frame_idx, model.config.image_size)
            self.features[frame_idx] = video.jit_encode(model, square[None])
            if len(self.features) > _FEATURES_KEPT:
                self.features.popitem(last=False)
        self.features.move_to_end(frame_idx)
        return self.features[frame_idx]

    def features_along(self, model: Model, order: range) -> Iterator[tuple[int, ImageFeatures]]:
        """Features of one frame after the other; frames are read ahead."""
        stop = order.stop if order.stop >= 0 else None
        squares = self.video.model_inputs(
            model.config.image_size, start=order.start, stop=stop, step=order.step
        )
        for frame_idx, (_, square) in zip(order, prefetch(squares, 2), strict=True):
            features = self.features.get(frame_idx)
            yield frame_idx, features or video.jit_encode(model, square[None])

    def at_video_size(
        self, logits: Float[np.ndarray, "n hm wm"], *, non_overlap: bool
    ) -> Float[np.ndarray, "n 1 h w"]:
        """Masks as the methods return them.

        Args:
          non_overlap: where objects overlap, all but the strongest are pushed to -10 or below.
        """
        full = upsample_logits(logits, self.video_height, self.video_width)
        if non_overlap and len(full) > 1:
            best = full.argmax(0) == np.arange(len(full))[:, None, None]
            full = np.where(best, full, np.minimum(full, -10.0))
        return full[:, None]
