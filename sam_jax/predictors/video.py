"""The video predictor people know: prompt any frame, propagate, correct, propagate again.

Upstream: sam2/sam2_video_predictor.py, SAM2VideoPredictor. Same method names, arguments, results
and rules; masks come as numpy arrays. Deliberate differences:
- all objects of a frame are one program, and device memory does not grow with the video: what
  editing needs of the past is kept on the host, as much of it as `max_history` allows.
- frames are read when they are needed, from anywhere.
- a correction of a tracked frame survives the next propagation, unless
  `add_all_frames_to_correct_as_cond` is off.
- holes are filled on every device; prompts are checked.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from sam_jax.frame import TrackOptions
from sam_jax.io.canvas import Canvas
from sam_jax.io.videos import open_video
from sam_jax.predictors import editing
from sam_jax.predictors.history import ObjectMemory
from sam_jax.predictors.prompts import check_mask, check_prompts, join_points, resize_mask
from sam_jax.predictors.propagation import carried_into, logits_of, propagate, remember_prompted
from sam_jax.predictors.session import VideoSession
from sam_jax.types import ImageFeatures, Model
from sam_jax.video import require_memory

Result = tuple[int, list[Any], Float[np.ndarray, "n 1 h w"]]


class VideoPredictor:
    """Prompts on any frame of a video, and their propagation.

        predictor = VideoPredictor(sam_jax.load("sam2.1-hiera-tiny"))
        state = predictor.init_state("clip.mp4")
        predictor.add_new_points_or_box(state, 0, 1, points=[[210, 350]], labels=[1])
        for frame_idx, obj_ids, masks in predictor.propagate_in_video(state):
            masks[:, 0] > 0                                     # bool [n h w]

    Programs: one each for the image encoder, a frame without memory, a given mask, and the memory
    of a prompted frame. The decoder is compiled for up to 1, 3, 7, 15 and 31 clicks and box corners
    on a frame; a frame in the light of the memory for up to 1, 2, 4, ... prompted frames of the
    object; the step of a propagation for these and for up to 1, 2, 4, ... objects. So 1 to 20
    clicks on each of 20 frames of one object compile 4 + 5 + 6 + 6 programs at most.

    Args:
      model: what `sam_jax.load` returns.
      fill_hole_area: holes of at most so many low-resolution pixels are filled; 0 keeps them.
      non_overlap_masks: a pixel belongs to one object only.
      add_all_frames_to_correct_as_cond: corrected frames become prompted frames, which every other
        frame attends to. Off is the official default: corrections are lost when the frame is
        tracked again.
      binarize_mask_from_pts_for_mem_enc: masks of prompted frames are remembered as 0 and 1.
      max_cond_frames_in_attn: attend to so many prompted frames, the closest; -1: to all.
      memory_temporal_stride_for_eval: of the recent frames attended to.
      max_history: how many tracked frames of an object are kept on the host; None: all; 0: none,
        and a correction then knows only the prompted frames. One takes 0.8 MB at 1024.
    """

    def __init__(
        self,
        model: Model,
        *,
        fill_hole_area: int = 8,
        non_overlap_masks: bool = False,
        add_all_frames_to_correct_as_cond: bool = True,
        binarize_mask_from_pts_for_mem_enc: bool = True,
        max_cond_frames_in_attn: int = -1,
        memory_temporal_stride_for_eval: int = 1,
        max_history: int | None = None,
    ) -> None:
        if not isinstance(model, Model):
            raise TypeError(
                f"VideoPredictor takes what sam_jax.load returns, got {type(model).__name__}"
            )
        require_memory(model.config)
        if max_cond_frames_in_attn != -1 and max_cond_frames_in_attn < 2:
            raise ValueError(
                "max_cond_frames_in_attn must be -1 (no limit) or at least 2, got "
                f"{max_cond_frames_in_attn}"
            )
        if memory_temporal_stride_for_eval < 1:
            raise ValueError(
                "memory_temporal_stride_for_eval must be at least 1, got "
                f"{memory_temporal_stride_for_eval}"
            )
        if max_history is not None and max_history < 0:
            raise ValueError(f"max_history must be None or at least 0, got {max_history}")
        self.model = model
        self.non_overlap_masks = non_overlap_masks
        self.add_all_frames_to_correct_as_cond = add_all_frames_to_correct_as_cond
        self.max_history = max_history
        self._options = TrackOptions(
            max_prompted=None if max_cond_frames_in_attn == -1 else max_cond_frames_in_attn,
            stride=memory_temporal_stride_for_eval,
            binarize_prompted=binarize_mask_from_pts_for_mem_enc,
            fill_hole_area=fill_hole_area,
        )

    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> VideoSession:
        """Open a video: a file, a folder of pictures, an array [t h w 3], frames from a generator.

        Frames are read when they are needed; those of a generator are all read now, and kept at the
        model's input size. The other arguments are the official ones and change nothing: videos and
        states are on the host always, and frames are read ahead always.

        Raises:
          ValueError, OSError: it cannot be read.
        """
        if isinstance(video_path, int):
            raise ValueError(f"camera {video_path} has no end: sam_jax.Stream tracks in cameras")
        source = open_video(video_path)
        height, width = source.height, source.width
        if source.num_frames is None:
            source = open_video([x for _, x in source.model_inputs(self.model.config.image_size)])
        assert source.num_frames is not None
        return VideoSession(source, source.num_frames, height, width)

    def add_new_points_or_box(
        self,
        inference_state: VideoSession,
        frame_idx: int,
        obj_id: Any,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> Result:
        """Click on an object, or draw a box around it.

        On a frame that no propagation visited yet the prompt alone says what the object is; on
        others it corrects the track.

        Args:
          obj_id: any hashable value; a new one makes a new object, at any time.
          points: xy in pixels of the video [p 2].
          labels: 1 on the object, 0 on what is not part of it [p].
          clear_old_points: false adds to the clicks given on this frame before.
          normalize_coords: coordinates are pixels; false if they are 0..1 already.
          box: XYXY; replaces what was given before.

        Returns:
          frame_idx, all object ids, and their mask logits at the video's size. -1024 where an
          object has no mask on this frame yet.

        Raises:
          ValueError: no prompt, or one that makes no sense; no such frame.
        """
        state, config = inference_state, self.model.config
        state.check_frame(frame_idx)
        if points is None and labels is None and box is None:
            raise ValueError("no prompt: give points with labels, or a box")
        if box is not None and not clear_old_points:
            raise ValueError(
                "a box must come before clicks: give it with clear_old_points=True, which replaces "
                "what was given on this frame"
            )
        arrays = check_prompts(
            points,
            labels,
            box,
            None,
            canvas=Canvas(
                state.video_height, state.video_width, config.image_size, config.keep_aspect
            ),
            normalize_coords=normalize_coords,
            config=config,
        )
        if len(arrays.points) > 1:
            raise ValueError(f"{len(arrays.points)} objects in one call: call once for each")
        features = state.frame_features(self.model, frame_idx)  # may raise: nothing is noted yet
        memory = state.memories.setdefault(obj_id, ObjectMemory())
        if not clear_old_points and frame_idx in memory.points:
            arrays = join_points(memory.points[frame_idx], arrays)
        memory.points[frame_idx] = arrays
        memory.masked.discard(frame_idx)

        is_cond = self._is_cond(memory, frame_idx)
        # Upstream feeds back what it answered before, also when clicks are replaced.
        previous = memory.pending(is_cond).get(frame_idx)
        previous = previous or memory.cond.get(frame_idx) or memory.non_cond.get(frame_idx)
        if frame_idx in memory.tracked:
            embed = self._see(state, frame_idx, obj_id, features)
        else:
            embed = editing.see_plain(self.model, features)
        answer = editing.decode(
            self.model,
            embed,
            features,
            editing.to_prompts(arrays, previous, config.mask_size),
            self._options,
        )
        memory.answered(frame_idx, editing.to_entry(answer), is_cond=is_cond)
        return self._shown(state, frame_idx, is_cond)

    def add_new_points(self, *args: Any, **kwargs: Any) -> Result:
        """The old name of `add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(
        self, inference_state: VideoSession, frame_idx: int, obj_id: Any, mask: Any
    ) -> Result:
        """Say what an object is by its mask: bool or 0/1 [h w], of any size.

        Raises:
          ValueError: not such a mask; no such frame.
        """
        state = inference_state
        state.check_frame(frame_idx)
        square = resize_mask(check_mask(mask, None), self.model.config.image_size)
        features = state.frame_features(self.model, frame_idx)  # may raise: nothing is noted yet
        memory = state.memories.setdefault(obj_id, ObjectMemory())
        memory.points.pop(frame_idx, None)
        memory.masked.add(frame_idx)
        is_cond = self._is_cond(memory, frame_idx)
        answer = editing.answer_mask(self.model, features, square[None], self._options)
        memory.answered(frame_idx, editing.to_entry(answer), is_cond=is_cond)
        return self._shown(state, frame_idx, is_cond)

    def propagate_in_video(
        self,
        inference_state: VideoSession,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Result]:
        """Track all objects from frame to frame.

        Args:
          start_frame_idx: the first frame; by default the first prompted one, in reverse too.
          max_frame_num_to_track: how many frames after the first; by default all there are.
          reverse: towards frame 0.

        Yields:
          frame index, object ids, mask logits [n 1 h w] at the video's size. A frame is under way
          on the device while the one before is looked at. `scores` has the numbers with it. The
          objects are those at the time of the call, whatever is done to them on the way.

        Raises:
          RuntimeError: an object has no prompt, or there is none.
          ValueError: no such frame.
        """
        state = inference_state
        self.propagate_in_video_preflight(state)
        if start_frame_idx is None:
            start_frame_idx = min(min(memory.cond) for memory in state.memories.values())
        state.check_frame(start_frame_idx)
        count = state.num_frames if max_frame_num_to_track is None else max_frame_num_to_track
        if count < 0:
            raise ValueError(f"max_frame_num_to_track must not be negative, got {count}")
        if reverse:
            last = max(start_frame_idx - count, 0)
            order = range(start_frame_idx, last - 1, -1) if start_frame_idx > 0 else range(0)
        else:
            order = range(start_frame_idx, min(start_frame_idx + count, state.num_frames - 1) + 1)
        return self._propagate(state, dict(state.memories), order, reverse)

    def propagate_in_video_preflight(self, inference_state: VideoSession) -> None:
        """Make memories of the prompted frames; `propagate_in_video` begins with it.

        Raises:
          RuntimeError: an object has no prompt, or there is none.
        """
        state = inference_state
        state.seen = None
        if not state.memories:
            raise RuntimeError("there is nothing to track: prompt an object first")
        for obj_id, memory in state.memories.items():
            remember_prompted(self.model, state, memory, self._options)
            if not memory.cond:
                raise RuntimeError(
                    f"object {obj_id!r} has no prompt: give it one, or call remove_object"
                )

    def scores(self, inference_state: VideoSession, frame_idx: int) -> dict[Any, dict[str, float]]:
        """Predicted IoU and object logit (> 0: in the frame) of each object that has a mask there.

        Raises:
          ValueError: no such frame.
        """
        return inference_state.scores(frame_idx)

    def clear_all_prompts_in_frame(
        self,
        inference_state: VideoSession,
        frame_idx: int,
        obj_id: Any,
        need_output: bool = True,
    ) -> Result | None:
        """Take back what was asked about an object on a frame; its mask stays, as a tracked one.

        Raises:
          ValueError: no such frame or object.
        """
        state = inference_state
        state.check_frame(frame_idx)
        memory = state.require(obj_id)
        state.seen = None
        memory.points.pop(frame_idx, None)
        memory.masked.discard(frame_idx)
        memory.pending_cond.pop(frame_idx, None)
        memory.pending_non_cond.pop(frame_idx, None)
        if entry := memory.cond.pop(frame_idx, None):
            memory.non_cond[frame_idx] = entry
            memory.tracked.pop(frame_idx, None)
        memory.scores.pop(frame_idx, None)
        if entry := memory.shown(frame_idx, is_cond=True):
            memory.scores[frame_idx] = entry.iou, entry.object_logit
        if not need_output:
            return None
        return self._shown(state, frame_idx, state.any_pending_cond(frame_idx))

    def remove_object(
        self,
        inference_state: VideoSession,
        obj_id: Any,
        strict: bool = False,
        need_output: bool = True,
    ) -> tuple[list[Any], list[tuple[int, Float[np.ndarray, "n 1 h w"]]]]:
        """Forget an object.

        Args:
          strict: an unknown id is an error.
          need_output: also return the frames it was prompted on, as they look without it.

        Raises:
          RuntimeError: `strict`, and there is no such object.
        """
        state = inference_state
        if obj_id not in state.memories:
            if strict:
                raise RuntimeError(f"no object {obj_id!r} to remove; there are {state.obj_ids}")
            return state.obj_ids, []
        memory = state.memories.pop(obj_id)
        state.seen = None
        if not state.memories or not need_output:
            return state.obj_ids, []
        changed = []
        for frame_idx in sorted({*memory.points, *memory.masked}):
            is_cond = state.any_pending_cond(frame_idx)
            changed.append((frame_idx, self._shown(state, frame_idx, is_cond)[2]))
        return state.obj_ids, changed

    def reset_state(self, inference_state: VideoSession) -> None:
        """Forget all objects."""
        inference_state.memories.clear()
        inference_state.seen = None

    def _propagate(
        self, state: VideoSession, objects: dict[Any, ObjectMemory], order: range, reverse: bool
    ) -> Iterator[Result]:
        found = propagate(
            self.model,
            state,
            list(objects.values()),
            order,
            reverse=reverse,
            max_history=self.max_history,
            options=self._options,
        )
        for frame_idx, logits in found:
            full = state.at_video_size(logits, non_overlap=self.non_overlap_masks)
            yield frame_idx, list(objects), full

    def _see(
        self, state: VideoSession, frame_idx: int, obj_id: Any, features: ImageFeatures
    ) -> Array:
        """A tracked frame in the light of the memory, which further clicks do not change."""
        if state.seen is None or state.seen[0] != (frame_idx, obj_id):
            memory = state.memories[obj_id]
            reverse = memory.tracked[frame_idx]
            carried = carried_into(
                self.model, state, frame_idx, [memory], reverse=reverse, options=self._options
            )
            embed = editing.see(self.model, features, carried, self._options)
            state.seen = (frame_idx, obj_id), embed
        return state.seen[1]

    def _is_cond(self, memory: ObjectMemory, frame_idx: int) -> bool:
        return frame_idx not in memory.tracked or self.add_all_frames_to_correct_as_cond

    def _shown(self, state: VideoSession, frame_idx: int, is_cond: bool) -> Result:
        entries = [m.shown(frame_idx, is_cond=is_cond) for m in state.memories.values()]
        logits = np.stack([logits_of(self.model, entry) for entry in entries])
        full = state.at_video_size(logits, non_overlap=self.non_overlap_masks)
        return frame_idx, state.obj_ids, full
