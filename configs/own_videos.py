"""Fine-tune on your own videos in the layout of DAVIS; everything but the image encoder.

Command:   python -m train own_videos --videos.source.root FOLDER
Data:      FOLDER/JPEGImages/VIDEO/00000.jpg, FOLDER/Annotations/VIDEO/00000.png (palette; 0 is
           background).
Hardware:  one GPU with 24 GB.
Time:      4000 steps.
"""

from train.config import Optimizer, Recipe, Source, Stream

config = Recipe(
    model="sam2.1-hiera-tiny",
    start="sam2.1-hiera-tiny",
    folder="runs/own_videos",
    steps=4000,
    videos=Stream(
        source=Source(kind="davis", root="videos"), batch=1, frames=8, objects=3, reverse=0.5
    ),
    optimizer=Optimizer(learning_rate=5e-6, encoder_rate=None, warmup=100),
    frozen=(r"^image_encoder/",),
)
