"""From a video to the frames and objects of one training clip.

Upstream: training/dataset/vos_sampler.py, RandomUniformSampler.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from train.config import Stream
from train.data.video import BrokenSample, Video

_TRIES = 20  # beginnings looked at for a frame with objects


@dataclass(frozen=True)
class Clip:
    """Attributes:
    name: of the video and its first frame, for messages.
    images: RGB.
    masks: of objects that are in the first frame; at least one.
    ids: of these objects.
    first: number of the first frame.
    """

    name: str
    images: UInt8[np.ndarray, "t h w 3"]
    masks: Bool[np.ndarray, "t o h w"]
    ids: Sequence[int]
    first: int


def sample_clip(video: Video, stream: Stream, rng: np.random.Generator) -> Clip:
    """A random clip, `stream.frames` long, of up to `stream.objects` random objects.

    Frames follow one another among those that have annotations, every `stream.source.stride`-th.

    Raises:
      BrokenSample: too few frames are annotated, no object is in the first one, or a file is bad.
    """
    times = video.annotated
    span = (stream.frames - 1) * stream.source.stride + 1
    starts = len(times) - span + 1
    if starts < 1:
        raise BrokenSample(
            f"{video.name} has {len(times)} annotated frames, and a clip of {stream.frames} with"
            f" stride {stream.source.stride} needs {span}: give a shorter clip or leave it out"
        )
    step = stream.source.stride
    backwards = rng.random() < stream.reverse
    for start in rng.permutation(starts)[:_TRIES]:
        clip = list(times[start : start + span : step])
        if backwards:
            clip.reverse()
        first = _annotation(video, clip[0])
        if chosen := _choose(first, stream, rng):
            return _load(video, clip, chosen)
    raise BrokenSample(
        f"{video.name}: none of {min(starts, _TRIES)} first frames has an object that covers"
        f" something, and at most {stream.largest:.0%} of the picture"
    )


def _choose(
    masks: Mapping[int, np.ndarray], stream: Stream, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """Looks at no more masks than it takes: of a picture of SA-1B, each costs time."""
    chosen: dict[int, np.ndarray] = {}
    for number in rng.permutation(list(masks)).tolist():
        mask = masks[number]
        if 0 < mask.mean() <= stream.largest:
            chosen[number] = mask
        if len(chosen) == stream.objects:
            break
    return chosen


def _load(video: Video, times: Sequence[int], chosen: Mapping[int, np.ndarray]) -> Clip:
    name = f"{video.name}, frame {video.frame_name(times[0])}"
    images = [video.image(t) for t in times]
    hw = images[0].shape[:2]
    for t, image in zip(times, images, strict=True):
        if image.shape[:2] != hw:
            raise BrokenSample(
                f"{video.name}: frame {video.frame_name(t)} has {image.shape[1]} x"
                f" {image.shape[0]} pixels, the first one of the clip {hw[1]} x {hw[0]}"
            )
    masks = np.zeros((len(times), len(chosen), *hw), bool)
    for i, t in enumerate(times):
        present = _annotation(video, t) if i else chosen
        for j, number in enumerate(chosen):
            if number not in present:
                continue
            mask = present[number]
            if mask.shape != hw:
                raise BrokenSample(
                    f"{video.name}, frame {video.frame_name(t)}: the mask of object {number} has"
                    f" {mask.shape[1]} x {mask.shape[0]} pixels, the picture {hw[1]} x {hw[0]}"
                )
            masks[i, j] = mask
    return Clip(name, np.stack(images), masks, list(chosen), times[0])


def _annotation(video: Video, t: int) -> Mapping[int, np.ndarray]:
    masks = video.masks(t)
    if masks is None:
        raise BrokenSample(f"{video.name}, frame {video.frame_name(t)} lost its masks")
    return masks
