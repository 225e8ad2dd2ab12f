"""As own_images, and the attention of the image encoder learns too, by low-rank additions.

Command:   python -m train own_images_lora --images.source.root FOLDER
Data:      as for own_images.
Hardware:  one GPU with 12 GB.
Time:      2000 steps.
"""

from dataclasses import replace

from configs.own_images import config as own_images
from train.config import Lora

config = replace(
    own_images,
    folder="runs/own_images_lora",
    lora=Lora(rank=8, alpha=16, kernels=r"^image_encoder/.*attn/(qkv|proj)/kernel$"),
    remat="all",
)
