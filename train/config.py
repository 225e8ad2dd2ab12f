"""What a training run is: frozen dataclasses, filled in by a recipe of configs/.

Every field can be set on the command line: `python -m train RECIPE --optimizer.learning-rate 1e-5`.
Numbers in the defaults are those of the official fine-tuning recipe,
sam2/configs/sam2.1_training/sam2.1_hiera_b+_MOSE_finetune.yaml, where it has them.
"""

from dataclasses import dataclass, field
from typing import Literal

from sam_jax.config import WordsConfig
from train.recipe_checks import check

SourceKind = Literal["synthetic", "davis", "sav", "sa1b", "coco", "pairs", "records"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where pictures or clips and their masks come from.

    Attributes:
      kind: "synthetic" is painted on the way, "records" is what `python -m train.build` wrote, the
        rest are folders as their publishers lay them out; see docs/training.md.
      root: folder; nothing for "synthetic".
      annotations: "coco": the JSON file; "davis": the folder of masks, where it is not the usual.
      names: a file that lists the videos or images to use, one a line; nothing means all.
      stride: every so-many-th frame of a video.
    """

    kind: SourceKind
    root: str = ""
    annotations: str = ""
    names: str = ""
    stride: int = 1


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Changes of pictures before training; geometry is shared by the frames of a clip.

    Attributes:
      flip: chance of a mirror image.
      rotation, shear: largest angles, degrees.
      brightness, contrast, saturation: largest relative change, shared by the frames of a clip.
      frame_brightness, frame_contrast, frame_saturation: the same, of each frame by itself.
      grey: chance of a picture without colour.
      mosaic: chance that a clip is shrunk into one quarter of a picture of four (2 x 2), its
        copies in the others being background.
    """

    flip: float = 0.5
    rotation: float = 25.0
    shear: float = 20.0
    brightness: float = 0.1
    contrast: float = 0.03
    saturation: float = 0.03
    frame_brightness: float = 0.1
    frame_contrast: float = 0.05
    frame_saturation: float = 0.05
    grey: float = 0.05
    mosaic: float = 0.0


UNCHANGED = Augment(
    flip=0,
    rotation=0,
    shear=0,
    brightness=0,
    contrast=0,
    saturation=0,
    frame_brightness=0,
    frame_contrast=0,
    frame_saturation=0,
    grey=0,
)


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """The simulated user. Upstream: the `*_for_train` arguments of SAM2Train.

    Attributes:
      point_share: how often objects are shown by points or a box, not by their mask. Always in
        pictures, which are clips of one frame.
      box_share: how often those points are a box.
      first_frames: the first frame and at most so many in all are shown before tracking starts;
        how many is random.
      corrected_frames: at most so many frames are corrected, the shown ones first; how many is
        random.
      corrections: clicks where the answer is wrong, on each corrected frame; a prediction each.
      mask_only: further predictions from the last mask alone, without a new click: one somewhere
        among the corrections, one at the end (SAM 1 has 2).
      from_truth: how often a correcting click is anywhere in the object.
      text_share: how often an object that has a phrase or an embedding is shown by it alone, where
        it is in the picture; always where it is not. Pictures only. If it is above 0, a text also
        stands beside some of the first clicks and boxes.
    """

    point_share: float = 0.5
    box_share: float = 0.5
    first_frames: int = 2
    corrected_frames: int = 2
    corrections: int = 7
    mask_only: int = 0
    from_truth: float = 0.1
    text_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One kind of batch.

    Attributes:
      batch: clips of a step, of all devices together.
      frames: of a clip; 1 for pictures.
      objects: of each clip; where there are fewer, the rest count for nothing.
      largest: masks that cover more of the picture are left out (SA-1B: 0.9).
      reverse: chance that a clip runs backwards.
    """

    source: Source
    batch: int
    frames: int
    objects: int
    prompts: Prompting = field(default_factory=Prompting)
    augment: Augment = field(default_factory=Augment)
    largest: float = 1.0
    reverse: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Upstream: training/loss_fns.py, MultiStepMultiMasksAndIous.

    Attributes:
      iou_error: "l1" for SAM 2, "mse" for SAM 1.
      stride: the losses see every so-many-th pixel of the model input, in both directions. 1 is
        official; more is for small machines.
      balance_steps: not official. A cross-entropy that weighs object and background alike fades
        into the focal loss over these steps. From random weights the focal loss alone first learns
        to answer nothing.
      locate_steps: not official. For so long the targets are discs around clicks and ellipses in
        boxes, whatever the picture shows. From random weights a model first has to learn that
        answers depend on prompts, and this is the short way.
    """

    mask: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    object: float = 1.0
    iou_error: Literal["l1", "mse"] = "l1"
    stride: int = 1
    balance_steps: int = 0
    locate_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW.

    Attributes:
      learning_rate: at the peak.
      encoder_rate: the image encoder's; None: the same.
      words_rate: that of a text tower that learns with the model; None: the same.
      schedule: "cosine" to `final` times the peak; "step": times 0.1 at each of `drops`;
        "rsqrt": falling with the square root of the step after `warmup`, to nothing over the last
        `cooldown`; "constant".
      warmup: steps of linear rise.
      drops: for "step": when, as parts of all steps.
      layer_decay: the rate of the encoder's blocks falls by this factor from the last to the first.
      clip: largest global norm of the gradients.
    """

    learning_rate: float = 5e-6
    encoder_rate: float | None = 3e-6
    words_rate: float | None = None
    schedule: Literal["cosine", "step", "rsqrt", "constant"] = "cosine"
    final: float = 0.1
    warmup: int = 0
    cooldown: int = 0
    drops: tuple[float, ...] = ()
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    layer_decay: float = 0.9
    clip: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank additions are trained in place of the kernels they are added to (arXiv 2106.09685).

    Attributes:
      rank: of the additions.
      alpha: they are scaled by alpha / rank.
      kernels: a pattern for the paths of the kernels that get one.
    """

    rank: int = 8
    alpha: float = 16.0
    kernels: str = r"(qkv|q_proj|k_proj|v_proj|out_proj|attn/proj)/kernel$"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured while training, and at its end.

    Attributes:
      images, videos: held-out sources; None measures nothing of the kind.
      samples: how many images and clips.
      frames: the first so many of a clip.
      every: steps between; 0 is at the end only.
    """

    images: Source | None = None
    videos: Source | None = None
    samples: int = 50
    frames: int = 16
    objects: int = 3
    every: int = 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run.

    Attributes:
      model: name of a preset.
      start: weights to begin with: whatever `sam_jax.load` takes, or MAE weights of an image
        encoder; nothing means random ones.
      image_size: side of the square model input, pixels, when not the model's own: less costs less,
        and what was learned small is a start for the full size.
      words: a text tower that the model gets, and that learns with it.
      text_dim: width of the text embeddings of a CLIP that the model gets a projection for.
      embeddings: folder of those of the objects; see `python -m train.embed`.
      folder: of the run: checkpoints, logs, pictures, and the recipe as it was run. A run whose
        folder holds a checkpoint goes on from it.
      images, videos: batches of pictures and of clips; at least one of them.
      image_share: how many of the steps are of pictures, where there are both.
      drop_path: chance that a residual branch of the image encoder is skipped.
      dropout: of the memory attention; see `sam_jax.models.memory_attention`.
      frozen: patterns for the paths of parameters that are not trained.
      accumulate: batches whose gradients are averaged before parameters move; each of them counts
        as a step.
      ema: decay of an average of the weights, which is then what is evaluated and converted.
      dtype: of the computation; parameters and optimiser are float32.
      remat: what is computed again on the way back instead of stored: "none", "frames" (all that
        belongs to a frame of a clip, and to a round of clicks), "all" (the image encoder too).
      fsdp: over how many devices each parameter is spread; the others hold other clips.
      workers: processes that read and change samples; 0: threads of this one.
      save_every: steps between checkpoints, of which the last `keep` are kept.
      log_every, pictures_every: steps; 0 is never.
    """

    model: str
    start: str = ""
    image_size: int | None = None
    words: WordsConfig | None = None
    text_dim: int = 0
    embeddings: str = ""
    folder: str
    steps: int
    images: Stream | None = None
    videos: Stream | None = None
    image_share: float = 0.5
    losses: LossWeights = field(default_factory=LossWeights)
    optimizer: Optimizer = field(default_factory=Optimizer)
    evaluation: Evaluation = field(default_factory=Evaluation)
    lora: Lora | None = None
    drop_path: float = 0.0
    dropout: float = 0.1
    frozen: tuple[str, ...] = ()
    accumulate: int = 1
    ema: float | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    remat: Literal["none", "frames", "all"] = "frames"
    fsdp: int = 1
    workers: int = 1
    save_every: int = 500
    keep: int = 3
    log_every: int = 10
    pictures_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        check(self)
