"""Tracking in frames as they come: cameras, long videos, other people's decoders.

Upstream has nothing like it: its video predictor holds the whole video and everything it ever
computed about it.
"""

import copy
import logging
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt8

from sam_jax import video
from sam_jax.frame import TrackOptions
from sam_jax.io.canvas import Canvas
from sam_jax.io.images import as_rgb
from sam_jax.io.videos import Video
from sam_jax.predictors.prompts import (
    POINT_BUCKETS,
    PROMPT_BUCKETS,
    PromptArrays,
    bucket,
    check_mask,
    check_prompts,
    fill_slots,
    resize_mask,
)
from sam_jax.predictors.tracked import Answers, Tracked
from sam_jax.types import FrameInput, FrameOutput, ImageFeatures, Model, VideoState

_log = logging.getLogger("sam_jax")

_reset = jax.jit(video.reset_objects, donate_argnames="state")
_prompt_masks = jax.jit(video.prompt_masks, static_argnames="options", donate_argnames="state")


@dataclass(frozen=True)
class _Prompt:
    """What was asked, before the frame's size is known."""

    points: Any
    labels: Any
    box: Any
    mask: Any


class Stream:
    """Tracks objects in a stream of frames of unknown length, in constant memory.

        stream = Stream(sam_jax.load("sam2.1-hiera-tiny"))
        stream.add(1, box=[300, 0, 500, 400])
        for frame in camera:                      # uint8 RGB [h w 3]
            for obj_id, tracked in stream.step(frame).items():
                tracked.mask, tracked.iou, tracked.object_logit

    Results of `step` are there before they are computed: code that reads those of one frame after
    it has given the next keeps the device busy all the time.

    Programs: at most four are compiled, however many frames, clicks and objects there are: the
    image encoder, the step, the answer to given masks, and the emptying of a slot. The last three
    once more when the number of slots doubles; the step also when one object gets more than 3 (then
    7, 15, ...) clicks and box corners at once.

    Args:
      model: what `sam_jax.load` returns.
      max_objects: slots for objects; when more are added the number doubles, which compiles again.
        On GPU an empty slot takes as long as a full one.
      prompted_frames: how many prompted frames of an object are remembered; beyond, the oldest is
        forgotten.
      num_frames: length of the video if it is known; matters below 16.
      options: what upstream sets on its predictor.
    """

    def __init__(
        self,
        model: Model,
        max_objects: int = 1,
        *,
        prompted_frames: int = 4,
        num_frames: int | None = None,
        options: TrackOptions = TrackOptions(),  # noqa: B008 - frozen
    ) -> None:
        if not isinstance(model, Model):
            raise TypeError(f"Stream takes what sam_jax.load returns, got {type(model).__name__}")
        if max_objects < 1:
            raise ValueError(f"max_objects must be at least 1, got {max_objects}")
        self.model = model
        self.frame = 0  # index of the frame that the next step takes
        self._options = options
        self._new_state = lambda n: video.init_state(
            model, n, prompted=prompted_frames, num_frames=num_frames, options=options
        )
        self._state: VideoState = self._new_state(bucket(max_objects, PROMPT_BUCKETS))
        self._point_slots = POINT_BUCKETS[2]  # a box, a click and the closing token
        self._slots: dict[Any, int] = {}  # of objects that are or will be tracked
        self._tracked: set[Any] = set()  # those that were prompted
        self._prompts: dict[int, dict[Any, _Prompt]] = {}  # by frame
        self._size: tuple[int, int] | None = None
        self._features: ImageFeatures | None = None

    @property
    def features(self) -> ImageFeatures:
        """What the model sees of the frame that `step` was given last; one image.

        Raises:
          ValueError: there was none.
        """
        if self._features is None:
            raise ValueError("the stream has no frame yet: call step first")
        return self._features

    @property
    def ids(self) -> list[Any]:
        """The objects, in order of their adding."""
        return list(self._slots)

    def add(
        self,
        obj_id: Any,
        *,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        frame: int | None = None,
    ) -> None:
        """Say what an object is, or correct it, on the frame that the next `step` is given.

        Clicks on an object that is tracked correct the track; a box or a mask defines the object
        anew on that frame, and what is remembered of it stays. A second call for the same frame
        replaces the first.

        Args:
          obj_id: any hashable value.
          points: xy in pixels of the frame [p 2].
          labels: 1 on the object, 0 on what is not part of it [p].
          box: XYXY in pixels.
          mask: bool or 0/1 [h w] at the frame's size; alone.
          frame: index of a later frame, counted from 0 as they are given to `step`.

        Raises:
          ValueError: no prompt, or one that makes no sense, or for a frame left behind. When the
            size of the frames is not known yet, `step` raises it.
        """
        frame = self.frame if frame is None else operator.index(frame)
        if frame < self.frame:
            raise ValueError(
                f"frame {frame} is left behind: the next one is frame {self.frame}. A stream "
                "cannot go back; sam_jax.VideoPredictor can"
            )
        if all(x is None for x in (points, labels, box, mask)):
            raise ValueError(
                f"object {obj_id!r}: no prompt: give points with labels, a box or a mask"
            )
        # Copies: the caller's buffers may hold something else when the frame comes.
        prompt = _Prompt(*(copy.deepcopy(x) for x in (points, labels, box, mask)))
        if mask is not None and any(x is not None for x in (points, labels, box)):
            raise ValueError("a mask says all: give it without points and box")
        if self._size is not None:
            self._check(obj_id, prompt, self._size)
        if obj_id not in self._slots:
            self._slots[obj_id] = self._free_slot()
        self._prompts.setdefault(frame, {})[obj_id] = prompt

    def join(self, masks: Mapping[Any, Any]) -> dict[Any, Tracked]:
        """Add objects on the frame that `step` was given last, by their masks on it.

        The same as `add` before that step, for masks that are found in the light of its answers.

        Args:
          masks: of new objects, bool or 0/1 [h w] at the frame's size.

        Returns:
          The answers for these objects.

        Raises:
          ValueError: no frame yet, an object that there is already, or not such a mask.
        """
        features = self.features
        assert self._size is not None  # there is a frame
        checked = {}
        for obj_id, mask in masks.items():
            if obj_id in self._slots:
                raise ValueError(f"object {obj_id!r} is tracked already: add corrects it")
            prompt = _Prompt(None, None, None, mask)
            checked[obj_id] = self._check(obj_id, prompt, self._size)
        if not checked:
            return {}
        for obj_id in checked:
            self._slots[obj_id] = self._free_slot()
        self._state = replace(self._state, frame=self._state.frame - 1)
        output, _ = self._give(features, checked)
        self._state = replace(self._state, frame=self._state.frame + 1)
        self._tracked |= checked.keys()
        answers = Answers(output, self._size)
        return {obj_id: Tracked(answers, self._slots[obj_id]) for obj_id in checked}

    def remove(self, obj_id: Any) -> None:
        """Forget an object and free its slot.

        Raises:
          ValueError: there is no such object.
        """
        if obj_id not in self._slots:
            raise ValueError(f"no object {obj_id!r} to remove; there are {self.ids}")
        slot = self._slots.pop(obj_id)
        self._tracked.discard(obj_id)
        for prompts in self._prompts.values():
            prompts.pop(obj_id, None)
        n = self._state.frame.shape[0]
        self._state = _reset(self._state, jnp.arange(n) == slot)

    def step(
        self, frame: Any, model_input: UInt8[np.ndarray, "H W 3"] | None = None
    ) -> dict[Any, Tracked]:
        """Track everything on the next frame.

        Args:
          frame: uint8 RGB [h w 3], or PIL; all of one size.
          model_input: the frame as the model sees it, if the caller has it (`Video.model_inputs`
            makes it as the official loader does); by default it is made of `frame`.

        Returns:
          The objects that were prompted so far.

        Raises:
          ValueError: not such a frame, or a prompt for it that makes no sense; the stream stays
            where it was.
        """
        pixels = as_rgb(frame)
        size = pixels.shape[:2]
        if self._size not in (None, size):
            (h, w), (h0, w0) = size, self._size
            raise ValueError(
                f"frame {self.frame} is {w} x {h}, those before were {w0} x {h0} (width x height): "
                "start a new Stream when the size changes"
            )
        asked = self._prompts.get(self.frame, {})
        clicks: dict[Any, PromptArrays] = {}
        masks: dict[Any, np.ndarray] = {}
        for obj_id, prompt in asked.items():
            checked = self._check(obj_id, prompt, size)
            (masks if prompt.mask is not None else clicks)[obj_id] = checked

        side = self.model.config.image_size
        if model_input is None:
            model_input = Video.to_model_input(pixels, side)
        features = self._features = video.jit_encode(self.model, model_input[None])
        self._size = size
        n = self._state.frame.shape[0]
        given, where = None, np.zeros(n, bool)
        if masks:
            given, where = self._give(features, masks)
        self._grow_points(max((p.labels.shape[1] for p in clicks.values()), default=0))
        prompted, correcting = np.zeros(n, bool), np.zeros(n, bool)
        for obj_id in clicks:
            slot = self._slots[obj_id]
            prompted[slot] = True
            correcting[slot] = obj_id in self._tracked and asked[obj_id].box is None
        prompts = fill_slots(
            {self._slots[i]: p for i, p in clicks.items()},
            (n, self._point_slots),
            self.model.config.mask_size,
        )
        inputs = FrameInput(features, prompts, jnp.asarray(prompted), jnp.asarray(correcting))
        self._state, output = video.jit_step(self.model, self._state, inputs, options=self._options)
        if given is not None:  # the step leaves those alone
            output = jax.tree.map(
                lambda a, b: jnp.where(where.reshape(-1, *[1] * (a.ndim - 1)), a, b), given, output
            )
        self._prompts.pop(self.frame, None)
        self._tracked |= asked.keys()
        self.frame += 1
        answers = Answers(output, size)
        return {i: Tracked(answers, slot) for i, slot in self._slots.items() if i in self._tracked}

    def _give(
        self, features: ImageFeatures, masks: Mapping[Any, np.ndarray]
    ) -> tuple[FrameOutput, Bool[np.ndarray, " n"]]:
        """Answers for objects whose masks are given, and which slots are theirs.

        Args:
          masks: float32 [H W], at the model input's size.
        """
        n, side = self._state.frame.shape[0], self.model.config.image_size
        arrays, where = np.zeros((n, side, side), np.float32), np.zeros(n, bool)
        for obj_id, mask in masks.items():
            arrays[self._slots[obj_id]], where[self._slots[obj_id]] = mask, True
        self._state, output = _prompt_masks(
            self.model, self._state, features, arrays, where, options=self._options
        )
        return output, where

    def _check(self, obj_id: Any, prompt: _Prompt, size: tuple[int, int]) -> Any:
        config = self.model.config
        try:
            if prompt.mask is not None:
                return resize_mask(check_mask(prompt.mask, size), config.image_size)
            checked = check_prompts(
                prompt.points,
                prompt.labels,
                prompt.box,
                None,
                canvas=Canvas(*size, config.image_size, config.keep_aspect),
                normalize_coords=True,
                config=config,
            )
            if len(checked.points) > 1:
                raise ValueError(f"{len(checked.points)} boxes or lists of points: one an object")
        except ValueError as error:
            raise ValueError(f"object {obj_id!r}: {error}") from error
        return checked

    def _free_slot(self) -> int:
        n = self._state.frame.shape[0]
        taken = set(self._slots.values())
        free = [slot for slot in range(n) if slot not in taken]
        if free:
            return free[0]
        more = bucket(n + 1, PROMPT_BUCKETS)
        if self.frame:
            _log.warning("%d objects need %d slots in place of %d: compiling again", n + 1, more, n)
        extra = self._new_state(more - n)
        extra = replace(extra, frame=jnp.full(more - n, self.frame, jnp.int32))
        self._state = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), self._state, extra)
        return n

    def _grow_points(self, needed: int) -> None:
        if needed > self._point_slots:
            self._point_slots = bucket(needed, POINT_BUCKETS)
            _log.warning("%d points on one object: compiling again", needed - 1)
