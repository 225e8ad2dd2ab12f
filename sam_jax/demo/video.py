"""A video that somebody edits: what was asked, what was found, and tracking that can be stopped.

Found masks are kept as run lengths, some hundred bytes each; what the predictor keeps to be able to
go back is limited to `HISTORY_BYTES`. Not safe to use from several threads at once, but for reading
frames of `video`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Bool

from sam_jax.demo.video_things import Direction, Found, Prompt, Thing, routes
from sam_jax.io.mask_sequences import FrameMasks
from sam_jax.io.videos import Video
from sam_jax.ops import rle
from sam_jax.predictors.image import ImagePredictor
from sam_jax.predictors.text import TextEncoder
from sam_jax.predictors.video import VideoPredictor
from sam_jax.types import Model

MAX_OBJECTS = 8
MAX_CLICKS = 31  # on a frame of an object; more would be one more program to compile
MAX_PROMPTED = 32  # frames of an object; each is on the device in full
HISTORY_BYTES = 2**28
_LOOKS_BACK = 16  # frames, and more than any frame attends to
_DECODER_FRAMES = 16  # that an open decoder holds: as many as H.264 may refer to


@dataclass(frozen=True)
class Step:
    """A tracked frame.

    Attributes:
      frame: its number.
      found: by object.
      done, total: frames tracked, this one included, and to be tracked.
    """

    frame: int
    found: dict[int, Found]
    done: int
    total: int


class TrackedVideo:
    """A video, the objects asked for, and their masks.

    Attributes:
      video: where frames come from.
      things: the objects by number, in order of their adding.
    """

    def __init__(self, model: Model, video: Video, text_encoder: TextEncoder | None = None) -> None:
        """Raises ValueError for a model that has no memory."""
        self.video = video
        self._text_encoder = text_encoder
        self.things: dict[int, Thing] = {}
        self._predictor = VideoPredictor(model)
        self._state = self._predictor.init_state(video)
        self._entry_bytes = entry_bytes(model)

    @property
    def num_frames(self) -> int:
        return self._state.num_frames

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.video.height, self.video.width

    def prompt(self, frame: int, number: int, asked: Prompt) -> Found | None:
        """Say all that is asked about an object on a frame, in place of what was asked before.

        More clicks than before refine the mask before; fewer, or others, start from what was there
        without any. Of nothing, the frame is no prompted one any more, and an object without any
        prompted frame is forgotten. Words become a mask: the best that the model finds for them on
        the frame as a picture.

        Returns:
          What is found there now; None if nothing is known.

        Raises:
          ValueError: no such frame, too many objects or clicks, a place outside the frame,
            an inverted box, words that are not known or name nothing there. Then all is as it was.
        """
        self._check(frame, number, asked)
        thing = self.things.get(number, Thing())
        before = thing.prompts.get(frame)
        if before is not None and asked == before:
            return thing.found[frame]
        goes_on = before is not None and asked.extends(before)
        mask, score = (None, None) if goes_on else self._mask_of(frame, asked)
        if before is not None and not goes_on:
            self._take_back(frame, number, thing)
        if not asked:
            if before is not None and not thing.prompts:
                self.remove(number)
            return self.things[number].found.get(frame) if number in self.things else None
        ids, logits = self._ask(frame, number, asked, mask)
        thing.version += 1
        thing.prompts[frame] = asked
        self.things[number] = thing
        found = self._found(frame, ids, logits)[number]
        # Of a mask that is given the predictor's score is 1.
        thing.found[frame] = found if score is None else replace(found, iou=score)
        return thing.found[frame]

    def remove(self, number: int) -> None:
        """Forget an object; ValueError if there is none of that number."""
        if number not in self.things:
            raise ValueError(f"there is no object {number} to remove")
        del self.things[number]
        self._predictor.remove_object(self._state, number, need_output=False)

    def track(self, shown: int, direction: Direction) -> Iterator[Step]:
        """Follow all objects; masks found before are replaced one by one.

        Closing the iterator stops the tracking; what was found until then stays.

        Args:
          shown: the frame from which to go on. Forward starts at the last frame up to it on which
            the prompts of today have been answered, so that no frame between is left out, and
            likewise backward.

        Raises:
          ValueError: nothing was prompted; no such frame; nothing before the first frame.
        """
        self._state.check_frame(shown)
        if not self.things:
            raise ValueError("there is nothing to track: click on an object first")
        passes = routes(list(self.things.values()), shown, self.num_frames, direction)
        room = HISTORY_BYTES // (self._entry_bytes * len(self.things))
        self._predictor.max_history = max(room, _LOOKS_BACK)
        return self._track(passes)

    def masks(self, frame: int) -> FrameMasks:
        """What is known of a frame, for files and drawings."""
        known = {k: t.found[frame] for k, t in self.things.items() if frame in t.found}
        found = [known[number] for number in sorted(known)]
        return FrameMasks(
            frame,
            sorted(known),
            np.array([rle.decode(one.code) for one in found], bool).reshape(-1, *self.size),
            np.array([one.iou for one in found], np.float32),
            np.array([one.object_logit for one in found], np.float32),
        )

    @property
    def nbytes(self) -> int:
        """What it holds in memory, about: the decoder, and what the predictor keeps of each frame
        and object."""
        features = jax.tree.leaves(list(self._state.features.values()))
        decoder = _DECODER_FRAMES * self.video.height * self.video.width * 3 // 2
        return decoder + self._history + sum(leaf.nbytes for leaf in features)

    @property
    def growth(self) -> int:
        """How many bytes a tracking may add to `nbytes`."""
        most = min(self.num_frames * len(self.things) * self._entry_bytes, HISTORY_BYTES)
        return max(0, most - self._history)

    @property
    def _history(self) -> int:
        """Bytes of what was found, but for the masks."""
        memories = list(self._state.memories.values())  # at once: another thread may add one
        entries = sum(len(m.cond) + len(m.non_cond) + len(m.pending_cond) for m in memories)
        return entries * self._entry_bytes

    @property
    def disk(self) -> int:
        """How many bytes a file made of the whole video may take, about: 0.4 bits a pixel."""
        return self.num_frames * self.video.height * self.video.width // 20

    def close(self) -> None:
        """Closes the file; a tracking that is under way in another thread ends with ValueError."""
        self.video.close()

    def _mask_of(
        self, frame: int, asked: Prompt
    ) -> tuple[Bool[np.ndarray, "h w"] | None, float | None]:
        """The mask that a prompt begins with, and the score of one that was found by words."""
        if asked.mask is not None:
            return rle.decode(asked.mask), None
        if asked.text is None:
            return None, None
        predictor = ImagePredictor(self._predictor.model, text_encoder=self._text_encoder)
        predictor.set_image(self.video[frame])
        masks, ious, _ = predictor.predict(text=asked.text)
        best = int(np.argmax(ious))
        if not masks[best].any():
            raise ValueError(f"nothing on this frame is called {asked.text!r}: click on it")
        return masks[best] > 0, None if asked.points else float(ious[best])

    def _ask(
        self, frame: int, number: int, asked: Prompt, mask: Bool[np.ndarray, "h w"] | None
    ) -> tuple[list[int], np.ndarray]:
        """Object numbers and logits [n 1 h w] with the answer; clicks refine the mask."""
        ids, logits = [], np.zeros(0)
        if mask is not None:
            _, ids, logits = self._predictor.add_new_mask(self._state, frame, number, mask)
        if asked.points or asked.box:
            _, ids, logits = self._predictor.add_new_points_or_box(
                self._state,
                frame,
                number,
                points=np.array(asked.points, np.float32) if asked.points else None,
                labels=np.array(asked.labels, np.int32) if asked.points else None,
                box=np.array(asked.box, np.float32) if asked.box else None,
            )
        return ids, logits

    def _track(self, passes: list[range]) -> Iterator[Step]:
        total, done = len(set().union(*passes)), 0
        for number, frames in enumerate(passes):
            found = self._predictor.propagate_in_video(
                self._state, frames[0], abs(frames[-1] - frames[0]), reverse=frames.step < 0
            )
            for frame, ids, logits in found:
                if number and frame == passes[0][0]:
                    continue  # where both directions start
                here = self._found(frame, ids, logits)
                for key, one in here.items():
                    self.things[key].found[frame] = one
                done += 1
                yield Step(frame, here, done, total)

    def _found(self, frame: int, ids: list[int], logits: np.ndarray) -> dict[int, Found]:
        scores = self._predictor.scores(self._state, frame)
        result = {}
        for number, logit in zip(ids, logits[:, 0], strict=True):
            if number in scores and number in self.things:
                version = self.things[number].version
                result[number] = Found(rle.encode(logit > 0), *scores[number].values(), version)
        return result

    def _take_back(self, frame: int, number: int, thing: Thing) -> None:
        """Back to the mask that a prompted frame had before its prompts, or to none."""
        shown = self._predictor.clear_all_prompts_in_frame(self._state, frame, number)
        assert shown is not None
        del thing.prompts[frame], thing.found[frame]
        if before := self._found(frame, *shown[1:]).get(number):
            thing.found[frame] = before
        thing.version += 1

    def _check(self, frame: int, number: int, asked: Prompt) -> None:
        self._state.check_frame(frame)
        if number < 1:
            raise ValueError(f"objects are numbered from 1, got {number}")
        if number not in self.things and asked and len(self.things) >= MAX_OBJECTS:
            raise ValueError(
                f"there are {MAX_OBJECTS} objects, which is the most here: remove one first"
            )
        prompts = self.things[number].prompts if number in self.things else {}
        if asked and frame not in prompts and len(prompts) >= MAX_PROMPTED:
            raise ValueError(
                f"object {number} is prompted on {MAX_PROMPTED} frames, which is the most here:"
                " take the prompts on one of them back"
            )
        if len(asked.points) > MAX_CLICKS - 2 * (asked.box is not None):
            raise ValueError(
                f"{len(asked.points)} clicks are too many for one frame, at most {MAX_CLICKS} and"
                " two fewer with a box: take some back"
            )
        height, width = self.size
        corners = np.reshape(asked.box, (2, 2)).tolist() if asked.box else []
        for x, y in (*asked.points, *corners):
            if not (0 <= x <= width and 0 <= y <= height):
                raise ValueError(
                    f"the place ({x:g}, {y:g}) is outside of the frame of {width} x {height}"
                )
        if asked.box and not (asked.box[0] < asked.box[2] and asked.box[1] < asked.box[3]):
            box = ", ".join(f"{side:g}" for side in asked.box)
            raise ValueError(
                f"the box [{box}] is empty or inverted: left, top, right, bottom are expected"
            )


def entry_bytes(model: Model) -> int:
    """What the predictor keeps on the host for each object and frame."""
    config = model.config
    grid = config.image_size // 16
    return 4 * config.mask_size**2 + 2 * grid**2 * config.memory.dim + 4 * config.dim
