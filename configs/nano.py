"""The small model of the demo: pictures and clips of the synthetic world, after nano_images.

Command:   python -m train nano
           python -m convert runs/nano sam2.1-hiera-nano.safetensors --half
Hardware:  CPU, or any GPU.
Time:      see docs/training.md.
"""

from dataclasses import replace

from configs.nano_images import config as nano_images
from configs.nano_images import images
from train.config import Evaluation, LossWeights, Prompting, Source, Stream

_WORLD = Source(kind="synthetic")

config = replace(
    nano_images,
    start="runs/nano_images",
    folder="runs/nano",
    image_size=None,
    steps=4000,
    images=replace(images, batch=4, objects=8),
    videos=Stream(
        source=_WORLD,
        batch=2,
        frames=4,
        objects=3,
        reverse=0.5,
        prompts=Prompting(corrections=1, corrected_frames=1, first_frames=1),
        augment=images.augment,
    ),
    image_share=0.6,
    losses=LossWeights(stride=4, object=4.0),  # few are absent, and none was ever told so
    evaluation=Evaluation(images=_WORLD, videos=_WORLD, samples=50, frames=8),
    frozen=(),
)
