"""Compiling for the video tab: the first clicks and the first tracking of one object."""

from collections.abc import Callable, Iterator

import numpy as np

from sam_jax.config import SamConfig
from sam_jax.predictors.video import VideoPredictor
from sam_jax.types import Model

_SIDE = 64  # of frames; programs do not depend on it


def tracking_steps(model: Model) -> Iterator[Callable[[], object]]:
    """What to call one after the other; nothing for a model without memory."""
    if isinstance(model.config, SamConfig):
        return
    predictor = VideoPredictor(model)
    state = predictor.init_state(np.zeros((3, _SIDE, _SIDE, 3), np.uint8))

    def click(frame: int, count: int) -> object:
        points, labels = np.full((count, 2), _SIDE / 2), np.ones(count, int)
        return predictor.add_new_points_or_box(state, frame, 1, points, labels)

    yield lambda: click(0, 1)
    yield lambda: predictor.add_new_points_or_box(state, 0, 1, box=[8, 8, 40, 40])
    yield lambda: list(predictor.propagate_in_video(state))
    yield lambda: click(2, 1)  # a correction
    yield lambda: predictor.add_new_mask(state, 2, 1, np.ones((_SIDE, _SIDE), bool))
    yield lambda: list(predictor.propagate_in_video(state, 2, reverse=True))
