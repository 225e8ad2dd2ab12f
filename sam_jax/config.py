"""Frozen dataclasses that describe a model.

A config holds what a checkpoint does not: widths, block schedules, window sizes and the flags that
change the mathematics without adding a parameter. Upstream spreads these over YAML files,
constructor defaults and overrides inside the builders (sam2/build_sam.py); here each is one field.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

# Twice and more what any released model has. A config may come from a file that someone else made,
# and building a model must not take all memory or an hour because of one number in it.
_LARGEST = 8192  # pixels of image_size, channels, window sides
_MOST = 256  # layers, memories, masks: things that are built one by one
_COUNTED = {"stages", "depth", "attention_layers", "fuser_layers", "num_maskmem"}
_COUNTED |= {"num_multimask_outputs"}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_sizes(config: Any) -> None:
    """Every number of a config is a possible one."""
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if f.type is float:
            _require(math.isfinite(value), f"{f.name} must be finite, got {value}")
        if f.type not in (int, tuple[int, ...], tuple[int, int]):
            continue
        most = _MOST if f.name in _COUNTED else _LARGEST
        least = 0 if f.name in ("global_att_blocks", "text_dim") else 1  # indices, and an option
        numbers = (value,) if f.type is int else value
        _require(
            all(type(n) is int and least <= n <= most for n in numbers),
            f"{f.name}: only whole numbers from {least} to {most} are possible, got {value!r}",
        )
        if f.type == tuple[int, int]:
            _require(len(value) == 2, f"{f.name} must be (height, width), got {value}")


@dataclass(frozen=True)
class HieraConfig:
    """Hierarchical image trunk of SAM 2. Upstream: sam2/modeling/backbones/hieradet.py, Hiera."""

    embed_dim: int  # channels of stage 1; doubled at every stage
    num_heads: int  # heads of stage 1; doubled at every stage
    stages: tuple[int, ...]  # blocks per stage
    global_att_blocks: tuple[int, ...]  # block indices that attend over the whole grid
    window_spec: tuple[int, ...] = (8, 4, 14, 7)  # window side per stage
    pos_embed_grid: tuple[int, int] = (7, 7)  # size of the background position table

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require(len(self.stages) == 4, f"stages must be 4 counts: {self.stages}")
        _require(
            len(self.window_spec) == 4,
            f"window_spec must have one side per stage: {self.window_spec}",
        )
        _require(
            all(w % 2 == 0 for w in self.window_spec[:-1]),
            f"windows of stages 1-3 are halved by pooling and must be even: {self.window_spec}",
        )
        _require(
            all(0 <= i < self.depth for i in self.global_att_blocks),
            f"global_att_blocks {self.global_att_blocks} must lie below the depth {self.depth}",
        )
        _require(
            not set(self.global_att_blocks) & set(self.pool_blocks),
            f"global_att_blocks {self.global_att_blocks} must not pool (blocks {self.pool_blocks})",
        )
        _require(
            self.embed_dim % self.num_heads == 0,
            f"embed_dim {self.embed_dim} must be a multiple of num_heads {self.num_heads}",
        )

    @property
    def depth(self) -> int:
        return sum(self.stages)

    @property
    def stage_dims(self) -> tuple[int, ...]:
        return tuple(self.embed_dim * 2**i for i in range(4))

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """Index of the last block of each stage."""
        return tuple(sum(self.stages[: i + 1]) - 1 for i in range(4))

    @property
    def pool_blocks(self) -> tuple[int, ...]:
        """First block of stages 2, 3 and 4: these halve the grid by pooling the queries."""
        return tuple(end + 1 for end in self.stage_ends[:-1])


@dataclass(frozen=True)
class VitConfig:
    """Image encoder of SAM 1. Upstream: segment_anything/modeling/image_encoder.py."""

    embed_dim: int
    depth: int
    num_heads: int
    global_att_blocks: tuple[int, ...]
    window: int = 14
    patch: int = 16
    pos_embed_grid: tuple[int, int] = (64, 64)

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require(
            all(0 <= i < self.depth for i in self.global_att_blocks),
            f"global_att_blocks {self.global_att_blocks} must lie below the depth {self.depth}",
        )
        _require(
            self.embed_dim % self.num_heads == 0,
            f"embed_dim {self.embed_dim} must be a multiple of num_heads {self.num_heads}",
        )


@dataclass(frozen=True)
class DecoderConfig:
    """Two-way transformer and mask heads. Upstream: sam2/modeling/sam/mask_decoder.py."""

    depth: int = 2
    num_heads: int = 8
    mlp_dim: int = 2048
    iou_hidden_dim: int = 256
    num_multimask_outputs: int = 3
    high_res_features: bool = True  # add the stride-4 and stride-8 maps while upscaling
    object_score: bool = True  # one more token and head: is the object in the frame
    iou_sigmoid: bool = True  # squash the predicted IoU to 0..1
    # Upstream calls this dynamic_multimask_via_stability and switches it on inside build_sam2().
    # A single mask whose area changes too much between the thresholds +-delta is replaced by the
    # best of the three.
    stability_fallback: bool = True
    stability_delta: float = 0.05
    stability_threshold: float = 0.98

    def __post_init__(self) -> None:
        _require_sizes(self)


@dataclass(frozen=True)
class MemoryConfig:
    """Memory attention, memory encoder, object pointers. Upstream: sam2/modeling/sam2_base.py."""

    dim: int = 64  # channels of a stored memory
    num_maskmem: int = 7  # one prompted frame + six recent ones
    attention_layers: int = 4
    mlp_dim: int = 2048
    fuser_layers: int = 2
    # What SAM 2.1 added: a learned shift of an absent object's memory, and encoded pointer ages.
    no_object_embed: bool = True
    pointer_time_encoding: bool = True

    def __post_init__(self) -> None:
        _require_sizes(self)


@dataclass(frozen=True)
class WordsConfig:
    """A small text tower of a model's own, for phrases of few words. Ours: upstream has none."""

    words: tuple[str, ...]  # all that it knows, in lower case; a token is the place of a word
    width: int = 128
    depth: int = 2
    num_heads: int = 4
    context: int = 16  # the most words of a phrase, and its beginning and its end

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require(
            0 < len(set(self.words)) == len(self.words) <= _LARGEST,
            f"words must be 1 to {_LARGEST} different ones, got {len(self.words)}",
        )
        bad = [w for w in self.words if w.split() != [w] or w != w.lower()]
        _require(not bad, f"words must be in lower case and without blanks, got {bad[:3]}")
        _require(
            self.width % self.num_heads == 0,
            f"width {self.width} must be a multiple of num_heads {self.num_heads}",
        )


@dataclass(frozen=True)
class Sam2Config:
    """A SAM 2 or SAM 2.1 model. Upstream: sam2/configs/sam2.1/*.yaml."""

    keep_aspect: ClassVar[bool] = False  # pictures are squashed to the square model input
    close_boxes: ClassVar[bool] = True  # a not-a-point token follows boxes, too, not only clicks
    largest_logit: ClassVar[float] = 32.0  # low-resolution logits are clamped when handed out

    name: str
    trunk: HieraConfig
    image_size: int = 1024  # side of the square model input, pixels
    dim: int = 256  # embedding width of prompts, decoder and memory attention
    mask_channels: int = 16  # width of the mask-prompt stem
    text_dim: int = 0  # width of text embeddings; 0: no projection of them, as released
    words: WordsConfig | None = None  # what makes them, where the model brings that along
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require(
            self.image_size % 32 == 0,
            f"image_size must be a positive multiple of 32, got {self.image_size}",
        )
        _require_divisible(self)
        _require(
            self.dim % self.memory.dim == 0,  # an object pointer becomes tokens of that width
            f"dim {self.dim} must be a multiple of memory.dim {self.memory.dim}",
        )

    @property
    def grid(self) -> int:
        """Side of the image embedding (stride 16)."""
        return self.image_size // 16

    @property
    def mask_size(self) -> int:
        """Side of low-resolution masks and mask prompts (stride 4)."""
        return self.image_size // 4


@dataclass(frozen=True)
class SamConfig:
    """A SAM 1 model. Upstream: segment_anything/build_sam.py."""

    # As above, and as upstream has them in predictor.py and modeling/prompt_encoder.py.
    keep_aspect: ClassVar[bool] = True
    close_boxes: ClassVar[bool] = False
    largest_logit: ClassVar[float] = math.inf

    name: str
    encoder: VitConfig
    image_size: int = 1024
    dim: int = 256
    mask_channels: int = 16
    text_dim: int = 0
    words: WordsConfig | None = None
    decoder: DecoderConfig = field(
        default_factory=lambda: DecoderConfig(
            high_res_features=False, object_score=False, iou_sigmoid=False, stability_fallback=False
        )
    )

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require_divisible(self)
        _require(
            self.image_size % self.encoder.patch == 0,
            f"image_size must be a multiple of {self.encoder.patch}, got {self.image_size}",
        )

    @property
    def grid(self) -> int:
        return self.image_size // self.encoder.patch

    @property
    def mask_size(self) -> int:
        return 4 * self.grid


def _require_divisible(config: "Config") -> None:
    """What the prompt encoder and the mask decoder split, narrow or take."""
    heads = config.decoder.num_heads
    _require(
        config.dim % (2 * heads) == 0,
        f"dim {config.dim} must be a multiple of 2 x decoder.num_heads ({heads})",
    )
    _require(config.dim % 8 == 0, f"dim {config.dim} must be a multiple of 8: masks have dim / 8")
    _require(
        config.mask_channels % 4 == 0,
        f"mask_channels {config.mask_channels} must be a multiple of 4, which the stem starts with",
    )
    if config.words is not None:
        _require(
            config.text_dim == config.words.width,
            f"text_dim {config.text_dim} must be words.width, {config.words.width}: what the tower"
            " makes is what the projection takes",
        )


Config = Sam2Config | SamConfig
