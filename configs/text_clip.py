"""SAM 1 learns text prompts as its paper has it: from CLIP's embeddings of the objects themselves.

Command:   python -m train text_clip --images.source.root /data/sa1b --embeddings embeddings
           sam-jax segment photo.jpg --text "a wheel" --model runs/text_clip \\
               --text-encoder clip-vit-large-patch14-336
Data:      SA-1B, and before the first command:
           python -m train.embed embeddings --clip clip-vit-large-patch14-336 --kind sa1b \\
               --root /data/sa1b
           The paper had masks that people had made, or helped to make, which are not public; those
           of SA-1B are automatic.
Hardware:  128 chips, a picture on each.
Time:      120000 steps.
Result:    not run here.
Upstream:  the paper, 7.5 and D.5 (arXiv 2304.02643); no code or weights of it were published. Where
           it says only that the rest is as before, that is the recipe sam1. Its large-scale jitter
           is not here; and it shows every object by its embedding, this one four of five, so that
           clicks and boxes are not forgotten.
"""

from dataclasses import replace

from configs.sam1 import config as sam1

assert sam1.images is not None
config = replace(
    sam1,
    folder="runs/text_clip",
    text_dim=768,
    embeddings="embeddings",
    steps=120_000,
    images=replace(
        sam1.images,
        batch=128,
        prompts=replace(sam1.images.prompts, text_share=0.8),
    ),
    optimizer=replace(sam1.optimizer, drops=(80_000 / 120_000, 115_000 / 120_000)),
)
