"""Encoded pictures: those used last, of all tabs together, in bounded memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import jax
import numpy as np

from sam_jax.predictors.image import ImagePredictor
from sam_jax.predictors.text import TextEncoder
from sam_jax.types import Model


class Features:
    """Predictors with their picture set. `of` is for the worker's thread only.

    Args:
      budget: bytes of features that are kept; one picture's always are.
    """

    def __init__(self, model: Model, text_encoder: TextEncoder | None, budget: int) -> None:
        self._model = model
        self.text_encoder = text_encoder
        self._budget = budget
        self._kept: OrderedDict[str, ImagePredictor] = OrderedDict()
        self._lock = threading.RLock()

    def of(self, key: str, read: Callable[[], np.ndarray]) -> ImagePredictor:
        """The predictor of a picture, encoded again if it had to go.

        Args:
          key: of the picture.
          read: its pixels, uint8 RGB [h w 3].
        """
        with self._lock:
            predictor = self._kept.pop(key, None)
        if predictor is None:
            predictor = ImagePredictor(self._model, text_encoder=self.text_encoder)
            predictor.set_image(read())
        with self._lock:
            self._kept[key] = predictor
            while len(self._kept) > 1 and self.nbytes > self._budget:
                self._kept.popitem(last=False)
        return predictor

    @property
    def nbytes(self) -> int:
        with self._lock:
            return sum(
                leaf.nbytes
                for kept in self._kept.values()
                for leaf in jax.tree.leaves(kept._features)
            )

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self, key: str) -> None:
        """Frees a picture's features, if they are kept. From any thread."""
        with self._lock:
            self._kept.pop(key, None)
