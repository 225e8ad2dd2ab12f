"""The small model of the demo, on images, from scratch, on the synthetic world.

Command:   python -m train nano_image
Hardware:  2 CPU cores, no accelerator.
Time:      40 minutes of training beside other work (3 to 7 images/s).
Result:    held-out mIoU: 1 click 0.272 (predicted best of three; 0.346 the best by truth, 0.272
           the single mask), 3 clicks 0.436, 1 box 0.523. docs/training.md says how the shipped
           weights differ from one run of this command.

What only video uses (memory attention, memory encoder, pointers) keeps its initial values.
"""

from train.config import TrainConfig

config = TrainConfig(
    model="sam2.1-hiera-nano",
    output="nano_image.safetensors",
    checkpoint="nano_image.msgpack",
    steps=2900,
    images=4,
    prompts=6,
    rounds=2,
    loss_scale=1,
    learning_rate=4e-4,
)
