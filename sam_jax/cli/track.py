"""`sam-jax track`: checks, messages and how it ends. The tracking itself is in track_run."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sam_jax.cli import Track, say
from sam_jax.cli.compilation_cache import enable_compilation_cache
from sam_jax.cli.track_output import Output, plan_output
from sam_jax.cli.track_prompts import TrackPrompts, parse_track_prompts
from sam_jax.cli.track_run import Route, Run
from sam_jax.files import output_dir
from sam_jax.io.masks import read_mask_picture
from sam_jax.presets import ALIASES, PRESETS, preset

_LOWEST_FPS = 0.01  # that a video can have


def track(args: Track) -> int:
    """Tracks through a video; what can be checked is checked before the model is loaded.

    Returns:
      0, or 130 after Ctrl-C or SIGTERM, with the results until then finished.

    Raises:
      ValueError, OSError: bad prompts, video, model or output; if that is found on the way, the
        results until then are finished.
      KeyboardInterrupt: Ctrl-C or SIGTERM before the tracking, or a second time.
    """
    if not args.video:
        raise ValueError("the name of the video is empty")
    if args.reverse and args.both_ways:
        raise ValueError("--both-ways includes --reverse: give one of them")
    for name, value in (("--every", args.every), ("--max-frames", args.max_frames)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    prompts = parse_track_prompts(args.point, args.box, args.mask)
    plan = plan_output(args.output, args.format)
    is_camera = args.video.isdecimal() and not Path(args.video).exists()
    if is_camera and (args.reverse or args.both_ways):
        raise ValueError("a camera only runs forwards: leave out --reverse and --both-ways")
    mask_files = [path for _, _, path in prompts.masks()]
    if missing := [str(path) for path in mask_files if not path.is_file()]:
        raise ValueError(f"no such file: {', '.join(missing)}")
    plan.check([*mask_files, *([] if is_camera else [Path(args.video)])], prompts)

    from sam_jax.io.videos import open_video

    with _Signals() as signals, open_video(int(args.video) if is_camera else args.video) as video:
        count = video.num_frames
        prompts.check_frames(count, args.every, args.video)
        prompts.check_inside(video.width, video.height, args.video)
        route = plan_route(args, prompts, count)
        for _, number, path in prompts.masks():
            read_mask_picture(path, (video.height, video.width), number=number)
        if args.model in PRESETS or args.model in ALIASES:
            from sam_jax.video import require_memory

            require_memory(preset(args.model))  # before a download
        with output_dir(plan.folder):
            plan.check_writable()
            if args.cache:
                enable_compilation_cache()

            from sam_jax.load import load

            model = load(args.model)
            fps = max(video.fps / args.every, _LOWEST_FPS) if video.fps else None
            output = Output(plan, prompts, fps=fps, count=count, every=args.every)
            run = Run(model, video, prompts, route, output, lambda: signals.asked)
            _run(run, output, args, signals)
    return 130 if signals.asked else 0


def plan_route(args: Track, prompts: TrackPrompts, count: int | None) -> Route:
    """Which frames are tracked, in which direction.

    Args:
      count: number of frames in the video, if known.

    Raises:
      ValueError: --max-frames keeps a prompt from being reached.
    """
    first, last, every = prompts.first, prompts.last, args.every
    end = sys.maxsize if count is None else count
    reach = sys.maxsize if args.max_frames is None else args.max_frames * every
    forward = None if args.reverse else range(first, min(end, first + reach), every)
    backward = None
    if args.reverse or args.both_ways:
        backward = range(last, max(-1, last - reach), -every)
    for frames, start, far in ((forward, first, last), (backward, last, first)):
        if frames is not None and far not in frames:
            raise ValueError(
                f"the prompt on frame {far} is not reached: with --max-frames {args.max_frames},"
                f" tracking goes from frame {start} to frame {frames[-1]}"
            )
    return Route(forward, backward, every)


def _run(run: Run, output: Output, args: Track, signals: "_Signals") -> None:
    """Tracks, then says what there is, however it ended."""
    where = f"{output.plan.target}  {output.plan.scores}"
    start = time.monotonic()
    try:
        with output, signals.patient(), _progress(run.total) as advance:
            run(advance)
    except (ValueError, OSError, KeyboardInterrupt):
        if output.frames:
            say(f"sam-jax: the {output.frames} frames until then: {where}", error=True)
        raise
    seconds = time.monotonic() - start
    rate = output.frames / seconds
    say(f"{args.video}  {output.frames} frames  {seconds:.1f} s  {rate:.1f} frames/s  {where}")
    if signals.asked:
        say("sam-jax: stopped; the frames until then are complete", error=True)
    if older := output.older_frames():
        say(
            f"sam-jax: note: {output.plan.target} also holds {len(older)} files of an earlier run,"
            f" such as {older[0].relative_to(output.plan.target)}",
            error=True,
        )


class _Signals:
    """What Ctrl-C and SIGTERM do: KeyboardInterrupt; within `patient`, only the second time.

    Attributes:
      asked: whether one came within `patient`, where the loop looks at this between two frames.
    """

    def __init__(self) -> None:
        self.asked = False
        self._is_patient = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def patient(self) -> Generator[None]:
        self._is_patient = True
        try:
            yield
        finally:
            self._is_patient = False

    def _handle(self, number: int, frame: object) -> None:
        if self.asked or not self._is_patient:
            raise KeyboardInterrupt
        self.asked = True
        # Not print: the signal may have come while something else was printing.
        os.write(2, b"\nsam-jax: finishing what is done; Ctrl-C again stops at once\n")


@contextmanager
def _progress(total: int | None) -> Generator[Callable[[], None]]:
    """A progress bar on stderr; what it gives is to be called after each frame."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("tracking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task("tracking", total=total, rate="")

        def advance() -> None:
            speed = progress.tasks[0].speed
            progress.update(task, advance=1, rate=f"{speed:.1f} frames/s" if speed else "")

        yield advance
