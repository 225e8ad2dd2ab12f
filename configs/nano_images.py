"""The small model of the demo, from random weights, on pictures of the synthetic world.

Command:   python -m train nano_images
Hardware:  CPU, or any GPU.
Time:      4000 steps; see docs/training.md for what came of how many.

Small pictures, of which four cost what one of the full size does: enough to learn what a click
means and what belongs together. What only video uses is left as it begins; `nano_clips` goes on
from here, and `nano` at the full size. There is no end of scenes, so none is turned or bent.
"""

from train.config import Augment, LossWeights, Optimizer, Prompting, Recipe, Source, Stream

images = Stream(
    source=Source(kind="synthetic"),
    batch=8,
    frames=1,
    objects=12,
    prompts=Prompting(point_share=1, box_share=0.35, corrections=1, from_truth=0.3),
    augment=Augment(rotation=0, shear=0),
)
config = Recipe(
    model="sam2.1-hiera-nano",
    folder="runs/nano_images",
    image_size=128,
    steps=4000,
    images=images,
    losses=LossWeights(stride=4, balance_steps=1500, locate_steps=300),
    optimizer=Optimizer(
        learning_rate=6e-4,
        encoder_rate=None,
        warmup=50,
        final=0.2,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        layer_decay=1.0,
    ),
    frozen=(r"^(memory|maskmem|obj_ptr|mask_downsample)", r"^no_(obj|mem_pos)"),
    dropout=0.0,  # what has no end is not learned by heart
    ema=0.998,
    dtype="float32",
)
