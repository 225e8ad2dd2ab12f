"""An uploaded video is looked at before it is decoded: what kind it is, how large, how long."""

import math
from pathlib import Path
from typing import Any

from sam_jax.demo.kinds import VIDEOS, is_video
from sam_jax.io.videos import Video, open_video

MAX_FRAMES = 1800  # a minute at 30 frames/s
MAX_PIXELS = 3840 * 2160

_CUT = "cut or shrink it first, or use `sam-jax track`"


def open_upload(path: Path, name: str) -> Video:
    """The video in an uploaded file.

    Args:
      name: what the user calls it. Errors, also later ones of reading frames, say it, not the path.

    Raises:
      ValueError: another kind of file, damaged, frames too large, or too many.
    """
    if not is_video(path):
        raise ValueError(f"this is no video of a kind that is taken: {VIDEOS} are")
    _check_header(path)
    video = open_video(path, name=name, max_pixels=MAX_PIXELS)
    try:
        _check_length(video.num_frames or 0)
    except ValueError:
        video.close()
        raise
    return video


def _check_header(path: Path) -> None:
    """Raises ValueError for what the header says is too large, before a frame is decoded."""
    import av

    try:
        with av.open(str(path)) as container:
            streams: Any = [s for s in container.streams.video if s.codec_context is not None]
            frames = max((stream.frames for stream in streams), default=0)
            sizes = [(stream.width, stream.height) for stream in streams]
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise ValueError(
            "the video cannot be read, or its end is missing: was it uploaded whole?"
        ) from error
    width, height = max(sizes, key=math.prod, default=(0, 0))
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"the frames have {width} x {height} = {width * height:,} pixels, at most"
            f" {MAX_PIXELS:,} are taken: {_CUT}"
        )
    _check_length(frames)


def _check_length(frames: int) -> None:
    if frames > MAX_FRAMES:
        raise ValueError(f"the video has {frames} frames, at most {MAX_FRAMES} are taken: {_CUT}")
