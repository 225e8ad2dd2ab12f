"""Two video predictors driven through one scenario, and how far they are apart.

Which predictors they are does not matter: ours and the official one, or two of a kind. They run
step by step together, so no masks are kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from jaxtyping import Float

from convert import official_video
from convert.video_scenarios import Scenario

# Stage -> the largest acceptable `Error.value`, several times what was seen in any scenario. Why
# there is more than float32 noise:
# - both sides round spatial memories to bfloat16, and a value next to a rounding boundary may fall
#   on either side of it: a unit in the last place is up to 2^-7 of that value. A few elements of a
#   memory differ by that much and nearly all by nothing; what is read from it later, by more than
#   one computed without;
# - the mask of a prompted frame may be remembered as 0 and 1: of the pixels whose logit is within
#   noise of 0 one may turn (seen once, logit 2e-6), and then the memory around it differs by some
#   percent. Hence a wide limit for the largest difference and a narrow one for the mean.
LIMITS = {
    "pixels": 3e-4,  # near-ties of `non-overlap` fall either way; 1.1e-4 was seen
    "video logits": 2e-2,
    "mask logits": 2e-2,
    "pointer": 1e-4,
    "memory": 1e-1,
    "mean memory": 1e-3,
    "object score": 5e-3,
}


@dataclass(frozen=True)
class Error:
    """How far one array is from the official one.

    Attributes:
      stage: what was compared, a key of `LIMITS`.
      case: of which object, on which frame, at which step of the scenario.
      value: for pixels the fraction of the thresholded mask that differs; for pointers and memories
        relative to the largest official value; otherwise the largest difference.
    """

    stage: str
    case: str
    value: float

    @property
    def accepted(self) -> bool:
        return self.value <= LIMITS[self.stage]


class Disagreement(Exception):
    """The two predictors did not even answer the same questions."""


@dataclass(frozen=True)
class Memory:
    """What one predictor stores about one object on one frame.

    Attributes:
      prompted: stored as a conditioning frame.
      logits: low-resolution mask logits.
      pointer: the object pointer.
      features: the memory map, as float32; None where it was not made.
      object_logit: > 0 where the object is in the frame.
    """

    prompted: bool
    logits: Float[np.ndarray, "hm wm"]
    pointer: Float[np.ndarray, " d"]
    features: Float[np.ndarray, "h w e"] | None
    object_logit: float


Memories = dict[tuple[Any, int], Memory]


@dataclass(frozen=True)
class Side:
    """One of the two predictors, with a session.

    Attributes:
      predictor: has the official method names.
      state: what its `init_state` made of the clip.
      memories: reads all that `state` stores, by object id and frame.
    """

    predictor: Any
    state: Any
    memories: Callable[[Any], Memories]


def their_side(predictor: Any, frames: np.ndarray) -> Side:
    """The official predictor on a clip, uint8 [t h w 3]."""
    return Side(predictor, official_video.init_state(predictor, frames), their_memories)


def our_side(predictor: Any, frames: np.ndarray) -> Side:
    """A `sam_jax.VideoPredictor` on a clip, uint8 [t h w 3]."""
    return Side(predictor, predictor.init_state(frames), our_memories)


def their_memories(state: Any) -> Memories:
    """All that an official inference state stores."""
    found = {}
    for index, outputs in state["output_dict_per_obj"].items():
        for prompted, place in ((False, "non_cond_frame_outputs"), (True, "cond_frame_outputs")):
            for frame, out in outputs[place].items():
                features = out["maskmem_features"]
                if features is not None:
                    features = features[0].float().numpy().transpose(1, 2, 0)
                found[state["obj_idx_to_id"][index], frame] = Memory(
                    prompted,
                    out["pred_masks"][0, 0].numpy(),
                    out["obj_ptr"][0].numpy(),
                    features,
                    float(out["object_score_logits"]),
                )
    return found


def our_memories(state: Any) -> Memories:
    """All that a session of `sam_jax.VideoPredictor` stores."""
    found = {}
    for obj, memory in state.memories.items():
        for prompted, entries in ((False, memory.non_cond), (True, memory.cond)):
            for frame, entry in entries.items():
                features = entry.features
                if features is not None:
                    features = np.asarray(features, np.float32)
                found[obj, frame] = Memory(
                    prompted,
                    np.asarray(entry.logits),
                    np.asarray(entry.pointer),
                    features,
                    float(entry.object_logit),
                )
    return found


def compare(scenario: Scenario, ours: Side, theirs: Side) -> Iterator[Error]:
    """Runs a scenario on both sides at once: errors of what is seen, then of what is stored.

    Raises:
      Disagreement: other frames or objects were answered for or stored.
    """
    steps = (scenario.run(side.predictor, side.state) for side in (ours, theirs))
    with official_video.on_cpu():
        for mine, official_step in zip_longest(*steps):
            if mine is None or official_step is None:
                raise Disagreement(f"one side ended before {(mine or official_step)[:3]}")
            if mine[:3] != official_step[:3]:
                raise Disagreement(f"at {mine[:3]}, official at {official_step[:3]}")
            label, frame, ids, _ = mine
            seen, expected = np.asarray(mine[3]), np.asarray(official_step[3])
            if seen.shape != expected.shape:
                raise Disagreement(f"{label}: masks {seen.shape}, official {expected.shape}")
            at = f"{label}, frame {frame}"
            for obj, a, b in zip(ids, seen, expected, strict=True):
                differing = (a > 0) != (b > 0)
                yield Error("pixels", f"{at}, object {obj}", float(differing.mean()))
            if scenario.options.get("non_overlap_masks"):
                # Of objects that are equal but for noise, either may keep its logit.
                seen, expected = np.sort(seen, axis=0), np.sort(expected, axis=0)
            yield Error("video logits", at, _largest(seen, expected))
    yield from compare_memories(ours.memories(ours.state), theirs.memories(theirs.state))


def compare_memories(ours: Memories, theirs: Memories) -> Iterator[Error]:
    """Errors of what is stored, frame by frame.

    Raises:
      Disagreement: not the same frames and objects.
    """
    kinds = [{key: memory.prompted for key, memory in side.items()} for side in (ours, theirs)]
    if kinds[0] != kinds[1]:
        differing = sorted({key for key, _ in kinds[0].items() ^ kinds[1].items()}, key=str)
        raise Disagreement(
            f"stored differently: {differing[:6]} as {[kinds[0].get(k) for k in differing[:6]]}, "
            f"official {[kinds[1].get(k) for k in differing[:6]]}"
        )
    for (obj, frame), expected in sorted(theirs.items(), key=lambda item: item[0][1]):
        mine, case = ours[obj, frame], f"stored, frame {frame}, object {obj}"
        yield Error("mask logits", case, _largest(mine.logits, expected.logits))
        size = float(np.abs(expected.pointer).max())
        yield Error("pointer", case, _largest(mine.pointer, expected.pointer) / size)
        yield Error("object score", case, abs(mine.object_logit - expected.object_logit))
        if (mine.features is None) != (expected.features is None):
            raise Disagreement(f"{case}: only one side has a memory map")
        if expected.features is not None and mine.features is not None:
            size = float(np.abs(expected.features).max())
            yield Error("memory", case, _largest(mine.features, expected.features) / size)
            mean = float(np.abs(mine.features - expected.features).mean())
            yield Error("mean memory", case, mean / size)


def _largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        raise Disagreement(f"shape {ours.shape}, official {theirs.shape}")
    return float(np.abs(ours - theirs).max())


def worst(errors: Sequence[Error]) -> dict[str, Error]:
    """Of each stage the largest error; a NaN is larger than anything."""

    def size(error: Error) -> float:
        return np.inf if np.isnan(error.value) else error.value

    stages = {error.stage for error in errors}
    return {stage: max((e for e in errors if e.stage == stage), key=size) for stage in stages}
