"""The small model of the demo: small pictures and small clips, after nano_images.

Command:   python -m train nano_clips
Hardware:  CPU, or any GPU.
Time:      3000 steps; see docs/training.md for what came of how many.

The first recipe that trains the memory. `nano` goes on from here at the full size.
"""

from dataclasses import replace

from configs.nano_images import config as nano_images
from configs.nano_images import images
from train.config import LossWeights, Prompting, Source, Stream

videos = Stream(
    source=Source(kind="synthetic"),
    batch=4,
    frames=4,
    objects=3,
    reverse=0.5,
    prompts=Prompting(corrections=1, corrected_frames=1, first_frames=1),
    augment=images.augment,
)
config = replace(
    nano_images,
    start="runs/nano_images",
    folder="runs/nano_clips",
    steps=3000,
    videos=videos,
    image_share=0.6,
    losses=LossWeights(stride=4),
    optimizer=replace(nano_images.optimizer, learning_rate=5e-4, final=0.3),
    frozen=(),
)
