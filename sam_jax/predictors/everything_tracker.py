"""Everything in a video: objects found by the mask generator, tracked by the stream.

Upstream has nothing like it: people seed its video predictor by hand from its mask generator, on
the first frame only.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from sam_jax.io.images import as_rgb
from sam_jax.predictors.everything import AutomaticMaskGenerator
from sam_jax.predictors.generator_options import GeneratorOptions
from sam_jax.predictors.search import search_encoded
from sam_jax.predictors.stream import Stream
from sam_jax.predictors.tracked import Tracked
from sam_jax.video import require_memory

_MOST_OBJECTS = 1024


@dataclass(frozen=True)
class ObjectSpan:
    """When an object was seen.

    Attributes:
      first_frame: it was found there.
      last_frame: the last one with a mask of it.
      retired: it was away for so long that it is no longer looked for.
    """

    first_frame: int
    last_frame: int
    retired: bool = False


def check_settings(
    options: GeneratorOptions,
    *,
    every: int,
    max_objects: int,
    retire_after: int,
    min_uncovered: float | int = 0.5,
) -> None:
    """Raises ValueError for what `EverythingTracker` refuses, apart from the model."""
    counts = {"every": every, "max_objects": max_objects, "retire_after": retire_after}
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 on, got {value}")
    if max_objects > _MOST_OBJECTS:
        raise ValueError(
            f"max_objects must be at most {_MOST_OBJECTS}, got {max_objects}: memory grows with it"
        )
    if not 0 < min_uncovered <= 1:
        raise ValueError(
            f"min_uncovered must be above 0 and at most 1, got {min_uncovered}: with 0, each look"
            " would find the same objects again"
        )
    if options.crop_n_layers:
        raise ValueError(
            f"crop_n_layers is {options.crop_n_layers}: frames of a video are looked at as a whole;"
            " for small things take more points_per_side"
        )


class EverythingTracker:
    """Finds everything in a stream of frames and tracks it, also what comes later.

        generator = sam_jax.AutomaticMaskGenerator(sam_jax.load("sam2.1-hiera-tiny"))
        tracker = sam_jax.EverythingTracker(generator)
        for frame in frames:                                  # uint8 RGB [h w 3]
            for number, tracked in tracker.step(frame).items():
                tracked.mask, tracked.iou, tracked.object_logit
        tracker.objects                                       # when each was seen

    On the first frame, and every `every` frames, the generator clicks where no tracked object is.
    What it finds is a new object, the best first, if enough of it is outside of all others; so an
    object is not tracked again, nor its parts. One that stays away leaves its place to others.
    Objects are numbered 1, 2, ... as they are found, and no number is used twice.

    Programs: those of `Stream` for masks, and one that looks, however many frames and objects there
    are. Each frame is encoded once.

    Args:
      generator: holds the model, of SAM 2, and says what is looked for, without crops.
      every: frames from one look to the next.
      max_objects: tracked at once, at most 1024; of more, those are taken that the model is most
        sure of. Memory grows with it, and on GPU time: there a place without an object takes as
        long as one with.
      retire_after: frames without a mask of it after which an object is given up.
      min_uncovered: share of a mask, 0..1, that is outside of all other objects in a new one.
      num_frames: length of the video if it is known; matters below 16.

    Raises:
      TypeError: no generator.
      ValueError: a number that means nothing, a SAM 1 model, or a generator that cuts crops.
    """

    def __init__(
        self,
        generator: AutomaticMaskGenerator,
        *,
        every: int = 8,
        max_objects: int = 32,
        retire_after: int = 16,
        min_uncovered: float | int = 0.5,
        num_frames: int | None = None,
    ) -> None:
        if not isinstance(generator, AutomaticMaskGenerator):
            raise TypeError(
                "EverythingTracker takes an AutomaticMaskGenerator(model), got"
                f" {type(generator).__name__}"
            )
        check_settings(
            generator.options,
            every=every,
            max_objects=max_objects,
            retire_after=retire_after,
            min_uncovered=min_uncovered,
        )
        require_memory(generator.model.config)
        self.generator = generator
        self.left_out = 0  # objects found on the last look for which there was no room
        self._every = every
        self._max_objects = max_objects
        self._retire_after = retire_after
        self._min_uncovered = min_uncovered
        # An object is given once, as a mask, hence one prompted frame.
        self._stream = Stream(
            generator.model, max_objects, prompted_frames=1, num_frames=num_frames
        )
        self._objects: dict[int, ObjectSpan] = {}
        self._unseen: tuple[int, dict[int, Tracked]] | None = None  # answers not yet looked at

    @property
    def frame(self) -> int:
        """Index of the frame that the next step takes."""
        return self._stream.frame

    @property
    def objects(self) -> dict[int, ObjectSpan]:
        """All objects so far by their numbers, retired ones included."""
        self._look_at_answers()
        return dict(self._objects)

    def step(
        self, frame: Any, model_input: UInt8[np.ndarray, "H W 3"] | None = None
    ) -> dict[int, Tracked]:
        """Track everything on the next frame, and look for what is new if it is time to.

        Args:
          frame: uint8 RGB [h w 3], or PIL; all of one size.
          model_input: as for `Stream.step`.

        Returns:
          The objects by their numbers, those that are out of sight included, until they retire.

        Raises:
          ValueError: not such a frame.
        """
        pixels = as_rgb(frame)
        # As late as this, so that the device works on a frame while the caller makes the next.
        self._look_at_answers()
        number = self.frame
        answers: dict[int, Tracked] = self._stream.step(pixels, model_input)
        self._unseen = number, answers
        if number % self._every == 0:
            self._look_at_answers()
            answers = answers | self._find_more(number, answers, pixels.shape[:2])
        return answers

    def _look_at_answers(self) -> None:
        """Notes who is there, and retires who has been away for too long."""
        if self._unseen is None:
            return
        (number, answers), self._unseen = self._unseen, None
        for obj_id, tracked in answers.items():
            span = self._objects[obj_id]
            if _is_seen(tracked):
                self._objects[obj_id] = replace(span, last_frame=number)
            elif number - span.last_frame >= self._retire_after:
                self._objects[obj_id] = replace(span, retired=True)
                self._stream.remove(obj_id)

    def _find_more(
        self, number: int, answers: dict[int, Tracked], size: tuple[int, int]
    ) -> dict[int, Tracked]:
        """New objects on a frame on which the known ones have been tracked."""
        covered = np.zeros(size, bool)
        for tracked in answers.values():
            if _is_seen(tracked):
                covered |= tracked.mask
        room = self._max_objects - len(self._stream.ids)
        masks, self.left_out = self._new_masks(f"frame {number}", covered, room)
        if self.left_out:
            warnings.warn(
                f"frame {number}: {self.left_out} more new objects, of which the model is less"
                f" sure, are left out: raise max_objects ({self._max_objects}) or the thresholds",
                stacklevel=3,
            )
        first = len(self._objects) + 1
        new = dict(enumerate(masks, first))
        self._objects |= {obj_id: ObjectSpan(number, number) for obj_id in new}
        return self._stream.join(new)

    def _new_masks(
        self, name: str, covered: Bool[np.ndarray, "h w"], room: int
    ) -> tuple[list[Bool[np.ndarray, "h w"]], int]:
        """Up to `room` masks of what is not covered, best first, and how many more there are."""
        model, options = self.generator.model, self.generator.options
        masks, more = [], 0
        taken = covered.copy()
        for found in search_encoded(model, self._stream.features, covered, options, name):
            mask = found.mask(model.config, options.mask_threshold)
            outside = np.count_nonzero(mask & ~taken)
            if outside == 0 or outside < self._min_uncovered * np.count_nonzero(mask):
                continue
            taken |= mask
            if len(masks) < room:
                masks.append(mask)
            else:
                more += 1
        return masks, more


def _is_seen(tracked: Tracked) -> bool:
    return tracked.object_logit > 0 and bool((tracked.logits > 0).any())
