"""The small model of the demo, from random weights, on pictures of the synthetic world.

Command:   python -m train nano_images
Hardware:  CPU, or any GPU.
Time:      6000 steps; see docs/training.md for what came of how many.

What only video uses is left as it begins; the recipe `nano` goes on from here.
"""

from train.config import LossWeights, Optimizer, Prompting, Recipe, Source, Stream

config = Recipe(
    model="sam2.1-hiera-nano",
    folder="runs/nano_images",
    steps=6000,
    images=Stream(
        source=Source(kind="synthetic"),
        batch=4,
        frames=1,
        objects=6,
        prompts=Prompting(point_share=1, box_share=0.35, corrections=1, from_truth=0.3),
    ),
    losses=LossWeights(stride=4, balance_steps=1500, locate_steps=300),
    optimizer=Optimizer(
        learning_rate=4e-4,
        encoder_rate=None,
        warmup=50,
        final=0.01,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        layer_decay=1.0,
    ),
    frozen=(r"^(memory|maskmem|obj_ptr|mask_downsample)", r"^no_(obj|mem_pos)"),
    ema=0.998,
    dtype="float32",
)
