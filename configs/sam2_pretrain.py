"""SAM 2 base+ learns to answer prompts on SA-1B, from an encoder that learned by masking.

Command:   python -m train sam2_pretrain --start mae_hiera_base_plus.pth \
               --images.source.root /data/sa1b
Data:      SA-1B, sa_*.jpg with sa_*.json, or what `python -m train.build` makes of it.
Hardware:  256 chips, a picture on each.
Time:      90000 steps.
Result:    not run here.
Upstream:  the paper, appendix D.1 (arXiv 2408.00714); no code of it was published.
"""

from dataclasses import replace

from train.config import UNCHANGED, Optimizer, Prompting, Recipe, Source, Stream

config = Recipe(
    model="sam2.1-hiera-base-plus",
    start="mae_hiera_base_plus.pth",
    folder="runs/sam2_pretrain",
    steps=90_000,
    images=Stream(
        source=Source(kind="sa1b", root="sa1b"),
        batch=256,
        frames=1,
        objects=64,
        prompts=Prompting(point_share=1, corrections=7),
        augment=replace(UNCHANGED, flip=0.5),
        largest=0.9,
    ),
    optimizer=Optimizer(
        learning_rate=4e-4,
        encoder_rate=None,
        schedule="rsqrt",
        warmup=1000,
        cooldown=5000,
        layer_decay=0.9,
    ),
    drop_path=0.2,
    frozen=(
        r"^memory_",
        r"^maskmem_",
        r"^no_obj",
        r"^no_mem_pos",
        r"^obj_ptr",
        r"^mask_downsample",
    ),
    remat="all",
    workers=8,
)
