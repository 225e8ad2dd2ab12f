"""Clips of mixed lengths in slots give what each clip gives alone, frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import clips, video
from sam_jax.frame import NO_OBJECT, no_prompts
from sam_jax.types import ClipWindow, FrameInput, FrameOutput, Model, Prompts

SIDE, LOW, POINTS, O, W = 96, 24, 4, 2, 4  # noqa: E741
CLICK, BOX = ([[30, 40], [0, 0]], [1, -1]), ([[10, 20], [70, 80], [0, 0]], [2, 3, -1])
CORRECTION = ([[60, 60], [20, 80], [0, 0]], [1, 0, -1])


@dataclass
class Clip:
    """Attributes:
    clicks: points and labels by frame and object.
    mask: frame and object of a mask that is given.
    """

    frames: np.ndarray
    clicks: dict[tuple[int, int], tuple[list, list]]
    mask: tuple[int, int] | None = None
    answers: list[FrameOutput] = field(default_factory=list)

    def corrects(self, frame: int, number: int) -> bool:
        earlier = [f for f, o in [*self.clicks, *([self.mask] if self.mask else [])] if o == number]
        return 2 not in self.clicks[frame, number][1] and min(earlier) < frame


SQUARE = np.zeros((SIDE, SIDE), np.uint8)
SQUARE[20:60, 30:80] = 1


@pytest.fixture(scope="module")
def model(small_tracker: Callable[..., Model]) -> Model:
    return small_tracker()


@pytest.fixture(scope="module")
def some_clips(drifting: Callable[..., np.ndarray]) -> list[Clip]:
    return [
        Clip(drifting(6, seed=1), {(0, 0): CLICK, (2, 1): BOX, (5, 0): CORRECTION}),
        Clip(drifting(3, seed=2), {(0, 1): BOX}),
        Clip(drifting(7, seed=3), {(0, 1): CLICK}, mask=(5, 0)),
        Clip(drifting(1, seed=4), {(0, 0): CLICK}),
    ]


def asked(clip: Clip, frame: int) -> tuple[Prompts, np.ndarray, np.ndarray]:
    points = np.zeros((O, POINTS, 2), np.float32)
    labels = np.full((O, POINTS), -2, np.int32)
    prompted, correcting = np.zeros((2, O), bool)
    for (at, number), (xy, kinds) in clip.clicks.items():
        if at == frame:
            points[number, : len(xy)], labels[number, : len(kinds)] = xy, kinds
            prompted[number], correcting[number] = True, clip.corrects(at, number)
    return no_prompts(O, LOW).replace(points=points, labels=labels), prompted, correcting


_track = jax.jit(clips.track_window)
_prompt_masks = jax.jit(video.prompt_masks, static_argnames="options")


def alone(model: Model, clip: Clip) -> list[FrameOutput]:
    state = video.init_state(model, O, num_frames=len(clip.frames))
    outputs = []
    for frame, image in enumerate(clip.frames):
        features = video.jit_encode(model, image[None])
        given = np.zeros(O, bool)
        answers = None
        if clip.mask is not None and clip.mask[0] == frame:
            given[clip.mask[1]] = True
            masks = np.tile(SQUARE.astype(np.float32), (O, 1, 1))
            state, answers = _prompt_masks(model, state, features, masks, given)
        state, output = video.jit_step(model, state, FrameInput(features, *asked(clip, frame)))
        if answers is not None:
            output = jax.tree.map(
                lambda a, x, given=given: np.where(given.reshape(-1, *[1] * (x.ndim - 1)), a, x),
                answers,
                output,
            )
        outputs.append(jax.device_get(output))
    return outputs


def window(parts: list[tuple[Clip, int] | None]) -> ClipWindow:
    """A window with, for each slot, a clip and the frame to go on from."""
    b = len(parts)
    images = np.zeros((b, W, SIDE, SIDE, 3), np.uint8)
    live, begins, lengths = np.zeros((b, W), bool), np.zeros(b * O, bool), np.ones(b * O, np.int32)
    masks, mask_at = np.zeros((b * O, SIDE, SIDE), np.uint8), np.full(b * O, -1, np.int32)
    frames: list[list[Any]] = []
    for slot, part in enumerate(parts):
        clip, start = part or (Clip(images[:0, 0], {}), 0)
        rows = slice(slot * O, slot * O + O)
        count = min(W, len(clip.frames) - start)
        live[slot, :count], begins[rows], lengths[rows] = True, start == 0, len(clip.frames)
        images[slot, :count] = clip.frames[start : start + count]
        if clip.mask and start <= clip.mask[0] < start + W:
            row = slot * O + clip.mask[1]
            masks[row], mask_at[row] = SQUARE, clip.mask[0] - start
        frames.append([asked(clip, start + t) for t in range(W)])
    by_object = [
        np.concatenate([np.stack([pick(f) for f in slot], 1) for slot in frames])
        for pick in (lambda f: f[0].points, lambda f: f[0].labels, lambda f: f[1], lambda f: f[2])
    ]
    points, labels, prompted, correcting = by_object
    prompts = Prompts(
        points, labels, np.zeros((0, W, LOW, LOW, 1), np.float32), np.zeros((0, W), bool),
        np.zeros((0, W, 0), np.float32), np.zeros((0, W), bool),
    )  # fmt: skip
    rest = (prompts, prompted, correcting, masks, mask_at)
    return jax.tree.map(jnp.asarray, ClipWindow(images, live, begins, lengths, *rest))


def test_clips_in_slots_are_what_they_are_alone(model: Model, some_clips: list[Clip]) -> None:
    """Also that objects there differ, and that one program is enough."""
    a, b, c, d = some_clips
    state = video.init_state(model, 2 * O)
    before = _track._cache_size()
    found: dict[int, list[FrameOutput]] = {id(clip): [] for clip in some_clips}
    for parts in ([(a, 0), (b, 0)], [(a, 4), (c, 0)], [(d, 0), (c, 4)], [None, None]):
        state, output = _track(model, state, window(parts))
        output = jax.device_get(output)
        for slot, part in enumerate(parts):
            clip, start = part or (d, 1)
            count = max(0, min(W, len(clip.frames) - start))
            mine = jax.tree.map(lambda x, slot=slot: x[slot * O : slot * O + O], output)
            assert (mine.logits[:, count:] == NO_OBJECT).all()
            found[id(clip)] += [jax.tree.map(lambda x, t=t: x[:, t], mine) for t in range(count)]
    assert _track._cache_size() == before + 1
    for clip in some_clips:
        expected = alone(model, clip)
        assert len(found[id(clip)]) == len(expected) == len(clip.frames)
        for mine, other in zip(found[id(clip)], expected, strict=True):
            jax.tree.map(partial(np.testing.assert_allclose, atol=2e-3, rtol=1e-3), mine, other)
    assert np.ptp([o.logits[1].mean() for o in found[id(a)][2:]]) > 0.1
    assert not np.allclose(found[id(a)][0].logits[0], found[id(d)][0].logits[0], atol=0.1)


def test_frames_that_are_not_live_do_not_matter(model: Model, some_clips: list[Clip]) -> None:
    full = window([(some_clips[1], 0), None])
    other = full.replace(images=jnp.where(full.live[..., None, None, None], full.images, 77))
    state = video.init_state(model, 2 * O)
    jax.tree.map(
        np.testing.assert_array_equal, _track(model, state, full), _track(model, state, other)
    )


def test_a_window_of_other_objects_is_refused(model: Model, some_clips: list[Clip]) -> None:
    with pytest.raises(ValueError, match=r"the state has 3 objects and the window prompts for"):
        clips.track_window(model, video.init_state(model, 3), window([(some_clips[1], 0)]))
