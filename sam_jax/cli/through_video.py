"""How commands that go through a video do so: progress, the last words."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sam_jax.cli import say
from sam_jax.cli.signals import Signals
from sam_jax.cli.track_output import Output


def carry_out(run: Any, output: Output, name: str | Path, signals: Signals) -> None:
    """Runs, then says what there is, however it ended.

    Args:
      run: takes something to call after each frame; its `total` is how often, if that is known.
      name: of the video.
      signals: within their own `with`; the run looks at them and stops when they ask for it.
    """
    plan = output.plan
    beside = [plan.overlay] if plan.overlay not in (None, plan.target) else []
    where = "  ".join(str(path) for path in (plan.target, plan.scores, *beside))
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
    say(f"{name}  {output.frames} frames  {seconds:.1f} s  {rate:.1f} frames/s  {where}")
    if signals.asked:
        say("sam-jax: stopped; the frames until then are complete", error=True)
    if older := output.older_frames():
        say(
            f"sam-jax: note: {output.plan.target} also holds {len(older)} files of an earlier run,"
            f" such as {older[0].relative_to(output.plan.target)}",
            error=True,
        )


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
