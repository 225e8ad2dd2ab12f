"""The small model of the demo learns to track, on clips of the synthetic world.

Command:   python -m train nano_video
Hardware:  2 CPU cores, no accelerator.
Time:      34 minutes of training beside other work (0.5 to 1 clips/s).
Result:    mean IoU of frames 2 to 8 on 24 held-out clips of three things each:
           shown by its mask 0.419 (the true first mask kept: 0.385), by a box 0.346 (the first
           answer kept: 0.325), by a click 0.231 (0.186); nothing on every frame: 0.143.
           Object logits: present objects found 1.000, absent ones 0.000.
           On images the model is worse afterwards: 1 box 0.523 -> 0.485, 1 click 0.272 -> 0.251,
           3 clicks 0.436 -> 0.378. docs/training.md says how the shipped weights differ from one
           run of this command.
"""

from train.config import VideoConfig

config = VideoConfig(
    model="sam2.1-hiera-nano",
    start="nano_image.safetensors",
    output="sam_jax/weights/sam2.1-hiera-nano.safetensors",
    checkpoint="nano_video.msgpack",
    steps=590,
    clips=2,
    objects=3,
    frames=5,
    balance_steps=150,
    learning_rate=1e-3,
    warmup=20,
    ema=0.99,
)
