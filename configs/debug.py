"""A few steps on tiny clips of the synthetic world: does everything run?

Command:   python -m train debug
Hardware:  anything.
Time:      a few minutes on 2 CPU cores, most of it compilation.
Result:    a run folder; the model learns nothing to speak of.
"""

from train.config import Evaluation, LossWeights, Optimizer, Prompting, Recipe, Source, Stream

_SYNTHETIC = Source(kind="synthetic")

config = Recipe(
    model="sam2.1-hiera-nano",
    start="sam2.1-hiera-nano",
    folder="runs/debug",
    steps=6,
    images=Stream(
        source=_SYNTHETIC,
        batch=2,
        frames=1,
        objects=2,
        prompts=Prompting(point_share=1, corrections=1),
    ),
    videos=Stream(
        source=_SYNTHETIC,
        batch=1,
        frames=3,
        objects=2,
        prompts=Prompting(corrections=1),
    ),
    losses=LossWeights(stride=4),
    optimizer=Optimizer(learning_rate=1e-4, encoder_rate=1e-4),
    evaluation=Evaluation(images=_SYNTHETIC, videos=_SYNTHETIC, samples=2, frames=3),
    dtype="float32",
    save_every=3,
    log_every=1,
    pictures_every=3,
    workers=0,
)
