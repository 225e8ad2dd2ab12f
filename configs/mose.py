"""SAM 2.1 base+ fine-tuned on MOSE, with the numbers of the official recipe.

Command:   python -m train mose --videos.source.root /data/MOSE/train
Data:      MOSE train, 1507 videos: JPEGImages and Annotations with a folder for each video.
Hardware:  8 GPUs with 80 GB; one clip on each.
Time:      15070 steps (40 times the data, each video twice).
Result:    upstream reports J&F 79.4 on MOSE val for its own code; not run here.
Upstream:  sam2/configs/sam2.1_training/sam2.1_hiera_b+_MOSE_finetune.yaml. Different: there is no
           dropout in the memory attention (0.1 there); boxes, clicks and clicks from the truth are
           drawn for each object, not for each batch.
"""

from train.config import Recipe, Source, Stream

config = Recipe(
    model="sam2.1-hiera-base-plus",
    start="sam2.1-hiera-base-plus",
    folder="runs/mose",
    steps=40 * 2 * 1507 // 8,
    videos=Stream(source=Source(kind="davis", root="MOSE/train"), batch=8, frames=8, objects=3),
    drop_path=0.1,
    workers=10,
    seed=123,
)
