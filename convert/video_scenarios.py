"""What a user may do to a video predictor, as functions that drive the official one and ours alike.

A scenario uses the official method names and arguments only. It gets a predictor and a session
that `init_state` has made from a clip of `SIZE` pixels, and yields what the user would see, in
order: (what was done, frame index, object ids, mask logits [n 1 H W] at the size of the video).
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.config import Sam2Config
from sam_jax.presets import SAM2_HIERA_TINY

SIZE = (540, 960)  # height, width that the coordinates below are for
_BOY, _GIRL, _LAMP = (210, 350), (420, 180), (880, 220)  # xy of things in bedroom.mp4, frame 0
_BOX = np.array([60, 150, 330, 520], np.float32)

Seen = tuple[str, int, list[Any], Any]
Run = Callable[[Any, Any], Iterator[Seen]]


@dataclass(frozen=True)
class Scenario:
    """One row of the parity table.

    Attributes:
      run: see the head of this file.
      frames: length of the clip.
      options: of both predictors' constructors.
      postprocessing: what the official builder calls `apply_postprocessing`: the stability
        fallback, holes up to 8 pixels filled, masks of prompted frames binarised for the memory.
      sam2_0: flags of SAM 2.0 instead of 2.1.
      every: step between frames of the video.
    """

    run: Run
    frames: int = 13
    options: Mapping[str, Any] = field(default_factory=dict)
    postprocessing: bool = True
    sam2_0: bool = False
    every: int = 3

    def config(self, base: Sam2Config) -> Sam2Config:
        """`base` with this scenario's flags."""
        decoder = dataclasses.replace(base.decoder, stability_fallback=self.postprocessing)
        memory = base.memory
        if self.sam2_0:
            released = SAM2_HIERA_TINY.memory
            memory = dataclasses.replace(
                memory,
                no_object_embed=released.no_object_embed,
                pointer_time_encoding=released.pointer_time_encoding,
            )
        return dataclasses.replace(base, decoder=decoder, memory=memory)

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything that both predictors' constructors get."""
        switched = {
            "fill_hole_area": 8 if self.postprocessing else 0,
            "binarize_mask_from_pts_for_mem_enc": self.postprocessing,
        }
        return {"add_all_frames_to_correct_as_cond": False, **switched, **self.options}


def _click(
    predictor: Any,
    state: Any,
    frame: int,
    obj: Any,
    *points: tuple[int, int],
    labels: list[int] | None = None,
    **options: Any,
) -> Seen:
    labels = [1] * len(points) if labels is None else labels
    answer = predictor.add_new_points_or_box(
        state,
        frame,
        obj,
        points=np.array(points, np.float32),
        labels=np.array(labels, np.int32),
        **options,
    )
    return (f"prompt {obj}", *answer)


def _box(predictor: Any, state: Any, frame: int, obj: Any, box: np.ndarray = _BOX) -> Seen:
    return (f"box {obj}", *predictor.add_new_points_or_box(state, frame, obj, box=box))


def _mask(predictor: Any, state: Any, frame: int, obj: Any, mask: np.ndarray) -> Seen:
    return (f"mask {obj}", *predictor.add_new_mask(state, frame, obj, mask))


def _propagate(
    predictor: Any, state: Any, label: str = "propagate", **where: Any
) -> Iterator[Seen]:
    for answer in predictor.propagate_in_video(state, **where):
        yield (label, *answer)


def ellipse(height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    """A bool mask; centre and radius as fractions of the sides."""
    rows = (np.arange(height)[:, None] + 0.5) / height - y
    columns = (np.arange(width) + 0.5) / width - x
    return rows**2 + columns**2 < radius**2


def one_click(predictor: Any, state: Any) -> Iterator[Seen]:
    yield _click(predictor, state, 0, 1, _BOY)
    yield from _propagate(predictor, state)


def four_frames(predictor: Any, state: Any) -> Iterator[Seen]:
    """One click and four tracked frames: for large models."""
    yield _click(predictor, state, 0, 1, _BOY)
    yield from _propagate(predictor, state, max_frame_num_to_track=4)


def box_and_click(predictor: Any, state: Any) -> Iterator[Seen]:
    """A box, refined by a click that is added to it, then one more on the other side."""
    yield _box(predictor, state, 0, 1)
    yield _click(predictor, state, 0, 1, _BOY, clear_old_points=False)
    yield _click(predictor, state, 0, 1, (420, 180), labels=[0], clear_old_points=False)
    yield from _propagate(predictor, state)


def box_with_click(predictor: Any, state: Any) -> Iterator[Seen]:
    """A box and a click in one call, coordinates as fractions."""
    height, width = SIZE
    yield _click(
        predictor,
        state,
        0,
        7,
        (0.22, 0.65),  # ty: ignore[invalid-argument-type]
        box=_BOX / np.array([width, height, width, height], np.float32),
        normalize_coords=False,
    )
    yield from _propagate(predictor, state)


def masks(predictor: Any, state: Any) -> Iterator[Seen]:
    """A mask of the video's size, an empty one, and a small one on a later frame."""
    yield _mask(predictor, state, 0, "boy", ellipse(*SIZE, 0.65, 0.22, 0.2))
    yield _mask(predictor, state, 0, "nobody", np.zeros(SIZE, bool))
    yield _mask(predictor, state, 3, "girl", ellipse(256, 256, 0.3, 0.45, 0.1))
    yield from _propagate(predictor, state)


def three_objects(predictor: Any, state: Any) -> Iterator[Seen]:
    """Prompted on different frames, one added after a pass, one removed.

    Object 2 is tracked on frames before its prompt, where it has a memory and no pointer.
    """
    yield _click(predictor, state, 0, 1, _BOY)
    yield _box(predictor, state, 4, 2, np.array([340, 60, 520, 330], np.float32))
    yield from _propagate(predictor, state)
    yield _click(predictor, state, 6, 30, _LAMP)
    yield from _propagate(predictor, state, "three", start_frame_idx=5, max_frame_num_to_track=4)
    ids, updated = predictor.remove_object(state, 2)
    for frame, seen in updated:
        yield "removed 2", frame, ids, seen
    yield from _propagate(predictor, state, "without 2")


def correct(predictor: Any, state: Any) -> Iterator[Seen]:
    """A click, a pass, clicks that correct a later frame and the first one, another pass."""
    yield _click(predictor, state, 0, 1, _BOY)
    yield from _propagate(predictor, state)
    yield _click(predictor, state, 6, 1, (500, 300))
    yield _click(predictor, state, 6, 1, (150, 420), labels=[0], clear_old_points=False)
    yield _click(predictor, state, 0, 1, _GIRL, _BOY, labels=[0, 1])
    yield from _propagate(predictor, state, "again")
    yield _mask(predictor, state, 9, 1, ellipse(*SIZE, 0.4, 0.6, 0.15))
    yield from _propagate(predictor, state, "after a mask", start_frame_idx=8)


def reverse(predictor: Any, state: Any) -> Iterator[Seen]:
    """Back from the middle, then forward, with a correction on a frame that was tracked back."""
    yield _click(predictor, state, 7, 1, _BOY)
    yield from _propagate(predictor, state, "back", start_frame_idx=7, reverse=True)
    yield _click(predictor, state, 3, 1, (500, 300))
    yield from _propagate(predictor, state, "forward", start_frame_idx=7)
    yield from _propagate(
        predictor, state, "back again", start_frame_idx=9, max_frame_num_to_track=5, reverse=True
    )


def many_prompts(predictor: Any, state: Any) -> Iterator[Seen]:
    """22 prompted frames of 26, with gaps."""
    for frame in (*range(10), *range(12, 24)):
        yield _click(predictor, state, frame, 1, (210 + 10 * frame, 350 - 5 * frame))
    yield from _propagate(predictor, state)


def six_prompts(predictor: Any, state: Any) -> Iterator[Seen]:
    """More prompted frames than `max_cond_frames_in_attn`, on both sides of tracked frames."""
    for frame in (0, 1, 4, 5, 8, 11):
        yield _click(predictor, state, frame, 1, (210 + 20 * frame, 350 - 10 * frame))
    yield from _propagate(predictor, state)
    yield from _propagate(predictor, state, "back", start_frame_idx=10, reverse=True)


def both_ways(predictor: Any, state: Any) -> Iterator[Seen]:
    yield _click(predictor, state, 6, 1, _BOY)
    yield from _propagate(predictor, state, "forward", start_frame_idx=0)
    yield from _propagate(predictor, state, "back", start_frame_idx=15, reverse=True)


def two_overlapping(predictor: Any, state: Any) -> Iterator[Seen]:
    yield _click(predictor, state, 0, 1, _BOY)
    yield _box(predictor, state, 0, 2)
    yield _mask(predictor, state, 2, 3, ellipse(*SIZE, 0.6, 0.3, 0.15))
    yield from _propagate(predictor, state)


def edit(predictor: Any, state: Any) -> Iterator[Seen]:
    """Prompts taken back before and after a pass, then everything, then a new start."""
    yield _click(predictor, state, 0, 1, _BOY)
    yield _click(predictor, state, 0, 2, _LAMP)
    yield _click(predictor, state, 5, 1, _GIRL)
    cleared = predictor.clear_all_prompts_in_frame(state, 0, 2)
    yield ("cleared 2", *cleared)
    yield _click(predictor, state, 0, 2, _GIRL)
    yield from _propagate(predictor, state, max_frame_num_to_track=7)
    yield ("cleared 1", *predictor.clear_all_prompts_in_frame(state, 5, 1))
    yield _click(predictor, state, 5, 1, _BOY, (150, 420))
    yield ("cleared again", *predictor.clear_all_prompts_in_frame(state, 5, 1))
    yield from _propagate(predictor, state, "after", start_frame_idx=3)
    predictor.reset_state(state)
    yield _click(predictor, state, 8, "new", _BOY)
    yield from _propagate(predictor, state, "new")


_KEEP = {"add_all_frames_to_correct_as_cond": True}
SCENARIOS: dict[str, Scenario] = {
    "1 click": Scenario(one_click),
    "1 click, raw": Scenario(one_click, postprocessing=False),
    "box, then clicks": Scenario(box_and_click),
    "box, then clicks, raw": Scenario(box_and_click, postprocessing=False),
    "box with click": Scenario(box_with_click),
    "masks": Scenario(masks),
    "masks, raw": Scenario(masks, postprocessing=False),
    "3 objects": Scenario(three_objects),
    "correction lost": Scenario(correct),
    "correction kept": Scenario(correct, options=_KEEP),
    "correction kept, raw": Scenario(correct, options=_KEEP, postprocessing=False),
    "reverse": Scenario(reverse),
    "reverse, kept": Scenario(reverse, options=_KEEP, postprocessing=False),
    "22 prompts": Scenario(many_prompts, frames=26),
    "5 frames": Scenario(one_click, frames=5),
    "absence": Scenario(both_ways, frames=16),
    "2.0": Scenario(correct, options=_KEEP, sam2_0=True),
    "2.0, 3 objects": Scenario(three_objects, sam2_0=True, postprocessing=False),
    "non-overlap": Scenario(two_overlapping, options={"non_overlap_masks": True}),
    "3 of 6 prompts": Scenario(six_prompts, options={"max_cond_frames_in_attn": 3}),
    "stride 2": Scenario(both_ways, frames=16, options={"memory_temporal_stride_for_eval": 2}),
    "edits": Scenario(edit),
}
SHORT = Scenario(four_frames, frames=5)


def read_clip(video: Path, frames: int, *, every: int = 3) -> np.ndarray:
    """Each `every`-th frame of a video, resized to `SIZE`: uint8 RGB [t h w 3].

    Raises:
      ValueError: the video is too short.
    """
    import av

    height, width = SIZE
    clip = []
    with av.open(str(video)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i % every == 0:
                picture = (
                    frame if (frame.height, frame.width) == SIZE else frame.reformat(width, height)
                )
                clip.append(picture.to_ndarray(format="rgb24"))
            if len(clip) == frames:
                return np.stack(clip)
    raise ValueError(f"{video} has {len(clip)} frames at a step of {every}; {frames} are needed")
