"""J and F: how well masks and their outlines fit, as the DAVIS and SA-V evaluators compute it.

Upstream: sam2/sav_dataset/utils/sav_benchmark.py, Evaluator; davis2017-evaluation, f_measure.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int
from scipy.spatial import KDTree

TOLERANCE = 0.008  # how far outlines may be apart, as a part of the picture's diagonal

Masks = Mapping[int, Bool[np.ndarray, "h w"]]
_Frame = TypeVar("_Frame")


@dataclass(frozen=True)
class Score:
    """Means over the frames of an object, or over objects.

    Attributes:
      j: region similarity, 0..1.
      f: accuracy of the outline, 0..1.
    """

    j: float
    f: float

    @property
    def jf(self) -> float:
        return (self.j + self.f) / 2


def region(predicted: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """J: intersection over union; 1 where both are empty."""
    _require_same_size(predicted, truth)
    union = int((predicted | truth).sum())
    return int((predicted & truth).sum()) / union if union else 1.0


def boundary(predicted: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """F: how much of each outline is near the other, as the harmonic mean of the two shares.

    1 where there are no outlines, 0 where one has none.
    """
    _require_same_size(predicted, truth)
    found, wanted = outline(predicted), outline(truth)
    if not len(found) or not len(wanted):
        return float(len(found) == len(wanted))
    reach = math.ceil(TOLERANCE * math.hypot(*truth.shape))
    precision, recall = _share_near(found, wanted, reach), _share_near(wanted, found, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def outline(mask: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "p 2"]:
    """Pixels (y, x) that differ from the one to the right, below, or both. Upstream: _seg2bmap."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    near = mask[top : rows[-1] + 2, left : columns[-1] + 2]
    wide = np.pad(near, ((0, 1), (0, 1)), mode="edge")
    right, below, across = wide[:-1, 1:], wide[1:, :-1], wide[1:, 1:]
    edge = (near ^ right) | (near ^ below) | (near ^ across)
    return np.argwhere(edge) + np.array([top, left])


def _share_near(pixels: np.ndarray, others: np.ndarray, reach: int) -> float:
    """Pixels that have one of the others within a disk of that radius, as a share of all.

    The same as a look into the others after their dilation by the disk, and quicker.
    """
    distance, _ = KDTree(others).query(pixels, distance_upper_bound=reach + 1)
    return float((distance <= reach).mean())


@dataclass(frozen=True)
class Compared:
    """One object on one frame.

    Attributes:
      real: the truth shows it.
      seen: the truth or the prediction does.
    """

    real: bool
    seen: bool
    j: float
    f: float


def compare(
    predicted: Bool[np.ndarray, "h w"] | None, truth: Bool[np.ndarray, "h w"] | None
) -> Compared:
    """J and F of one mask; None has no pixel."""
    if predicted is None and truth is None:
        return Compared(False, False, 1.0, 1.0)
    predicted = np.zeros_like(truth) if predicted is None else predicted
    truth = np.zeros_like(predicted) if truth is None else truth
    real = bool(truth.any())
    seen = real or bool(predicted.any())
    return Compared(real, seen, region(predicted, truth), boundary(predicted, truth))


def score_frames(frames: Iterable[Compared]) -> Score | None:
    """The score of an object from the frames that count, in order.

    Frames before the first in which it, or a prediction of it, appears are left out. None if the
    truth never shows it.
    """
    counted = list(itertools.dropwhile(lambda frame: not frame.seen, frames))
    if not any(frame.real for frame in counted):
        return None
    return mean_score(Score(frame.j, frame.f) for frame in counted)


def score_objects(frames: Iterable[tuple[Masks, Masks]]) -> dict[int, Score]:
    """Scores of the objects of a video; only of those that the truth shows somewhere.

    Args:
      frames: predicted and true masks by object id, of the frames that count, in order; an object
        that is missing from either has no pixel there.
    """
    found: dict[int, list[Compared]] = {}
    for predicted, truth in frames:
        for i in sorted(found.keys() | predicted.keys() | truth.keys()):
            # Frames before an object's first one do not count, so its list may begin anywhere.
            found.setdefault(i, []).append(compare(predicted.get(i), truth.get(i)))
    return known_scores(found)


def known_scores(found: Mapping[int, Iterable[Compared]]) -> dict[int, Score]:
    """`score_frames` of each object that has a score, in order of their ids."""
    scores = {i: score_frames(found[i]) for i in sorted(found)}
    return {i: score for i, score in scores.items() if score is not None}


def without_ends(frames: Iterable[_Frame]) -> Iterator[_Frame]:
    """The frames that count: not the first one, which was shown, and by custom not the last."""
    rest = itertools.islice(frames, 1, None)
    return (frame for frame, _ in itertools.pairwise(rest))


def mean_score(scores: Iterable[Score]) -> Score:
    """The plain mean over all objects of all videos; NaN if there are none."""
    pairs = [(score.j, score.f) for score in scores]
    return Score(*np.mean(pairs, axis=0).tolist()) if pairs else Score(math.nan, math.nan)


def _require_same_size(predicted: np.ndarray, truth: np.ndarray) -> None:
    if predicted.shape != truth.shape:
        (h, w), (th, tw) = predicted.shape, truth.shape
        raise ValueError(f"a predicted mask has {w} x {h} pixels, its ground truth {tw} x {th}")
