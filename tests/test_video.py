"""The drivers agree, and objects and videos know nothing of each other.

That one step is what upstream does, `python -m convert.verify` shows.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import video
from sam_jax.frame import NO_OBJECT, TrackOptions, no_prompts
from sam_jax.types import FrameInput, FrameOutput, Model, Prompts, VideoState

SIDE, MASK = 96, 24  # of the model input, of low-resolution masks
POINTS = 4  # slots: one shape for all prompts
OFF = TrackOptions(one_by_one=False)
Ask = dict[int, dict[int, tuple[list, list]]]  # frame -> object -> (points, labels)

CLICK = ([[30, 40]], [1])
BOX = ([[10, 20], [70, 80]], [2, 3])
CLICKS = ([[60, 60], [20, 80]], [1, 0])
FEW: Ask = {0: {0: CLICK}, 2: {1: BOX}, 4: {0: CLICKS}}

encode = video.jit_encode
_prompt_masks = jax.jit(video.prompt_masks, static_argnames="options")
_reset = jax.jit(video.reset_objects)
_track = jax.jit(video.track, static_argnames=("chunk", "options"))


@pytest.fixture(scope="module")
def model(small_tracker: Callable[..., Model]) -> Model:
    return small_tracker()


@pytest.fixture(scope="module")
def absent_model(small_tracker: Callable[..., Model]) -> Model:
    return small_tracker(-1.2)


@pytest.fixture(scope="module")
def frames(drifting: Callable[..., np.ndarray]) -> np.ndarray:
    return drifting(10)[:, None]  # [t 1 h w 3]


def asked(n: int, ask: dict[int, tuple[list, list]]) -> tuple[Prompts, np.ndarray]:
    """Prompts of some of n objects on a frame, closed by not-a-point, and who has one."""
    points = np.zeros((n, POINTS, 2), np.float32)
    labels = np.full((n, POINTS), -2, np.int32)
    for i, (xy, kinds) in ask.items():
        points[i, : len(xy)] = xy
        labels[i, : len(kinds) + 1] = [*kinds, -1]
    nothing = no_prompts(n, MASK)
    return nothing.replace(points=points, labels=labels), np.isin(np.arange(n), list(ask))


def inputs(ask: Ask, n: int, t: int) -> Iterator[tuple[Prompts, np.ndarray, np.ndarray]]:
    """Prompts, prompted and correcting of each frame: later clicks on an object correct it."""
    known: set[int] = set()
    for frame in range(t):
        now = ask.get(frame, {})
        prompts, prompted = asked(n, now)
        correcting = [i in now and i in known and 2 not in now[i][1] for i in range(n)]
        known |= now.keys()
        yield prompts, prompted, np.array(correcting)


def run(
    model: Model,
    frames: np.ndarray,
    ask: Ask,
    n: int,
    *,
    state: VideoState | None = None,
    options: TrackOptions = TrackOptions(),  # noqa: B008 - frozen
) -> tuple[VideoState, list[FrameOutput]]:
    """Step by step, and what came out of every frame, on the host."""
    state = video.init_state(model, n, options=options) if state is None else state
    outputs = []
    for image, asked_now in zip(frames, inputs(ask, n, len(frames)), strict=True):
        given = FrameInput(encode(model, image), *asked_now)
        state, output = video.jit_step(model, state, given, options=options)
        outputs.append(jax.device_get(output))
    return state, outputs


def of(outputs: list[FrameOutput], which: Any) -> list[FrameOutput]:
    return [jax.tree.map(lambda x: x[which], output) for output in outputs]


def assert_equal(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a: Any, b: Any, atol: float = 5e-4) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=1e-4), a, b)


# Programs that differ in rounding may store other bfloat16 memories, which shows in later masks.
BFLOAT16 = 0.2


def differ(a: list[FrameOutput], b: list[FrameOutput]) -> float:
    return max(float(abs(x.logits - y.logits).max()) for x, y in zip(a, b, strict=True))


def test_objects_come_and_go_and_differ(model: Model, absent_model: Model, frames) -> None:
    """The set-up is one in which the other tests can fail."""
    _, outputs = run(model, frames, FEW, 2)
    assert all(0.05 < (o.logits[0] > 0).mean() < 0.98 for o in outputs)
    assert all((o.logits[1] == NO_OBJECT).all() for o in outputs[:2])
    assert all(((o.logits[0] > 0) != (o.logits[1] > 0)).mean() > 0.02 for o in outputs[2:])
    _, outputs = run(absent_model, frames, FEW, 2)
    present = np.array([o.object_logit > 0 for o in outputs])
    assert present[:, 0].any() and not present[:, 0].all()


# Drivers


@pytest.mark.parametrize("chunk", [1, 4], ids=["frame by frame", "4 and a rest"])
def test_equal_scan_and_steps(model: Model, frames, chunk: int) -> None:
    t = len(frames)
    asks = jax.tree.map(lambda *x: np.stack(x), *inputs(FEW, 2, t))
    state, outputs = _track(model, video.init_state(model, 2), frames, *asks, chunk=chunk)
    stepped, expected = run(model, frames, FEW, 2)
    expected = jax.tree.map(lambda *x: np.stack(x), *expected)
    assert_close(outputs, expected, atol=BFLOAT16)
    assert ((outputs.logits > 0) == (expected.logits > 0)).mean() > 0.999
    if chunk == 1:
        assert_close(outputs, expected)
    assert_equal(
        (state.frame, state.bank.frame, state.bank.pointer_frame, state.bank.num_prompted),
        (stepped.frame, stepped.bank.frame, stepped.bank.pointer_frame, stepped.bank.num_prompted),
    )


def test_equal_stream_and_steps(model: Model, frames) -> None:
    asks = inputs(FEW, 2, len(frames))
    source = ((image, *asked_now) for image, asked_now in zip(frames, asks, strict=True))
    streamed = [o for _, o in video.stream(model, video.init_state(model, 2), source)]
    assert_equal(jax.device_get(streamed), run(model, frames, FEW, 2)[1])


def test_stream_takes_frames_only_as_they_are_asked_for(model: Model, frames) -> None:
    taken = []

    def endless() -> Iterator[tuple]:
        while True:
            taken.append(1)
            yield frames[0], *asked(2, {}), np.zeros(2, bool)

    answers = video.stream(model, video.init_state(model, 2), endless())
    next(answers)
    next(answers)
    assert len(taken) == 2


def test_uint8_frames_are_what_floats_are(model: Model, frames) -> None:
    floats = frames[0].astype(np.float32) / 255
    assert_close(encode(model, frames[0]), encode(model, floats))


# Objects know nothing of each other

MANY: Ask = {
    0: {0: CLICK, 1: BOX, 2: CLICKS, 3: ([[5, 5]], [1]), 8: ([[90, 90]], [1]), 15: CLICK},
    1: {4: BOX, 5: ([[50, 10]], [1])},
    2: {2: CLICK, 6: BOX, 9: ([[48, 48], [50, 50], [70, 20]], [1, 1, 0])},  # 2 is corrected
    3: {1: CLICKS, 10: ([[20, 20], [90, 90]], [2, 3])},
}  # 7, 11 to 14 never


def alone(ask: Ask, i: int) -> Ask:
    return {frame: {0: now[i]} for frame, now in ask.items() if i in now}


@pytest.mark.parametrize("presence", ["there", "come and go"])
def test_each_of_16_objects_gets_what_it_gets_alone(
    model: Model, absent_model: Model, frames, presence: str
) -> None:
    model = model if presence == "there" else absent_model
    frames = frames[:6]
    _, together = run(model, frames, MANY, 16)
    _, batched = run(model, frames, MANY, 16, options=OFF)
    for i in range(16):
        only = {frame: {i: now[i]} for frame, now in MANY.items() if i in now}
        _, beside_empty = run(model, frames, only, 16)
        assert_equal(of(together, i), of(beside_empty, i))
        if i < 4:
            _, single = run(model, frames, alone(MANY, i), 1)
            assert_close(of(together, i), of(single, 0))
    assert_close(together, batched, atol=BFLOAT16)
    for i in (7, 11, 14):
        assert all((o.logits[i] == NO_OBJECT).all() and o.iou[i] == 0 for o in together)
        assert all(o.object_logit[i] == NO_OBJECT for o in together + batched)


def test_prompts_of_objects_that_are_not_prompted_are_ignored(model: Model, frames) -> None:
    state = run(model, frames[:2], {0: {0: CLICK, 1: BOX}}, 2)[0]
    features = encode(model, frames[2])
    prompts, _ = asked(2, {0: CLICKS, 1: BOX})
    other, _ = asked(2, {0: CLICKS, 1: ([[80, 5], [3, 3]], [0, 1])})
    outputs = []
    for given in (prompts, other):
        copied = jax.tree.map(jnp.copy, state)
        now = FrameInput(features, given, np.array([True, False]), np.array([False, True]))
        outputs.append(video.jit_step(model, copied, now, options=TrackOptions()))
    assert_equal(*jax.device_get(outputs))


def test_a_freed_slot_is_as_good_as_new(model: Model, frames) -> None:
    """Remove an object and give its slot to another: the rest notices nothing, nor does the new."""
    begin: Ask = {0: {0: CLICK, 1: BOX}}
    later: Ask = {1: {1: CLICKS}, 3: {1: CLICK}}
    state, _ = run(model, frames[:4], begin, 2)
    fresh = run(model, frames[:4], {0: {0: CLICK}}, 2)[0]
    _, expected = run(model, frames[4:], later, 2, state=fresh)

    state = _reset(state, np.array([False, True]))
    after, seen = run(model, frames[4:], later, 2, state=state)
    assert_equal(seen, expected)
    assert (seen[0].logits[1] == NO_OBJECT).all()  # nobody is in it yet
    _, undisturbed = run(model, frames, begin, 2)
    assert_equal(of(seen, 0), of(undisturbed[4:], 0))
    assert after.bank.num_prompted.tolist() == [1, 2]


def test_a_track_can_be_begun_anew_without_reset(model: Model, frames) -> None:
    """A second prompt with a box: the frame is seen without memory, which stays."""
    again: Ask = {0: {0: CLICK}, 3: {0: BOX}}
    _, seen = run(model, frames[:6], again, 2)
    _, new = run(model, frames[3:6], {0: {0: BOX}}, 2)
    assert_equal(seen[3].logits[0], new[0].logits[0])
    assert differ(of(seen[4:], 0), of(new[1:], 0)) > 1e-2  # the first click is remembered


# Several videos


def test_videos_in_one_batch_are_those_alone(model: Model, frames, drifting) -> None:
    """Two videos of two objects each: other lengths, other directions, prompted elsewhere."""
    t, other = 5, drifting(5, seed=3)[:, None]
    first: Ask = {0: {0: CLICK, 1: BOX}, 2: {0: CLICKS}}
    second: Ask = {0: {0: BOX}, 1: {1: CLICK}}
    setups = [{"num_frames": t}, {"num_frames": 30, "first_frame": 20, "reverse": True}]
    alone = [
        run(model, clip[:t], ask, 2, state=video.init_state(model, 2, **setup))[1]
        for clip, ask, setup in zip((frames, other), (first, second), setups, strict=True)
    ]
    states = [video.init_state(model, 2, **setup) for setup in setups]
    state = jax.tree.map(lambda *x: jnp.concatenate(x), *states)
    both = np.concatenate([frames[:t], other], 1)
    joined = {
        i: first.get(i, {}) | {j + 2: ask for j, ask in second.get(i, {}).items()} for i in range(t)
    }
    state, seen = run(model, both, joined, 4, state=state)
    assert_close(of(seen, slice(0, 2)), alone[0])
    assert_close(of(seen, slice(2, 4)), alone[1])
    assert state.frame.tolist() == [5, 5, 15, 15]
    # the length matters: the unit of pointer ages
    _, longer = run(model, frames[:t], first, 2, state=video.init_state(model, 2, num_frames=30))
    assert differ(longer, alone[0]) > 1e-4
    _, unknown = run(model, frames[:t], first, 2)
    assert_equal(longer, unknown)


def test_backwards_is_forwards_in_a_mirror(model: Model, frames) -> None:
    """With nothing but its own past a track does not depend on which way time goes."""
    _, forward = run(model, frames[:6], FEW, 2)
    start = video.init_state(model, 2, first_frame=40, reverse=True)
    state, backward = run(model, frames[:6], FEW, 2, state=start)
    assert_close(forward, backward)
    assert state.frame.tolist() == [34, 34]


# Masks


def given_mask(n: int, masks: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    arrays = np.zeros((n, SIDE, SIDE), np.float32)
    for i, mask in masks.items():
        arrays[i] = mask
    return arrays, np.isin(np.arange(n), list(masks))


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((columns - x) ** 2 + (rows - y) ** 2 < radius**2).astype(np.float32)


def step(model: Model, state: VideoState, features: Any, ask: dict) -> tuple:
    now = FrameInput(features, *asked(2, ask), np.zeros(2, bool))
    return video.jit_step(model, jax.tree.map(jnp.copy, state), now, options=TrackOptions())


def test_a_mask_is_given_while_others_are_tracked(model: Model, frames) -> None:
    options = TrackOptions()
    state = run(model, frames[:2], {0: {0: CLICK}}, 2)[0]
    features = encode(model, frames[2])
    masks, given = given_mask(2, {1: disc(40, 50, 20)})
    told, answer = _prompt_masks(model, state, features, masks, given, options=options)
    assert told.frame.tolist() == [2, 2]
    np.testing.assert_array_equal(answer.iou, [0, 1])
    np.testing.assert_array_equal(answer.object_logit, [NO_OBJECT, 10])
    small = masks[1].reshape(MASK, 4, MASK, 4).mean((1, 3))
    np.testing.assert_array_equal(answer.logits[1][small > 0.9] > 5, True)
    np.testing.assert_array_equal(answer.logits[1][small < 0.1] < -5, True)
    # what it writes: the frame, for this object only
    assert told.bank.num_prompted.tolist() == [1, 1]
    assert 2 in told.bank.frame[1] and 2 not in told.bank.frame[0]
    assert_equal(*(jax.tree.map(lambda x: x[0], s.bank) for s in (told, state)))
    # the step leaves it alone, and tracks the other as ever
    after, output = step(model, told, features, {})
    _, expected = step(model, state, features, {})
    assert_equal(*(jax.tree.map(lambda x: x[0], o) for o in (output, expected)))
    assert float(output.object_logit[1]) == NO_OBJECT
    assert_equal(*(jax.tree.map(lambda x: x[1], s.bank) for s in (after, told)))
    # the next frame is tracked by the mask
    _, output = step(model, after, encode(model, frames[3]), {})
    assert 0.02 < (output.logits[1] > 0).mean() < 1
    other, given = given_mask(2, {1: disc(70, 20, 12)})
    told, _ = _prompt_masks(model, state, features, other, given, options=options)
    _, different = step(model, step(model, told, features, {})[0], encode(model, frames[3]), {})
    assert abs(output.logits[1] - different.logits[1]).max() > 1e-2
    np.testing.assert_array_equal(output.logits[0], different.logits[0])


def test_an_empty_mask_is_an_absent_object(model: Model, frames) -> None:
    state, features = video.init_state(model, 2), encode(model, frames[0])
    masks, given = given_mask(2, {0: np.zeros((SIDE, SIDE)), 1: disc(40, 50, 20)})
    told, answer = _prompt_masks(model, state, features, masks, given, options=TrackOptions())
    np.testing.assert_array_equal(answer.object_logit, [-10, 10])
    np.testing.assert_allclose(answer.logits[0], -10, rtol=1e-6)
    pointers = np.asarray(told.bank.pointers)[:, 0]
    np.testing.assert_array_equal(pointers[0], model.params["no_obj_ptr"][0])
    assert abs(pointers[1] - pointers[0]).max() > 1e-3


# Corrections


def test_a_correction_sees_the_frame_in_the_light_of_the_memory(model: Model, frames) -> None:
    state = run(model, frames[:3], {0: {0: CLICK}}, 2)[0]
    features = encode(model, frames[3])
    prompts, prompted = asked(2, {0: CLICKS, 1: CLICKS})
    options, outputs = TrackOptions(), []
    for correcting in ([True, True], [False, False]):
        now = FrameInput(features, prompts, prompted, np.array(correcting))
        copied = jax.tree.map(jnp.copy, state)
        outputs.append(jax.device_get(video.jit_step(model, copied, now, options=options)[1]))
    corrected, anew = outputs
    assert abs(corrected.logits[0] - anew.logits[0]).max() > 1e-2
    assert_equal(*(jax.tree.map(lambda x: x[1], o) for o in outputs))  # no memory to see it in


def test_the_mask_shown_before_is_a_prompt(model: Model, frames) -> None:
    """Fed back with the clicks of a correction, for those objects that have one."""
    state = run(model, frames[:3], {0: {0: CLICK, 1: BOX}}, 2)[0]
    features = encode(model, frames[3])
    prompts, prompted = asked(2, {0: CLICKS})
    step = jax.jit(video.step)  # its own: another shape of prompts
    before = np.random.default_rng(0).normal(0, 10, (2, MASK, MASK, 1)).astype(np.float32)
    seen = {}
    for name, has in {"none": [0, 0], "first": [1, 0], "both": [1, 1]}.items():
        given = prompts.replace(mask=before, has_mask=np.array(has, bool))
        seen[name] = step(model, state, FrameInput(features, given, prompted, prompted))[1]
    assert abs(seen["first"].logits[0] - seen["none"].logits[0]).max() > 1e-2
    assert_equal(seen["first"], seen["both"])  # the second object is not prompted here


# The shape of things


def test_compile_of_steps_once(model: Model, frames) -> None:
    """Prompts, corrections, resets, absences, directions: all are data."""
    run(model, frames[:1], {}, 2)
    before = video.jit_step._cache_size()
    asks: Ask = {0: {0: CLICK}, 1: {1: BOX}, 2: {0: CLICKS, 1: CLICK}, 5: {1: BOX}}
    state, _ = run(model, frames[:6], asks, 2)
    state, _ = run(model, frames[6:], asks, 2, state=_reset(state, np.array([False, True])))
    back = video.init_state(model, 2, first_frame=3, reverse=True, num_frames=4)
    run(model, frames[:3], {}, 2, state=back)
    assert video.jit_step._cache_size() == before


def test_state_has_the_objects_first_in_every_leaf(model: Model) -> None:
    for options in (TrackOptions(), TrackOptions(stride=3)):
        state = video.init_state(model, 5, prompted=3, options=options)
        assert {x.shape[0] for x in jax.tree.leaves(state)} == {5}
        assert state.bank.frame.shape[1] == 3 + 6 + (options.stride > 1)


# Bad input


@pytest.mark.parametrize(("setting", "value"), [("n", 0), ("prompted", 0), ("num_frames", 0)])
def test_states_of_nothing_are_refused(model: Model, setting: str, value: int) -> None:
    settings = {"n": 2} | {setting: value}
    with pytest.raises(ValueError, match=f"{setting} must be at least 1, got {value}"):
        video.init_state(model, **settings)


def test_frames_before_the_first_are_refused(model: Model) -> None:
    """-1 is how the bank writes that a slot is empty."""
    with pytest.raises(ValueError, match="first_frame must not be negative, got -1"):
        video.init_state(model, 2, first_frame=-1)


def test_frames_and_states_that_do_not_fit_are_refused(model: Model, frames) -> None:
    features = encode(model, frames[0])
    shapes = partial(jax.eval_shape, video.step, model)
    state = video.init_state(model, 3)
    no = np.zeros(2, bool)
    with pytest.raises(ValueError, match="3 objects, the frame prompts for 2 and 1 images"):
        shapes(state, FrameInput(features, *asked(2, {}), no))
    two = jax.tree.map(lambda x: jnp.concatenate([x, x]), features)
    with pytest.raises(ValueError, match="3 objects, the frame prompts for 3 and 2 images"):
        shapes(state, FrameInput(two, *asked(3, {}), np.zeros(3, bool)))
    short = no_prompts(2, MASK)
    short = short.replace(points=short.points[:, :1], labels=short.labels[:, :1])
    with pytest.raises(ValueError, match="two point slots at least; no_prompts makes such"):
        shapes(video.init_state(model, 2), FrameInput(features, short, no, no))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 64, 64, 3), np.uint8), r"\[b, 96, 96, 3\], got float32 \[1, 64, 64, 3\]"),
        (np.zeros((1, 96, 96, 3), np.int32), "got int32"),
    ],
)
def test_frames_of_another_size_or_kind_are_refused(model: Model, images, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(encode, model, images)


def test_backwards_beyond_frame_0(model: Model, frames) -> None:
    """Frame numbers below 0 are numbers like others: none of them means an empty slot."""
    runs = []
    for first in (0, 7):
        state, run = video.init_state(model, 1, reverse=True, first_frame=first), []
        for i in range(4):
            prompts, who = asked(1, FEW[0] if i == 0 else {})
            features = encode(model, frames[i])
            state, output = video.jit_step(
                model, state, FrameInput(features, prompts, jnp.asarray(who), jnp.zeros(1, bool))
            )
            run.append(jax.device_get(output))
        runs.append(run)
    for found, expected in zip(*runs, strict=True):
        # Other slots of the rings, so another order of the same sums, then rounded to bfloat16.
        np.testing.assert_allclose(found.logits, expected.logits, atol=0.2)
        assert found.object_logit[0] > NO_OBJECT


@pytest.mark.parametrize(("t", "chunk"), [(0, None), (2, 0), (2, -1)])
def test_clips_and_chunks_of_nothing_are_refused(model: Model, frames, t: int, chunk) -> None:
    prompts, who = asked(1, {})
    several = jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x)[None], t, 0), (prompts, who, who))
    with pytest.raises(
        ValueError, match=f"at least one frame, as has a chunk: got {t} and {chunk}"
    ):
        video.track(
            model, video.init_state(model, 1), jnp.asarray(frames[:t]), *several, chunk=chunk
        )


def test_a_text_counts_where_it_is_asked(small_tracker, frames: np.ndarray) -> None:
    """Of three objects with the same text, one is asked with it, one without, one not at all."""
    model = small_tracker(text_dim=8)
    features = encode(model, frames[0])
    prompts, prompted = asked(3, {0: CLICK, 1: CLICK})
    text = np.eye(8, dtype=np.float32)[[2, 2, 2]]
    given = prompts.replace(text=text, has_text=np.array([True, False, True]))

    def answers(prompts: Prompts, options: TrackOptions) -> FrameOutput:
        state = video.init_state(model, 3)
        frame = FrameInput(features, prompts, prompted, np.zeros(3, bool))
        return video.jit_step(model, state, frame, options=options)[1]

    for options in (OFF, TrackOptions(one_by_one=True)):
        plain, worded = answers(prompts, options), answers(given, options)
        assert abs(worded.logits[0] - plain.logits[0]).max() > 1e-3
        np.testing.assert_allclose(worded.logits[1], plain.logits[1], atol=1e-4)
        assert (worded.logits[2] == NO_OBJECT).all()
