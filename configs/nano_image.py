"""The small model of the demo, on images, from scratch, on the synthetic world.

Command:   python -m train nano_image
Hardware:  2 CPU cores, no accelerator.
Time:      825 steps in 14 minutes beside other work (3 to 7 images/s); at that pace 6000 steps
           would take about an hour and a half.
Result:    the shipped weights are the average at step 825 of 6000, the learning rate still near
           its peak. Held-out mIoU: 1 click 0.239 (predicted best of three; 0.333 the best by
           truth, 0.239 the single mask), 3 clicks 0.380, 1 box 0.429. The full run has not been
           measured.

What only video uses (memory attention, memory encoder, pointers) keeps its initial values.
"""

from train.config import TrainConfig

config = TrainConfig(
    model="sam2.1-hiera-nano",
    output="sam_jax/weights/sam2.1-hiera-nano.safetensors",
    checkpoint="nano_image.msgpack",
    steps=6000,
    images=4,
    prompts=6,
    rounds=2,
    loss_scale=1,
    learning_rate=4e-4,
)
