"""Clips made on the fly, whose frames can be told apart after lossy coding."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest


def _clip(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    times: Callable[[int], int] = lambda i: i,
    codec: str = "libx264",
    b_frames: int = 2,
    gop: int = 12,
    pixel_format: str = "yuv420p",
    encoder: dict[str, str] | None = None,
    **options: str,
) -> Path:
    import av

    with av.open(str(path), "w", options=options) as container:
        settings = {"g": str(gop), "bf": str(b_frames)} | (encoder or {})
        stream = container.add_stream(codec, rate=25, options=settings)
        for i, pixels in enumerate(frames):
            if i == 0:
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = pixel_format
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = times(i), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    """`make_clip(path, frames, *, times, codec, b_frames, gop, pixel_format, encoder,
    **muxer_options)`: a video file.

    `times(i)` is when frame i is shown, in 1/25 s.
    """
    return _clip
