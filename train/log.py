"""What a run says of itself: a line that moves, JSON lines, TensorBoard, pictures."""

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

Row = dict[str, float]

_TEXT = "{task.fields[said]}"
_QUEUE = 10_000  # events


class Log:
    """Everything that is written about a run but its checkpoints.

    Args:
      folder: of the run: metrics.jsonl, a row for each step; tensorboard/; pictures/STEP.png.
      start: the step the run goes on from; what was said of later ones is forgotten.
      steps: of the whole run.
      every: steps between two lines on the console.
      skipped: how many samples were left out so far.
    """

    def __init__(
        self,
        folder: Path,
        console: Console,
        *,
        start: int,
        steps: int,
        every: int,
        skipped: Callable[[], int],
    ) -> None:
        self._skipped = skipped
        self._folder, self._console, self._steps, self._every = folder, console, steps, every
        path = folder / "metrics.jsonl"
        for name in (path, folder / "scores.jsonl"):
            _keep_until(name, start)
        # Line by line: a run that is killed would take rows of saved steps with it.
        self._rows = path.open("a", buffering=1, encoding="utf-8")
        # Its thread ends when the disk is full; a short queue would then be waited for without end.
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=start + 1, max_queue=_QUEUE
        )
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn(_TEXT))
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("", total=steps, completed=start, said="compiling")
        self._recent: list[Row] = []
        self._since, self._waited = time.monotonic(), 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        for file in (self._rows, self._board):
            with suppress(OSError):  # the disk is full, which has been said
                file.close()

    def begins(self) -> None:
        """The programs are compiled; time counts from now."""
        self._progress.update(self._task, said="")
        self._since = time.monotonic()

    def waited(self, seconds: float) -> None:
        """The device may have had nothing to do for so long, because data were late."""
        self._waited += seconds

    def step(self, step: int, row: Row, clips: int) -> None:
        """The metrics of a step that is done, and how many clips it had."""
        with self._writing():
            self._rows.write(json.dumps({"step": step, **row}) + "\n")
        self._recent.append({**row, "clips": clips})
        self._progress.update(self._task, completed=step)
        if not self._every or (step % self._every and step != self._steps):
            return
        took = max(time.monotonic() - self._since, 1e-9)
        mean = {name: float(np.mean([r[name] for r in self._recent])) for name in row}
        clips_s = sum(r["clips"] for r in self._recent) / took
        late = self._waited / took
        for name, value in {**mean, "clips/s": clips_s, "share of time waiting": late}.items():
            self._board.add_scalar(f"train/{name}", value, step)
        said = " ".join(f"{name} {value:.4g}" for name, value in mean.items())
        said += f", {clips_s:.2f} clips/s, {late:.0%} waiting for data"
        if skipped := self._skipped():
            said += f", {skipped} broken samples left out"
        self._progress.update(self._task, said=said)
        if not self._console.is_terminal:
            left = (self._steps - step) * took / len(self._recent) / 60
            self._console.print(f"step {step}: {said}, {left:.0f} min left", soft_wrap=True)
        self._recent, self._waited = [], 0.0
        self._since = time.monotonic()

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise ValueError(f"cannot write the log to {self._folder}: {error}") from error

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def scores(self, step: int, scores: Row) -> None:
        """What an evaluation found."""
        for name, value in scores.items():
            self._board.add_scalar(f"evaluation/{name}", value, step)
            self.say(f"step {step}: {value:.4f}  {name}")
        path = self._folder / "scores.jsonl"
        with self._writing(), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **scores}) + "\n")

    def picture(self, step: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        folder = self._folder / "pictures"
        with self._writing():
            folder.mkdir(exist_ok=True)
            Image.fromarray(picture).save(folder / f"{step:07}.png")
        self._board.add_image("answers", picture, step, dataformats="HWC")


def scored(folder: Path, step: int) -> bool:
    """Whether an evaluation after that step is on record in a run's folder."""
    path = folder / "scores.jsonl"
    rows = path.read_text("utf-8").splitlines() if path.exists() else []
    return any(json.loads(row)["step"] == step for row in rows)


def _keep_until(path: Path, step: int) -> None:
    """Forget what a log (JSON lines with a "step") says of later steps: they are taken again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the last line of a killed run
            continue
        if row["step"] <= step:
            kept.append(line + "\n")
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept), "utf-8")
    temporary.replace(path)
