"""The protocols over many videos: numbers by name, who was skipped, and why."""

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam_jax.predictors.image import ImagePredictor
from sam_jax.predictors.text import TextEncoder
from sam_jax.types import Model
from train.data.video import BrokenSample, Video
from train.evaluate.clicks import click_picture, first_objects
from train.evaluate.interactive import (
    InteractiveOptions,
    interactive_predictor,
    interactive_video,
)
from train.evaluate.jf import Score, mean_score, region
from train.evaluate.text import TextOptions, ask_by_text, most_salient, rows_of, score_of
from train.evaluate.tracking import masks_of, some_objects
from train.evaluate.vos import Presence, VosOptions, vos_predictor, vos_video
from train.world.asking import absent_phrase, plain_phrase


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


def run_text(
    model: Model,
    videos: Iterable[Video],
    options: TextOptions,
    *,
    objects: int = 0,
    text_encoder: TextEncoder | None = None,
) -> Results:
    """From phrases to masks, on the first frame of synthetic scenes.

    Args:
      objects: of a picture, at most; 0: all.
      text_encoder: the model's own, if None.
    """
    predictor = ImagePredictor(model, text_encoder=text_encoder)
    rows, false = [], []
    for video in videos:
        words = video.words(0)  # ty: ignore
        masks = masks_of(video, 0)
        phrases = {i: phrase for i in words if (phrase := plain_phrase(words, i)) is not None}
        predictor.set_image(video.image(0))
        salient = most_salient(predictor)
        for i in some_objects(phrases, objects, video.name):
            values = ask_by_text(predictor, phrases[i], words[i].full, masks[i])
            values["most salient"] = region(salient, masks[i])
            about = {"video": video.name, "object": i, "phrase": phrases[i]}
            unseen = words[i].held_out
            rows.append(about | rows_of(values, unseen=unseen, threshold=options.threshold))
        rng = np.random.default_rng(zlib.crc32(video.name.encode()))
        for _ in range(options.absent):
            if (phrase := absent_phrase(words, rng, held_out=True)) is not None:
                false.append(score_of(predictor, phrase) >= options.threshold)
    scores = _means(rows)
    if false:
        scores["masks for phrases of what is not there"] = float(np.mean(false))
    return Results(scores, rows)


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
            if name not in ("video", "object", "phrase"):
                columns[name].append(value)
    return {name: float(np.mean(values)) for name, values in columns.items()}


def _frames(n: int) -> str:
    return f"{n} clicked frame{'s' if n > 1 else ''}"
