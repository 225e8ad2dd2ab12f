"""What the commands that take many pictures share: names of results, progress, Ctrl-C."""

import itertools
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from sam_jax.cli import report, say
from sam_jax.cli.signals import Signals


def check_files(inputs: Sequence[Path]) -> None:
    """Before any work.

    Raises:
      ValueError: one of them is a folder or not there.
    """
    if missing := [str(path) for path in inputs if not path.is_file()]:
        if folder := next((path for path in inputs if path.is_dir()), None):
            raise ValueError(f"{folder} is a folder: name the pictures in it, like {folder}/*.jpg")
        raise ValueError(f"no such file: {', '.join(missing)}")


def check_apart(inputs: Iterable[Path], written: Iterable[Path]) -> None:
    """Raises a ValueError if a result would replace an input."""
    taken = {path.resolve() for path in inputs} & {path.resolve() for path in written}
    if taken:
        raise ValueError(
            f"the results would replace the input {min(taken)}: choose another folder with --output"
        )


def stems(images: Sequence[Path]) -> list[str]:
    """Names without suffix; the second x becomes x-2. Upper and lower case count as the same."""
    taken: set[str] = set()
    names = []
    reserved = {path.stem.casefold() for path in images}
    for path in images:
        stem, number = path.stem, 1
        while stem.casefold() in taken or (number > 1 and stem.casefold() in reserved):
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.casefold())
        names.append(stem)
    return names


def delete_more_masks(target: Path, count: int, *, keep: Sequence[Path | None]) -> None:
    """Deletes what an earlier run with more masks wrote: number `count` and on, up to a gap."""
    inputs = {path.resolve() for path in keep if path}
    for i in itertools.count(count):
        file = target.with_name(f"{target.name}_mask{i}.png")
        if not file.is_file():
            return
        if file.resolve() not in inputs:
            file.unlink()


def one_by_one(
    plans: dict[str, Path], description: str, work: Callable[[str, Path], None], signals: Signals
) -> int:
    """Does the work on every picture, reporting bad ones, until a signal asks to stop.

    Args:
      plans: pictures by the stems of their results, both of which the work is given.
      description: for the progress bar.
      signals: within their own `with`.

    Returns:
      The exit code: 0; 2 if a picture failed; 130 after Ctrl-C or SIGTERM.

    Raises:
      KeyboardInterrupt: one came a second time.
    """
    failures = 0
    with signals.patient(), closing(_progress(list(plans.items()), description)) as items:
        for stem, path in items:
            if signals.asked:
                break
            try:
                work(stem, path)
            except (ValueError, OSError) as error:
                report(error)
                failures += 1
    if signals.asked:
        say("sam-jax: stopped; the pictures until then are complete", error=True)
        return 130
    return 2 if failures else 0


def _progress(items: list[tuple[str, Path]], description: str) -> Generator[tuple[str, Path]]:
    """The items, under a progress bar on stderr if there are several."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    # Results printed to a terminal must pass through the bar, those piped into a file must not.
    redirect = sys.stdout.isatty()
    with Progress(
        *columns, console=console, redirect_stdout=redirect, disable=len(items) == 1
    ) as bar:
        yield from bar.track(items, description=description)
