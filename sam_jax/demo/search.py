"""A search for everything in a picture that goes on step by step, and can be stopped."""

import threading
import warnings
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from sam_jax.demo.refusal import Refusal
from sam_jax.predictors.everything import AutomaticMaskGenerator
from sam_jax.predictors.records import Candidate
from sam_jax.predictors.search import Progress, search_in_steps
from sam_jax.types import Model

_POINTS = 16  # clicks of a step: as long as other tabs wait
_MOST = 1024  # masks of a crop before duplicates are removed
_SIDE = 64  # of the picture to warm up with; programs depend on it by steps of 1024


class Search:
    """A tab's search, in its slot: it ends with the session, or when another takes its place.

    Args:
      read: the picture's pixels, uint8 RGB [h w 3].
      options: of `AutomaticMaskGenerator`.

    Attributes:
      candidates: what was found, at the end, for `generator.records`.
      notes: what the generator warns of.
    """

    def __init__(
        self, model: Model, read: Callable[[], np.ndarray], options: dict[str, Any]
    ) -> None:
        self.generator = AutomaticMaskGenerator(
            model,
            points_per_batch=_POINTS,
            max_candidates=_MOST,
            output_mode="coco_rle",
            **options,
        )
        self.candidates: list[Candidate] = []
        self.notes: list[str] = []
        points, *_ = self.generator.options.grids()
        answers = model.config.decoder.num_multimask_outputs * len(points)
        self._promised, self._held = min(answers, _MOST), 0  # of a crop, all that it may give
        self._read = read
        self._steps: Generator[Progress, None, list[Candidate]] | None = None
        self._closed = threading.Event()

    @property
    def nbytes(self) -> int:
        """What it holds, or promises to hold: masks at low resolution."""
        return 4 * self.generator.model.config.mask_size**2 * max(self._held, self._promised)

    def step(self) -> Progress | None:
        """The next one; for the worker's thread.

        Returns:
          None: it has ended.

        Raises:
          Refusal: it was closed.
        """
        if self._closed.is_set():
            self._steps = None
            raise Refusal(409, "another search has begun")
        if self._steps is None:
            generator = self.generator
            self._steps = search_in_steps(generator.model, self._read(), generator.options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                progress = next(self._steps)
            except StopIteration as end:
                self.candidates = end.value
                progress = None
        self.notes += [str(warning.message) for warning in caught]
        self._held = progress.held if progress else len(self.candidates)
        return progress

    def close(self) -> None:
        """From any thread; a step that is under way ends first."""
        self._closed.set()


def first_step(model: Model) -> None:
    """Compiles for pictures of up to 1024 pixels a side."""
    Search(model, lambda: np.zeros((_SIDE, _SIDE, 3), np.uint8), {"points_per_side": 4}).step()
