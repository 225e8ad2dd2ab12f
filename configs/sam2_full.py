"""SAM 2 base+ learns to track: pictures of SA-1B and clips of SA-V, after sam2_pretrain.

Command:   python -m train sam2_full --images.source.root /data/sa1b --videos.source.root /data/sav
Data:      SA-1B; SA-V, VIDEO.mp4 with VIDEO_manual.json. Records of both, made by
           `python -m train.build`, are read faster.
Hardware:  256 chips.
Time:      150000 steps.
Result:    not run here.
Upstream:  the paper, appendix D.2 (arXiv 2408.00714): 15.2 % SA-1B to 70 % SA-V; the rest, an
           internal set, is not public. After it, 50000 steps on clips of 16 frames with the image
           encoder frozen: --start runs/sam2_full --videos.frames 16 --frozen '^image_encoder/'
"""

from dataclasses import replace

from configs.sam2_pretrain import config as pretrain
from train.config import Augment, Optimizer, Source, Stream

assert pretrain.images is not None
config = replace(
    pretrain,
    start="runs/sam2_pretrain",
    folder="runs/sam2_full",
    steps=150_000,
    videos=Stream(
        source=Source(kind="sav", root="sav"),
        batch=256,
        frames=8,
        objects=3,
        reverse=0.5,
        augment=Augment(mosaic=0.1),
    ),
    image_share=15.2 / (15.2 + 70),
    optimizer=Optimizer(
        learning_rate=3e-4, encoder_rate=6e-5, schedule="cosine", final=0.0, warmup=15_000
    ),
    frozen=(),
)
