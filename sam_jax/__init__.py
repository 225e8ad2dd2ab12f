"""Segment Anything (SAM 1, SAM 2, SAM 2.1) in JAX and Flax."""

from sam_jax.clip import Clip, load_clip
from sam_jax.frame import TrackOptions
from sam_jax.load import load, save
from sam_jax.predictors.everything import AutomaticMaskGenerator
from sam_jax.predictors.everything_tracker import EverythingTracker
from sam_jax.predictors.image import ImagePredictor
from sam_jax.predictors.stream import Stream
from sam_jax.predictors.text_boxes import text_boxes
from sam_jax.predictors.tracked import Tracked
from sam_jax.predictors.video import VideoPredictor
from sam_jax.types import Model

__all__ = [
    "AutomaticMaskGenerator",
    "Clip",
    "EverythingTracker",
    "ImagePredictor",
    "Model",
    "Stream",
    "TrackOptions",
    "Tracked",
    "VideoPredictor",
    "load",
    "load_clip",
    "save",
    "text_boxes",
]
