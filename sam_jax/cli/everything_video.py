"""`sam-jax everything` of a video."""

import json
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.cli import say
from sam_jax.cli.compilation_cache import enable_compilation_cache
from sam_jax.cli.everything_args import Everything
from sam_jax.cli.pictures import check_apart
from sam_jax.cli.signals import Signals
from sam_jax.cli.through_video import carry_out
from sam_jax.cli.track_output import Output, Plan, plan_output
from sam_jax.cli.track_run import fetched
from sam_jax.files import check_writable, output_dir, replacing
from sam_jax.io.mask_sequences import FrameMasks
from sam_jax.io.overlay import many_colors, overlay
from sam_jax.io.prefetch import prefetch
from sam_jax.presets import ALIASES, PRESETS, preset

_READ_AHEAD = 4  # frames
_NUMBERS = range(1, 256)  # of objects, as far as is known before; all that a palette has room for


class _Run:
    """Tracks and writes, when called.

    Args:
      stopping: whether to stop as soon as what is done is written.
    """

    def __init__(
        self, tracker: Any, video: Any, output: Output, stopping: Callable[[], bool]
    ) -> None:
        self._tracker = tracker
        self._video = video
        self._output = output
        self._stopping = stopping
        self.total: int | None = video.num_frames

    def __call__(self, advance: Callable[[], None]) -> None:
        """Calls `advance` after each frame.

        Raises:
          ValueError: the video breaks off or is damaged, the weights are broken, the disk is full.
        """
        side = self._tracker.generator.model.config.image_size
        size = (self._video.height, self._video.width)
        with closing(prefetch(self._video.model_inputs(side), _READ_AHEAD)) as source:
            for number, (pixels, model_input) in enumerate(source):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    answers = self._tracker.step(pixels, model_input)
                for warning in caught:
                    say(f"sam-jax: warning: {self._video.name}: {warning.message}", error=True)
                self._output.write(fetched(number, answers, size), pixels)
                advance()
                if self._stopping():
                    return


def everything_video(path: Path, args: Everything, options: Any) -> int:
    """Finds and tracks; what can be checked is checked before the model is loaded.

    Args:
      options: `GeneratorOptions`.

    Returns:
      0, or 130 after Ctrl-C or SIGTERM, with the results until then finished.

    Raises:
      ValueError, OSError: bad settings, video, model or output; if that is found on the way, the
        results until then are finished.
      KeyboardInterrupt: Ctrl-C or SIGTERM before the tracking, or a second time.
    """
    from sam_jax.io.videos import open_video
    from sam_jax.predictors.everything_tracker import EverythingTracker, check_settings

    settings = {
        "every": args.every,
        "max_objects": args.max_objects,
        "retire_after": args.retire_after,
    }
    check_settings(options, **settings)
    if args.png:
        raise ValueError("--png is for pictures: of a video, --format png writes PNGs")
    plan, objects_file = _plan(args)
    inputs = [path, *args.point_grid]
    plan.check(inputs, _NUMBERS)
    check_apart(inputs, [objects_file])

    with Signals() as signals, open_video(path) as video:
        if args.model in PRESETS or args.model in ALIASES:
            from sam_jax.video import require_memory

            require_memory(preset(args.model))  # before a download
        with output_dir(plan.folder):
            plan.check_writable()
            check_writable(objects_file)
            if args.cache:
                enable_compilation_cache()

            from sam_jax.load import load
            from sam_jax.predictors.everything import AutomaticMaskGenerator

            generator = AutomaticMaskGenerator(load(args.model), **vars(options))
            count = video.num_frames
            tracker = EverythingTracker(generator, **settings, num_frames=count)
            output = Output(plan, _drawn, fps=video.fps, count=count, every=1)
            run = _Run(tracker, video, output, lambda: signals.asked)
            try:
                carry_out(run, output, path, signals)
            finally:
                if output.frames:
                    _write_objects(objects_file, tracker.objects)
    return 130 if signals.asked else 0


def _plan(args: Everything) -> tuple[Plan, Path]:
    """Names of the results; that of the objects apart."""
    plan = plan_output(args.output, args.format, in_folder="rle")
    if plan.folder != args.output:
        return plan, plan.target.with_name(f"{plan.target.stem}_objects.json")
    return replace(plan, overlay=args.output / "overlay.mp4"), args.output / "objects.json"


def _drawn(result: FrameMasks, pixels: np.ndarray) -> np.ndarray:
    """A frame with its masks, each object in a colour of its own, the smallest on top."""
    colors = many_colors(max(result.ids, default=1))
    order = np.argsort(-result.masks.sum(axis=(1, 2)), kind="stable")
    return overlay(
        pixels,
        (result.masks[i] for i in order),
        colors=[colors[result.ids[i] - 1] for i in order] or colors,
    )


def _write_objects(path: Path, objects: dict[int, Any]) -> None:
    """A JSON list with a line for each object, and a line on stdout."""
    lines = [json.dumps({"object": number, **asdict(span)}) for number, span in objects.items()]
    with replacing(path) as temporary:
        temporary.write_text("[" + ",".join(f"\n{line}" for line in lines) + "\n]\n", "utf-8")
    retired = sum(span.retired for span in objects.values())
    say(f"{len(objects)} objects, {retired} of them retired  {path}")
