"""The passes of `sam-jax track` over a video.

Forward: frames are read, tracked and written. Backward: frames are read and tracked from the last
to the first; what must be written in order (videos, RLE, scores) waits in memory as run lengths,
and is written in a pass forward, for which a video's frames are read again. Of both ways, that pass
tracks as well. So neither memory nor disk holds decoded frames or full masks.
"""

import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_jax.cli.track_output import Output
from sam_jax.cli.track_prompts import TrackPrompts
from sam_jax.io.mask_sequences import FrameMasks
from sam_jax.io.masks import read_mask_picture
from sam_jax.io.prefetch import prefetch
from sam_jax.ops import rle

_READ_AHEAD = 4  # frames
_MOST_REMEMBERED = 16  # prompted frames of an object; each costs time and memory


@dataclass(frozen=True)
class Route:
    """Numbers of the frames that are tracked. Where the end is not known, forward is very long."""

    forward: range | None
    backward: range | None
    every: int

    @property
    def endless(self) -> bool:
        return self.forward is not None and self.forward.stop == sys.maxsize


class Run:
    """Tracks and writes, when called.

    Args:
      model: as from `sam_jax.load`.
      video: as from `open_video`.
      route: the frames to track.
      stopping: whether to stop as soon as what is done is written.
    """

    def __init__(
        self,
        model: Any,
        video: Any,
        prompts: TrackPrompts,
        route: Route,
        output: Output,
        stopping: Callable[[], bool],
    ) -> None:
        self._model = model
        self._video = video
        self._prompts = prompts
        self._route = route
        self._output = output
        self._stopping = stopping
        self._draws = output.plan.format == "video"
        self._size = (video.height, video.width)

    @property
    def total(self) -> int | None:
        """How often a frame is read, if that is known."""
        forward, backward = self._route.forward, self._route.backward
        if self._route.endless:
            return None
        count = sum(len(frames) for frames in (forward, backward) if frames is not None)
        if self._draws and backward is not None:
            drawn_only = [i for i in backward if forward is None or i < forward.start]
            count += len(drawn_only)
        return count

    def __call__(self, advance: Callable[[], None]) -> None:
        """Calls `advance` after each frame.

        Raises:
          ValueError: the video breaks off or is damaged, the weights are broken, the disk is full.
        """
        with Waiting(self._output) as waiting:
            if self._route.backward is not None:
                self._go_back(self._route.backward, waiting, advance)
            self._go_forward(waiting, advance)

    def _go_back(self, frames: range, waiting: "Waiting", advance: Callable[[], None]) -> None:
        """Leaves the results in `waiting`, for the pass forward."""
        forward, output = self._route.forward, self._output
        for result, _ in self._results(frames, frames):
            complete = forward is None or result.frame < forward.start
            if complete and output.plan.frame_files:
                output.write_ahead(result)
            waiting.put(result, with_logits=not complete)
            advance()

    def _go_forward(self, waiting: "Waiting", advance: Callable[[], None]) -> None:
        forward = None if self._stopping() else self._route.forward
        end = self._prompts.last + self._route.every
        start, stop = (end, end) if forward is None else (forward.start, forward.stop)
        early = [frame for frame in waiting.frames() if frame < start]
        if early and self._draws:
            start = early[0]
            if forward is None:
                stop = early[-1] + 1
        else:  # no pixels are needed
            for frame in early:
                self._output.write(waiting.take(frame, self._size), None)
        frame = start
        steps = range(start, stop, self._route.every)
        for result, pixels in self._results(steps, forward or range(0)):
            frame = result.frame
            self._output.write(joined(waiting.take(frame, self._size), result), pixels)
            advance()
        if forward is not None and frame < self._prompts.last and not self._stopping():
            raise ValueError(
                f"{self._video.name} ended after frame {frame}, before the prompt on frame"
                f" {self._prompts.last}"
            )

    def _results(self, frames: range, tracked: range) -> Iterator[tuple[FrameMasks, np.ndarray]]:
        """What there is on each of `frames`, nothing if it is not `tracked`, and its pixels.

        Answers are fetched after the next frame was given to the device, which so never waits.
        """
        if not frames:
            return
        stream = self._new_stream() if tracked else None
        before: tuple[int, dict[int, Any], np.ndarray] | None = None
        with closing(self._read(frames, for_model=bool(tracked))) as source:
            steps = zip(frames, source, strict=False)
            while True:
                try:
                    frame, (pixels, model_input) = next(steps)
                    answers: dict[int, Any] = {}
                    if stream is not None and frame in tracked:
                        self._add_prompts(stream, frame)
                        answers = stream.step(pixels, model_input)
                except StopIteration:
                    break
                except (ValueError, OSError):  # what was found before it counts
                    if before is not None:
                        yield fetched(*before[:2], self._size), before[2]
                    raise
                if before is not None:
                    yield fetched(*before[:2], self._size), before[2]
                before = frame, answers, pixels
                if tracked and self._stopping():
                    break
            if before is not None:
                yield fetched(*before[:2], self._size), before[2]

    def _read(
        self, frames: range, *, for_model: bool
    ) -> Generator[tuple[np.ndarray, np.ndarray | None], None, None]:
        stop = None if frames.stop < 0 or frames.stop == sys.maxsize else frames.stop
        limits = {"start": frames.start, "stop": stop, "step": frames.step}
        if for_model:
            side = self._model.config.image_size
            return prefetch(self._video.model_inputs(side, **limits), _READ_AHEAD)
        pixels = self._video.frames(**limits)
        return prefetch(((image, None) for image in pixels), _READ_AHEAD)

    def _new_stream(self) -> Any:
        from sam_jax.predictors.stream import Stream

        count = self._video.num_frames
        objects = self._prompts.objects
        remembered = max(self._prompts.count_for(number) for number in objects)
        return Stream(
            self._model,
            len(objects),
            prompted_frames=min(remembered, _MOST_REMEMBERED),
            num_frames=None if count is None else -(-count // self._route.every),
        )

    def _add_prompts(self, stream: Any, frame: int) -> None:
        for number, prompt in self._prompts.on(frame).items():
            if prompt.mask is not None:
                stream.add(number, mask=read_mask_picture(prompt.mask, self._size, number=number))
                continue
            stream.add(
                number,
                points=np.array(prompt.points) if prompt.points else None,
                labels=np.array(prompt.labels) if prompt.points else None,
                box=np.array(prompt.box) if prompt.box else None,
            )


@dataclass(frozen=True)
class _Coded:
    """A result without its pixels; `place` is where the logits are in the file, if they are."""

    ids: tuple[int, ...]
    codes: tuple[rle.Rle, ...]
    ious: np.ndarray
    object_logits: np.ndarray
    place: int | None
    logits_shape: tuple[int, ...]


class Waiting:
    """Results of the pass backward until their turn comes: some hundred bytes a mask.

    Low-resolution logits are kept only for files that hold objects of both passes, which are those
    of the frames between the first and the last prompt; they go to a temporary file beside the
    results.
    """

    def __init__(self, output: Output) -> None:
        self._folder = output.plan.folder
        self._wants_logits = output.plan.format in ("palette", "npz")
        self._frames: dict[int, _Coded] = {}
        self._file: Any = None

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def frames(self) -> list[int]:
        """Numbers of the frames that wait, in order."""
        return sorted(self._frames)

    def put(self, result: FrameMasks, *, with_logits: bool) -> None:
        place, shape = None, ()
        if with_logits and self._wants_logits and result.logits is not None:
            if self._file is None:
                folder = self._folder
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed on exit
            place, shape = self._file.seek(0, 2), result.logits.shape
            self._file.write(result.logits.tobytes())
        codes = tuple(rle.encode(mask) for mask in result.masks)
        self._frames[result.frame] = _Coded(
            tuple(result.ids), codes, result.ious, result.object_logits, place, shape
        )

    def take(self, frame: int, size: tuple[int, int]) -> FrameMasks:
        """What waits for that frame of height and width `size`, which may be nothing."""
        coded = self._frames.pop(frame, None)
        if coded is None:
            return nothing(frame, size)
        masks = np.array([rle.decode(code) for code in coded.codes], bool).reshape(-1, *size)
        logits = None
        if coded.place is not None:
            self._file.seek(coded.place)
            data = self._file.read(4 * int(np.prod(coded.logits_shape)))
            logits = np.frombuffer(data, np.float32).reshape(coded.logits_shape)
        return FrameMasks(frame, coded.ids, masks, coded.ious, coded.object_logits, logits)


def fetched(frame: int, answers: dict[int, Any], size: tuple[int, int]) -> FrameMasks:
    """Answers of a tracker on a frame of that height and width, waited for.

    Raises:
      ValueError: they are not finite.
    """
    if not answers:
        return nothing(frame, size)
    numbers = sorted(answers)
    found = [answers[number] for number in numbers]
    ious = np.array([one.iou for one in found], np.float32)
    object_logits = np.array([one.object_logit for one in found], np.float32)
    if not (np.isfinite(ious).all() and np.isfinite(object_logits).all()):
        raise ValueError(
            f"frame {frame}: the predicted IoU is {ious} and the object logit {object_logits}:"
            " are the weights of the model broken?"
        )
    masks = np.stack([one.mask for one in found])
    logits = np.stack([one.logits for one in found])
    return FrameMasks(frame, numbers, masks, ious, object_logits, logits)


def nothing(frame: int, size: tuple[int, int]) -> FrameMasks:
    """A frame of that height and width without objects."""
    none = np.zeros(0, np.float32)
    return FrameMasks(frame, (), np.zeros((0, *size), bool), none, none)


def joined(old: FrameMasks, new: FrameMasks) -> FrameMasks:
    """The objects of both, in order of their ids; of those in both, the new; logits if all have."""
    chosen = {number: (old, i) for i, number in enumerate(old.ids)}
    chosen |= {number: (new, i) for i, number in enumerate(new.ids)}
    if not chosen:
        return new
    numbers = sorted(chosen)
    places = [chosen[number] for number in numbers]
    logits = [None if source.logits is None else source.logits[i] for source, i in places]
    known = [one for one in logits if one is not None]
    return FrameMasks(
        new.frame,
        numbers,
        np.stack([source.masks[i] for source, i in places]),
        np.stack([source.ious[i] for source, i in places]),
        np.stack([source.object_logits[i] for source, i in places]),
        np.stack(known) if len(known) == len(logits) else None,
    )
