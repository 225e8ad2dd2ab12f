"""Track one thing in a camera, or in a video as if it were one, for as long as it runs.

    python examples/camera_loop.py 0 --box 200,100,440,380 --model sam2.1-hiera-tiny
    python examples/camera_loop.py docs/media/clip.mp4 --box 105,27,199,100 --write out.mp4

Ctrl-C ends it. Memory does not grow, and the device works on a frame while the one before is drawn.
"""

import argparse
import contextlib
import time
from pathlib import Path

import sam_jax
from sam_jax import instances
from sam_jax.io.overlay import overlay
from sam_jax.io.video_writer import VideoWriter
from sam_jax.io.videos import open_video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="number of a camera, or a video")
    parser.add_argument("--box", required=True, help="X0,Y0,X1,Y1 on the first frame, in pixels")
    parser.add_argument("--model", default="sam2.1-hiera-nano")
    parser.add_argument("--write", type=Path, help="an mp4 of what was seen")
    parser.add_argument("--frames", type=int, help="stop after so many")
    asked = parser.parse_args()

    model = sam_jax.load(asked.model)
    stream = sam_jax.Stream(model)
    stream.add(1, box=[float(value) for value in asked.box.split(",")])
    source = int(asked.source) if asked.source.isdigit() else asked.source
    with contextlib.ExitStack() as closing, contextlib.suppress(KeyboardInterrupt):
        video = closing.enter_context(open_video(source))
        writer = asked.write and closing.enter_context(VideoWriter(asked.write, video.fps))
        began, before = time.perf_counter(), None
        frames = video.model_inputs(model.config.image_size, stop=asked.frames)
        for number, (frame, model_input) in enumerate(frames):
            answer = stream.step(frame, model_input)
            if before is not None:  # is ready by now, while this frame is under way
                show(*before, writer)
            before = number, frame, answer
            if number == 0:
                began = time.perf_counter()  # what came before was compilation
        show(*before, writer)
        print(f"{number / (time.perf_counter() - began):.2f} frames/s")


def show(number, frame, answer, writer) -> None:
    """A line on what is seen, and the frame with it drawn, which a window could show."""
    found = instances.from_tracked(answer)
    seen = f"predicted IoU {found.scores[0]:.2f}" if len(found) else "not there"
    print(f"frame {number}: {seen}", flush=True)
    if writer:
        writer.write(overlay(frame, found.masks))


if __name__ == "__main__":
    main()
