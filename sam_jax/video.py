"""Tracking objects through video: pure functions of a model, a state and frames.

    state = init_state(model, n=2)
    state, output = step(model, state, FrameInput(features, prompts, prompted, correcting))
    state, outputs = track(model, state, images, ...)     # a whole clip, one compiled program

`step` is the whole tracker: it reads the bank, decodes, writes the bank. Clips scan over it,
`stream` calls it for one frame after the other, and all give the same numbers. Whether an object is
prompted, tracked, absent, or not there at all is data; every frame is the same program, and every
object gets what it would get alone. The state is of fixed size. `sam_jax.VideoPredictor` and
`sam_jax.Stream` are the stateful faces.
Upstream: sam2/modeling/sam2_base.py, SAM2Base.track_step; sam2/sam2_video_predictor.py.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from sam_jax import memory as banks
from sam_jax.config import Config, Sam2Config, SamConfig
from sam_jax.frame import (
    DEFAULT,
    NO_OBJECT,
    TrackOptions,
    answer_masks,
    decode,
    encode_frames,
    fill_holes,
    remember,
    see,
)
from sam_jax.per_frame import encode_chunk, frames_at_once, over_frames
from sam_jax.per_object import over_each, where_needed
from sam_jax.types import (
    NOT_A_POINT,
    PAD,
    FrameInput,
    FrameMemory,
    FrameOutput,
    ImageFeatures,
    Model,
    ObjectAnswer,
    ObjectInput,
    Prompts,
    Recall,
    VideoState,
)


def init_state(
    model: Model,
    n: int,
    *,
    prompted: int = 4,
    num_frames: int | None = None,
    first_frame: int = 0,
    reverse: bool = False,
    options: TrackOptions = DEFAULT,
) -> VideoState:
    """A state without any object.

    Args:
      n: slots for objects; b * o for b videos.
      prompted: how many prompted frames of an object are remembered; beyond, the oldest is dropped.
      num_frames: length of the video if known; it is the time scale of pointers when below 16.
      first_frame: index of the first frame to come.
      reverse: frames come in falling order.

    Raises:
      ValueError: a number that cannot be meant, or a model that cannot track.
    """
    for name, value in {"n": n, "prompted": prompted, "num_frames": num_frames}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if first_frame < 0:
        raise ValueError(f"first_frame must not be negative, got {first_frame}")
    config = require_memory(model.config)
    bank = banks.init_bank(
        n,
        prompted=prompted,
        recent=config.memory.num_maskmem - 1,
        grid=config.grid,
        dim=config.memory.dim,
        pointer_dim=config.dim,
        stride=options.stride,
    )
    known = banks.RECENT_POINTERS + 1 if num_frames is None else num_frames
    return VideoState(
        bank=bank,
        frame=jnp.full(n, first_frame, jnp.int32),
        direction=jnp.full(n, -1 if reverse else 1, jnp.int32),
        num_frames=jnp.full(n, known, jnp.int32),
    )


def require_memory(config: Config) -> Sam2Config:
    """The config of a model that can track.

    Raises:
      ValueError: it is of SAM 1.
    """
    if isinstance(config, SamConfig):
        raise ValueError(
            f"{config.name} is a SAM 1 model: it segments pictures, but has no memory to track "
            "with. Take a SAM 2 model, such as 'sam2.1-hiera-tiny'"
        )
    return config


def reset_objects(state: VideoState, which: Bool[Array, " n"]) -> VideoState:
    """Forget some objects: their slots are free for others."""
    return replace(state, bank=banks.forget(state.bank, which))


def step(
    model: Model, state: VideoState, inputs: FrameInput, options: TrackOptions = DEFAULT
) -> tuple[VideoState, FrameOutput]:
    """Track all objects on the next frame, and answer the prompts on it.

    A prompted object's frame becomes one of its prompted frames. An object that was never prompted
    is absent. Of an object whose mask was given on this frame by `prompt_masks`, nothing changes
    (and what is returned for it is that of an absent one).
    """
    state, output, _ = step_with_memory(model, state, inputs, options)
    return state, output


def step_with_memory(
    model: Model, state: VideoState, inputs: FrameInput, options: TrackOptions = DEFAULT
) -> tuple[VideoState, FrameOutput, FrameMemory]:
    """`step`, and what it wrote into the bank."""

    def answer(features: ImageFeatures, embed: Array, objects: ObjectInput, _: Any) -> tuple:
        return decode(model, embed, features.high_res, objects.prompts), None

    state, output, memory, _ = step_with_answer(model, state, inputs, answer, None, options)
    return state, output, memory


# (features of an image, what n objects see of it [n h w d], the objects, something of each of them)
# -> (their answers, something of each of them)
Answer = Callable[
    [ImageFeatures, Float[Array, "n h w d"], ObjectInput, Any], tuple[ObjectAnswer, Any]
]


def step_with_answer(
    model: Model,
    state: VideoState,
    inputs: FrameInput,
    answer: Answer,
    extra: Any,
    options: TrackOptions = DEFAULT,
) -> tuple[VideoState, FrameOutput, FrameMemory, Any]:
    """`step` with another way from what is seen of a frame to the answers on it.

    A simulated user sits there in training, who looks at answers and corrects them before the frame
    is remembered.

    Args:
      answer: called for some objects of one image at a time.
      extra: its last argument; leaves have a leading n. Nothing if None.

    Returns:
      The state, the answers, what was remembered, and the second result of `answer`.
    """
    n, bank = state.frame.shape[0], state.bank
    b = inputs.features.embed.shape[0]
    if n % b or inputs.prompted.shape[0] != n:
        raise ValueError(
            f"the state has {n} objects, the frame prompts for {inputs.prompted.shape[0]} and "
            f"{b} images: both must divide into it"
        )
    if inputs.prompts.labels.shape[1] < 2:
        raise ValueError("prompts need two point slots at least; no_prompts makes such")
    answered = banks.answered(bank, state.frame)
    tracked = (bank.num_prompted > 0) & ~inputs.prompted & ~answered
    objects = ObjectInput(
        bank=bank,
        recall=recall(state, options),
        prompts=_where_prompted(inputs.prompts, inputs.prompted),
        prompted=inputs.prompted,
        with_memory=tracked | (inputs.prompted & inputs.correcting & (bank.num_prompted > 0)),
        busy=inputs.prompted | tracked,
    )
    output, memory, result = over_each(
        partial(_advance, model, options, answer), inputs.features, (objects, extra), options
    )
    bank = banks.write(
        bank,
        memory,
        state.frame,
        prompted=inputs.prompted,
        keep=objects.busy,
        stride=options.stride,
    )
    output = _where_busy(objects.busy, output)
    state = replace(state, bank=bank, frame=state.frame + state.direction)
    return state, output, memory, result


def recall(state: VideoState, options: TrackOptions = DEFAULT) -> Recall:
    """What the state's frame attends to."""
    return banks.read(
        state.bank,
        state.frame,
        state.direction,
        state.num_frames,
        max_prompted=options.max_prompted,
        stride=options.stride,
        past_pointers=options.past_pointers,
    )


def prompt_masks(
    model: Model,
    state: VideoState,
    features: ImageFeatures,
    masks: Float[Array, "n H W"],
    given: Bool[Array, " n"],
    options: TrackOptions = DEFAULT,
) -> tuple[VideoState, FrameOutput]:
    """Give masks for some objects on the frame that `step` will track next.

    Args:
      features: of b images.
      masks: 0 or 1, at the model input's size.
      given: which of them count.

    Returns:
      The state, at the same frame, and the answers for the objects that were given.
    """

    def one(features: ImageFeatures, objects: tuple[Array, Array], skip: bool) -> tuple:
        masks, given = objects

        def work() -> tuple[FrameOutput, FrameMemory]:
            answer = answer_masks(model, features, masks)
            logits = fill_holes(answer.logits, options)
            memory = remember(model, features, logits, answer, given, options)
            return FrameOutput(logits, answer.iou, answer.object_logit), memory

        return where_needed(given, work) if skip else work()

    output, memory = over_each(one, features, (masks, given), options)
    bank = banks.write(
        state.bank, memory, state.frame, prompted=given, keep=given, stride=options.stride
    )
    return replace(state, bank=bank), _where_busy(given, output)


def track(
    model: Model,
    state: VideoState,
    images: Shaped[Array, "t b H W 3"],
    prompts: Prompts,
    prompted: Bool[Array, "t n"],
    correcting: Bool[Array, "t n"],
    *,
    chunk: int | None = None,
    options: TrackOptions = DEFAULT,
) -> tuple[VideoState, FrameOutput]:
    """Track through a whole clip: one program, whatever its length.

    Args:
      images: uint8, or floats in 0..1, at the model's input size.
      prompts: leaves have a leading t; see `FrameInput`. `mask` [t 0 hm wm 1] costs nothing.
      chunk: frames encoded at once, outside the scan over frames; by default 1 on CPU, else 8.

    Returns:
      The state after the last frame, and outputs with a leading t.
    """
    t = images.shape[0]
    if t == 0 or (chunk is not None and chunk < 1):
        raise ValueError(f"a clip has at least one frame, as has a chunk: got {t} and {chunk}")
    inputs = (images, prompts, prompted, correcting)

    def encode(inputs: tuple) -> ImageFeatures:
        images = inputs[0]  # [chunk b H W 3]
        return encode_chunk(model, images)

    def frame(state: VideoState, inputs: tuple) -> tuple[VideoState, FrameOutput]:
        features, _, *asked = inputs
        return step(model, state, FrameInput(features, *asked), options)

    return over_frames(state, inputs, encode, frame, chunk or frames_at_once())


jit_encode = jax.jit(encode_frames)
jit_step = partial(jax.jit, static_argnames="options", donate_argnames="state")(step)


def stream(
    model: Model,
    state: VideoState,
    frames: Iterable[tuple[Any, Prompts, Any, Any]],
    options: TrackOptions = DEFAULT,
) -> Iterator[tuple[VideoState, FrameOutput]]:
    """Track through frames that come one by one, from anywhere, for as long as they come.

    The device works on a frame while `frames` makes the next one, and while the caller looks at
    an output: results are handed out before they are ready, and waited for when they are read.

    Args:
      state: is used up, as is every state that is handed out once the next one is asked for.
      frames: (images [b H W 3], prompts, prompted, correcting), as `track` takes them.

    Yields:
      The state and the answers after each frame.
    """
    for image, prompts, prompted, correcting in frames:
        inputs = FrameInput(jit_encode(model, image), prompts, prompted, correcting)
        state, output = jit_step(model, state, inputs, options=options)
        yield state, output


def _where_prompted(prompts: Prompts, prompted: Bool[Array, " n"]) -> Prompts:
    """The prompts of prompted objects; of the others two not-a-point tokens.

    Upstream feeds an explicit one, and its prompt encoder closes every list with another.
    """
    n, slots = prompts.labels.shape
    nothing = jnp.where(jnp.arange(slots) < 2, NOT_A_POINT, PAD)
    mask, has_mask = prompts.mask, prompts.has_mask
    if mask.shape[0] == 1:
        mask = jnp.broadcast_to(mask, (n, *mask.shape[1:]))
        has_mask = jnp.broadcast_to(has_mask, n)
    if mask.shape[0]:
        has_mask = has_mask & prompted
    has_text = prompts.has_text
    if has_text.shape[0]:
        has_text = has_text & prompted
    labels = jnp.where(prompted[:, None], prompts.labels, nothing)
    return replace(prompts, labels=labels, mask=mask, has_mask=has_mask, has_text=has_text)


def _advance(
    model: Model,
    options: TrackOptions,
    find: Answer,
    features: ImageFeatures,
    of_objects: tuple[ObjectInput, Any],
    skip: bool,
) -> tuple[FrameOutput, FrameMemory, Any]:
    """Answers and memories of the objects of one image; see `sam_jax.per_object`."""
    objects, extra = of_objects

    def work() -> tuple[FrameOutput, FrameMemory, Any]:
        embed = see(model, features, objects.bank, objects.recall, objects.with_memory, skip=skip)
        answer, result = find(features, embed, objects, extra)
        filled = fill_holes(answer.logits, options)
        # Upstream remembers a prompted frame later, from the mask it handed out.
        kept = jnp.where(objects.prompted[:, None, None], filled, answer.logits)
        memory = remember(model, features, kept, answer, objects.prompted, options)
        return FrameOutput(filled, answer.iou, answer.object_logit), memory, result

    return where_needed(objects.busy, work) if skip else work()


def _where_busy(busy: Bool[Array, " n"], output: FrameOutput) -> FrameOutput:
    return FrameOutput(
        logits=jnp.where(busy[:, None, None], output.logits, NO_OBJECT),
        iou=jnp.where(busy, output.iou, 0),
        object_logit=jnp.where(busy, output.object_logit, NO_OBJECT),
    )
