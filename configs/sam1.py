"""SAM 1 learns to answer prompts on SA-1B, from a ViT that learned by masking.

Command:   python -m train sam1 --start mae_pretrain_vit_huge.pth --images.source.root /data/sa1b
Data:      SA-1B, sa_*.jpg with sa_*.json, or what `python -m train.build` makes of it.
Hardware:  256 chips, a picture on each.
Time:      90000 steps.
Result:    not run here.
Upstream:  the paper, appendix A (arXiv 2304.02643); no code of it was published. Gradients are
           clipped as ViTs' often are, of which the paper says nothing. ViT-L and ViT-B took 180000
           steps of 128 pictures; their rates there are 4e-4 and 8e-4, layer decays 0.8 and 0.6:
           --model sam-vit-base --start mae_pretrain_vit_base.pth --steps 180000
           --images.batch 128 --optimizer.layer-decay 0.6 --drop-path 0.6
"""

from train.config import UNCHANGED, LossWeights, Optimizer, Prompting, Recipe, Source, Stream

config = Recipe(
    model="sam-vit-huge",
    start="mae_pretrain_vit_huge.pth",
    folder="runs/sam1",
    steps=90_000,
    images=Stream(
        source=Source(kind="sa1b", root="sa1b"),
        batch=256,
        frames=1,
        objects=64,
        # 11 answers: to the first prompt, to 8 clicks, and 2 to the last mask alone.
        prompts=Prompting(point_share=1, box_share=0.5, corrections=8, mask_only=2, from_truth=0),
        augment=UNCHANGED,
        largest=0.9,
    ),
    losses=LossWeights(mask=20, dice=1, iou=1, iou_error="mse"),
    optimizer=Optimizer(
        learning_rate=8e-4,
        encoder_rate=None,
        schedule="step",
        warmup=250,
        drops=(60_000 / 90_000, 86_666 / 90_000),
        weight_decay=0.1,
        layer_decay=0.8,
        clip=1.0,
    ),
    drop_path=0.4,
    remat="all",
    workers=8,
)
