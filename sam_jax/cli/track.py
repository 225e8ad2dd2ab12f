"""`sam-jax track`: checks and messages. The tracking itself is in track_run."""

import sys
from functools import partial
from pathlib import Path

from sam_jax.cli import Track
from sam_jax.cli.compilation_cache import enable_compilation_cache
from sam_jax.cli.signals import Signals
from sam_jax.cli.through_video import carry_out
from sam_jax.cli.track_output import Output, drawn, plan_output
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
    plan.check([*mask_files, *([] if is_camera else [Path(args.video)])], prompts.objects)

    from sam_jax.io.videos import open_video

    with Signals() as signals, open_video(int(args.video) if is_camera else args.video) as video:
        count = video.num_frames
        prompts.check_frames(count, args.every, args.video)
        prompts.check_inside(video.width, video.height, args.video)
        route = plan_route(args, prompts, count)
        for _, number, path in prompts.masks():
            read_mask_picture(path, (video.height, video.width), number=number)
        from sam_jax.video import require_memory

        if args.model in PRESETS or args.model in ALIASES:
            require_memory(preset(args.model))  # before a download
        with output_dir(plan.folder):
            plan.check_writable()
            if args.cache:
                enable_compilation_cache()

            from sam_jax.load import load

            model = load(args.model)
            require_memory(model.config)
            fps = max(video.fps / args.every, _LOWEST_FPS) if video.fps else None
            output = Output(plan, partial(drawn, prompts), fps=fps, count=count, every=args.every)
            run = Run(model, video, prompts, route, output, lambda: signals.asked)
            carry_out(run, output, args.video, signals)
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
