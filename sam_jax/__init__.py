"""Segment Anything (SAM 1, SAM 2, SAM 2.1) in JAX and Flax."""

from sam_jax.load import load, save
from sam_jax.predictors.image import ImagePredictor
from sam_jax.types import Model

__all__ = ["ImagePredictor", "Model", "load", "save"]
