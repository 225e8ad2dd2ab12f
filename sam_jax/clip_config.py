"""Frozen dataclasses that describe a CLIP model, and the four that OpenAI released.

Upstream: transformers/models/clip/configuration_clip.py. What all four share is not a field: the
activation is quick GELU, layer norms have an epsilon of 1e-5, MLPs are four times as wide.
"""

import dataclasses
from dataclasses import dataclass

_LARGEST = 8192  # twice and more what any released model has, as in sam_jax.config
_MOST = {"depth": 256, "vocab_size": 1 << 20, "eos_token": 1 << 20}


def _require_sizes(config: "ClipTextConfig | ClipImageConfig") -> None:
    for f in dataclasses.fields(config):
        value, most = getattr(config, f.name), _MOST.get(f.name, _LARGEST)
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"{f.name} must be a whole number from 1 to {most}, got {value!r}")
    if config.width % config.num_heads:
        raise ValueError(f"width {config.width} must be a multiple of num_heads {config.num_heads}")


@dataclass(frozen=True)
class ClipTextConfig:
    """The text tower."""

    width: int
    depth: int
    num_heads: int
    context: int = 77  # the most tokens a text may have, its beginning and its end included
    vocab_size: int = 49408
    # The token whose output stands for the text. 2 means the one with the highest number, as in
    # every config written before 2023 (it names no token of theirs).
    eos_token: int = 2

    def __post_init__(self) -> None:
        _require_sizes(self)
        if self.eos_token >= self.vocab_size:
            raise ValueError(
                f"eos_token {self.eos_token} is not below vocab_size {self.vocab_size}"
            )


@dataclass(frozen=True)
class ClipImageConfig:
    """The image tower."""

    width: int
    depth: int
    num_heads: int
    patch: int
    image_size: int = 224  # side of the square input, pixels

    def __post_init__(self) -> None:
        _require_sizes(self)
        if self.image_size % self.patch:
            raise ValueError(
                f"image_size {self.image_size} must be a multiple of patch {self.patch}"
            )

    @property
    def grid(self) -> int:
        return self.image_size // self.patch


@dataclass(frozen=True)
class ClipConfig:
    """Both towers, and the width of the space that they share."""

    name: str
    embed_dim: int
    text: ClipTextConfig
    image: ClipImageConfig

    def __post_init__(self) -> None:
        if type(self.embed_dim) is not int or not 1 <= self.embed_dim <= _LARGEST:
            raise ValueError(
                f"embed_dim must be a whole number from 1 to {_LARGEST}, got {self.embed_dim!r}"
            )


_TEXT_BASE, _TEXT_LARGE = ClipTextConfig(512, 12, 8), ClipTextConfig(768, 12, 12)
CLIP_PRESETS: dict[str, ClipConfig] = {
    config.name: config
    for config in (
        ClipConfig("clip-vit-base-patch32", 512, _TEXT_BASE, ClipImageConfig(768, 12, 12, 32)),
        ClipConfig("clip-vit-base-patch16", 512, _TEXT_BASE, ClipImageConfig(768, 12, 12, 16)),
        ClipConfig("clip-vit-large-patch14", 768, _TEXT_LARGE, ClipImageConfig(1024, 24, 16, 14)),
        # The one of the SAM paper.
        ClipConfig(
            "clip-vit-large-patch14-336", 768, _TEXT_LARGE, ClipImageConfig(1024, 24, 16, 14, 336)
        ),
    )
}
