"""Compiling before the page says ready, so that no click waits for it."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from sam_jax.demo.search import first_step
from sam_jax.demo.video_warm import tracking_steps
from sam_jax.predictors.image import ImagePredictor
from sam_jax.predictors.text import TextEncoder
from sam_jax.types import Model

_SIDE = 64  # of the picture that is asked about; programs do not depend on it
_CLICKS = (1, 3, 7, 15)  # with the closing token, a bucket of points each
_REFINING = (3, 7)  # likewise, of clicks that refine a chosen candidate
_TIMED = 5


class Warmth:
    """How far it is.

    Attributes:
      doing: what is going on, for people.
      done, total: steps.
      is_ready: clicks are answered at once from here on.
      predict_ms: median time of an answer to a click, once ready.
      error: what went wrong; then it never gets ready.
    """

    def __init__(self) -> None:
        self.doing = "starting"
        self.done, self.total = 0, 1
        self.is_ready = False
        self.predict_ms: float | None = None
        self.error: str | None = None

    def run(self, model: Model, text_encoder: TextEncoder | None, stop: threading.Event) -> None:
        """Compiles what the picture tab needs, until `stop`."""
        try:
            predictor = ImagePredictor(model, text_encoder=text_encoder)
            steps = list(_steps(predictor))
            self.total = len(steps)
            for doing, step in steps:
                if stop.is_set():
                    return
                self.doing = doing
                step()
                self.done += 1
            self.predict_ms = round(1000 * _click_seconds(predictor), 1)
        except Exception as error:
            self.error = f"the model cannot run: {error}"
            raise
        self.doing = "ready"
        self.is_ready = True
        # The video tab and Everything do not keep the page waiting.
        for step in (*tracking_steps(model), partial(first_step, model)):
            if stop.is_set():
                return
            step()


def _steps(predictor: ImagePredictor) -> Iterator[tuple[str, Callable[[], object]]]:
    config = predictor.model.config
    picture = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    mask = np.zeros((1, config.mask_size, config.mask_size), np.float32)
    yield "compiling: encoding a picture", lambda: predictor.set_image(picture)
    yield "compiling: the first click", lambda: _click(predictor)
    for count in _CLICKS:
        points, labels = np.full((count, 2), _SIDE / 2), np.ones(count, int)
        yield (
            f"compiling: up to {count} clicks",
            lambda p=points, n=labels: predictor.predict(p, n, multimask_output=False),
        )
    yield (
        "compiling: a painted mask",
        lambda: predictor.predict(mask_input=mask, multimask_output=False),
    )
    for count in _REFINING:
        points, labels = np.full((count, 2), _SIDE / 2), np.ones(count, int)
        yield (
            f"compiling: up to {count} clicks that refine",
            lambda p=points, n=labels: predictor.predict(p, n, None, mask, multimask_output=False),
        )
    if config.text_dim and predictor.text_encoder is not None:
        text = np.ones(config.text_dim, np.float32)
        yield "compiling: a phrase", lambda: predictor.predict(text=text)


def _click(predictor: ImagePredictor) -> None:
    predictor.predict([[_SIDE / 2, _SIDE / 2]], [1])


def _click_seconds(predictor: ImagePredictor) -> float:
    times = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        _click(predictor)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
