"""The small model learns what things of the synthetic world are called, after nano_clips.

Command:   python -m train nano_text
           python -m train.evaluate runs/nano_text text
Hardware:  CPU, or any GPU.
Time:      4000 steps; see docs/text.md for what came of how many.

A text tower of 0.5 M parameters learns from nothing, with the model, what each of the world's words
looks like. Phrases are those of objects that one can single out, without an eighth of all pairs of
colour and noun; half of the pictures are also asked for something that they do not show. Clicks,
boxes and clips are asked for as before, so that they are not forgotten. `nano` goes on from here at
the full size.
"""

from dataclasses import replace

from configs.nano_clips import config as nano_clips
from sam_jax.config import WordsConfig
from train.config import UNCHANGED, LossWeights, Prompting, Source, Stream
from train.world.asking import VOCABULARY

images = Stream(
    source=Source(kind="synthetic"),
    batch=8,
    frames=1,
    objects=8,
    prompts=Prompting(
        point_share=1, box_share=0.35, corrections=1, from_truth=0.3, text_share=0.6
    ),
    augment=UNCHANGED,
)
config = replace(
    nano_clips,
    start="runs/nano_clips",
    folder="runs/nano_text",
    words=WordsConfig(VOCABULARY),
    steps=4000,
    images=images,
    image_share=0.8,
    losses=LossWeights(stride=4, object=2.0),  # what is not there was never asked for before
    optimizer=replace(nano_clips.optimizer, learning_rate=5e-4, warmup=100, final=0.2),
)
