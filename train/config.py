"""What a training run is: a frozen dataclass, filled in by a recipe of configs/."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every training has.

    Attributes:
      model: name of a preset.
      output: the weights to write, a native safetensors file.
      checkpoint: the run's own file; training goes on from it where it exists.
      steps: optimiser steps; the learning rate ends its cosine there.
      learning_rate: AdamW's peak, reached after `warmup` steps.
      balance_steps: a cross-entropy that weighs object and background alike fades into the focal
        loss over these steps. The focal loss alone first learns to answer nothing, and a short run
        has no time to unlearn it.
      clip: largest global norm of the gradients.
      ema: decay of the average of the weights, which is what is evaluated and shipped.
      photos: use scikit-image's public-domain photos as textures.
      workers: processes that paint.
      save_minutes: time between checkpoints.
    """

    model: str
    output: str
    checkpoint: str
    steps: int
    balance_steps: int = 1500
    learning_rate: float = 5e-4
    warmup: int = 50
    weight_decay: float = 0.05
    clip: float = 0.1
    ema: float = 0.998
    photos: bool = True
    workers: int = 1
    save_minutes: float = 5.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Run):
    """Training of an image model on the synthetic world, from scratch.

    Attributes:
      images: scenes of a step.
      prompts: objects asked for in each scene.
      rounds: predictions for each prompt; every one after the first sees a correcting click and the
        mask before it.
      loss_scale: the losses see logits upsampled this many times; 2 also teaches where between its
        pixels a border lies, for a fifth more time.
      locate_steps: for so long the targets are discs around clicks and ellipses in boxes, whatever
        the image shows. From random weights on objects alone, 250 steps pass without any answer
        that depends on the prompt; on these, 100 are enough.
      eval_images: held-out scenes.
      eval_prompts: objects of each held-out scene.
    """

    images: int = 6
    prompts: int = 6
    rounds: int = 2
    loss_scale: int = 2
    locate_steps: int = 300
    eval_images: int = 96
    eval_prompts: int = 6


@dataclass(frozen=True, kw_only=True)
class VideoConfig(Run):
    """Training of a tracker on clips of the synthetic world, from a model that answers on images.

    Attributes:
      start: weights to start from, a native safetensors file. What only video uses is made anew.
      clips: clips of a step.
      objects: things tracked in each clip.
      frames: of a clip; things are shown on the first.
      decoder_rate: learning rate of the mask decoder, as a part of the others'.
      eval_clips: held-out clips.
      eval_objects: things of each held-out clip.
      eval_frames: frames of each held-out clip.
    """

    start: str
    clips: int = 2
    objects: int = 5
    frames: int = 6
    decoder_rate: float = 0.3
    eval_clips: int = 24
    eval_objects: int = 3
    eval_frames: int = 8
