"""The small model learns what things of the synthetic world are called, after nano.

Command:   python -m train nano_text
           python -m convert runs/nano_text nano-text.safetensors --half
           sam-jax segment scene.png --text "red striped circle" --model nano-text.safetensors
           python -m train.evaluate nano-text.safetensors text
Hardware:  CPU, or any GPU.
Time:      not run to its end yet; see docs/text.md.

A text tower of 0.5 M parameters learns from nothing, with the model, what each of the world's words
looks like. Phrases are those of objects that one can single out, without an eighth of all pairs of
colour and noun; half of the pictures are also asked for something that they do not show. Clicks and
boxes are asked for as before, so that they are not forgotten.
"""

from dataclasses import replace

from configs.nano_images import config as nano_images
from sam_jax.config import WordsConfig
from train.config import UNCHANGED, Evaluation, LossWeights, Prompting, Source, Stream
from train.world.asking import VOCABULARY

_WORLD = Source(kind="synthetic")

config = replace(
    nano_images,
    start="sam2.1-hiera-nano",
    folder="runs/nano_text",
    image_size=None,
    words=WordsConfig(VOCABULARY),
    steps=20000,
    images=Stream(
        source=_WORLD,
        batch=8,
        frames=1,
        objects=8,
        prompts=Prompting(
            point_share=1, box_share=0.35, corrections=1, from_truth=0.3, text_share=0.6
        ),
        augment=UNCHANGED,
    ),
    losses=LossWeights(stride=4, object=4.0),  # what is not there was never asked for before
    optimizer=replace(nano_images.optimizer, learning_rate=4e-4, warmup=200),
    evaluation=Evaluation(images=_WORLD, samples=50),
)
