"""The protocols over many videos: numbers by name, who was skipped, and why."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.predictors.image import ImagePredictor
from sam_jax.types import Model
from train.data.video import BrokenSample, Video
from train.evaluate.clicks import click_picture, first_objects
from train.evaluate.interactive import (
    InteractiveOptions,
    interactive_predictor,
    interactive_video,
)
from train.evaluate.jf import Score, mean_score
from train.evaluate.vos import Presence, VosOptions, vos_predictor, vos_video


@dataclass(frozen=True)
class Results:
    """What a protocol found.

    Attributes:
      scores: by name; shares in 0..1.
      objects: what was found for each object: its video, its id, and numbers.
      skipped: messages about videos that could not be used.
    """

    scores: dict[str, float]
    objects: list[dict[str, Any]]
    skipped: list[str] = field(default_factory=list)


def run_clicks(model: Model, videos: Iterable[Video], *, objects: int = 0) -> Results:
    """Click mIoU: of each video, on the first frame that shows objects.

    Args:
      objects: of a picture, at most; 0: all.
    """
    predictor = ImagePredictor(model)
    rows, skipped = [], []
    for video in videos:
        try:
            t, masks = first_objects(video, objects)
            ious = click_picture(predictor, video.image(t), [*masks.values()])
        except BrokenSample as error:
            skipped.append(str(error))
            continue
        for k, i in enumerate(masks):
            found = {f"mIoU, {kind}": values[k] for kind, values in ious.items()}
            rows.append({"video": video.name, "object": i, **found})
    return Results(_means(rows), rows, skipped)


def run_vos(
    model: Model, videos: Iterable[Video], options: VosOptions, folder: Path | None = None
) -> Results:
    """Semi-supervised VOS: J&F, and how often object logits are right.

    Args:
      folder: where predictions are written, if anywhere.
    """
    predictor = vos_predictor(model, options)
    rows, skipped, presence = [], [], Presence()
    for video in videos:
        try:
            result = vos_video(predictor, video, options, folder)
        except BrokenSample as error:
            skipped.append(str(error))
            continue
        presence += result.presence
        rows += [_row(video.name, i, score) for i, score in result.scores.items()]
    return Results(_jf(rows) | presence.shares(), rows, skipped)


def run_interactive(model: Model, videos: Iterable[Video], options: InteractiveOptions) -> Results:
    """Interactive VOS: J&F after each round."""
    predictor = interactive_predictor(model, options)
    rows, skipped = [], []
    for video in videos:
        try:
            scores = interactive_video(predictor, video, options)
        except BrokenSample as error:
            skipped.append(str(error))
            continue
        for i, rounds in scores.items():
            found = {f"J&F, {_frames(n)}": score.jf for n, score in enumerate(rounds, 1)}
            rows.append({"video": video.name, "object": i, **found})
    means = _means(rows)
    if means:
        means["J&F, mean over rounds"] = float(np.mean([*means.values()]))
    return Results(means, rows, skipped)


def of_scores(scores: dict[str, dict[int, Score]]) -> Results:
    """Scores of folders as results."""
    rows = [_row(name, i, score) for name, found in scores.items() for i, score in found.items()]
    return Results(_jf(rows), rows)


def _row(video: str, number: int, score: Score) -> dict[str, Any]:
    return {"video": video, "object": number, "J&F": score.jf, "J": score.j, "F": score.f}


def _jf(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    mean = mean_score(Score(row["J"], row["F"]) for row in rows)
    return {} if math.isnan(mean.j) else {"J&F": mean.jf, "J": mean.j, "F": mean.f}


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    columns: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            if name not in ("video", "object"):
                columns[name].append(value)
    return {name: float(np.mean(values)) for name, values in columns.items()}


def _frames(n: int) -> str:
    return f"{n} clicked frame{'s' if n > 1 else ''}"
