"""The small model of the demo, at its full size, after nano_text.

Command:   python -m train nano
           python -m convert runs/nano sam2.1-hiera-nano.safetensors --half
Hardware:  CPU, or any GPU.
Time:      1500 steps; see docs/training.md for what came of how many.
"""

from dataclasses import replace

from configs.nano_clips import videos
from configs.nano_text import config as nano_text
from configs.nano_text import images
from train.config import Evaluation, LossWeights, Source

_WORLD = Source(kind="synthetic")

config = replace(
    nano_text,
    start="runs/nano_text",
    folder="runs/nano",
    image_size=None,
    image_share=0.7,
    steps=1500,
    images=replace(images, batch=4, prompts=replace(images.prompts, corrections=1, text_share=0.6)),
    videos=replace(videos, batch=2),
    losses=LossWeights(stride=4, balance_steps=1000),  # from what nano_text ends with
    optimizer=replace(nano_text.optimizer, learning_rate=3e-4, final=0.01),
    evaluation=Evaluation(images=_WORLD, videos=_WORLD, samples=50, frames=8),
)
