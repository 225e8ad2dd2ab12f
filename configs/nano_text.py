"""The small model learns what things of the synthetic world are called, after nano_clips.

Command:   python -m train nano_text
           python -m train.evaluate runs/nano_text text
Hardware:  CPU, or any GPU.
Time:      8000 steps; see docs/text.md for what came of how many.

A text tower of 0.5 M parameters learns from nothing, with the model, what each of the world's
words looks like. Most prompts are phrases, of objects that one can single out, without an eighth
of all pairs of colour and noun; half of the pictures are also asked for something that they do not
show. The other prompts are clicks and boxes as before, and some clips, so that they are not
forgotten. `nano` goes on from here at the full size.

What mattered: a low rate for the tower (at 1e-3 for all, its phrases became one within 250 steps;
with 2e-4 for the tower alone they did not), and phrases that mostly say a colour, which is seen
before names are.
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
    objects=6,
    prompts=Prompting(point_share=1, box_share=0.35, corrections=0, from_truth=0.3, text_share=0.9),
    augment=UNCHANGED,
)
config = replace(
    nano_clips,
    start="runs/nano_clips",
    folder="runs/nano_text",
    words=WordsConfig(VOCABULARY),
    steps=8000,
    images=images,
    image_share=0.95,
    losses=LossWeights(stride=4, balance_steps=12000),  # else phrases are answered with nothing
    optimizer=replace(
        nano_clips.optimizer, learning_rate=5e-4, words_rate=1e-4, warmup=100, final=0.25
    ),
)
