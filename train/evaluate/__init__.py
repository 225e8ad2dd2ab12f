"""How good a model is: J&F, click mIoU, tracking and interactive protocols."""

from train.evaluate.held_out import evaluate

__all__ = ["evaluate"]
