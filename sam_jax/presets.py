"""The released models and our own small one, one expression each.

Names are those of the Hugging Face repositories. Numbers: sam2/configs/sam2*/*.yaml and
segment_anything/build_sam.py.
"""

import difflib

from sam_jax.config import Config, HieraConfig, MemoryConfig, Sam2Config, SamConfig, VitConfig

_TINY = HieraConfig(embed_dim=96, num_heads=1, stages=(1, 2, 7, 2), global_att_blocks=(5, 7, 9))
_SMALL = HieraConfig(embed_dim=96, num_heads=1, stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13))
_BASE_PLUS = HieraConfig(
    embed_dim=112,
    num_heads=2,
    stages=(2, 3, 16, 3),
    global_att_blocks=(12, 16, 20),
    pos_embed_grid=(14, 14),
)
_LARGE = HieraConfig(
    embed_dim=144,
    num_heads=2,
    stages=(2, 6, 36, 4),
    global_att_blocks=(23, 33, 43),
    window_spec=(8, 4, 16, 8),
)
_SAM_2_0 = MemoryConfig(no_object_embed=False, pointer_time_encoding=False)

SAM2_1_HIERA_TINY = Sam2Config("sam2.1-hiera-tiny", _TINY)
SAM2_1_HIERA_SMALL = Sam2Config("sam2.1-hiera-small", _SMALL)
SAM2_1_HIERA_BASE_PLUS = Sam2Config("sam2.1-hiera-base-plus", _BASE_PLUS)
SAM2_1_HIERA_LARGE = Sam2Config("sam2.1-hiera-large", _LARGE)
SAM2_HIERA_TINY = Sam2Config("sam2-hiera-tiny", _TINY, memory=_SAM_2_0)
SAM2_HIERA_SMALL = Sam2Config("sam2-hiera-small", _SMALL, memory=_SAM_2_0)
SAM2_HIERA_BASE_PLUS = Sam2Config("sam2-hiera-base-plus", _BASE_PLUS, memory=_SAM_2_0)
SAM2_HIERA_LARGE = Sam2Config("sam2-hiera-large", _LARGE, memory=_SAM_2_0)

# Ours. Widths that upstream hard-codes (decoder MLP, IoU head, heads) are kept, so that the
# official code can run it as an oracle; 256 px, because every layer is then a sixteenth the work.
SAM2_1_HIERA_NANO = Sam2Config(
    "sam2.1-hiera-nano",
    HieraConfig(
        embed_dim=32,
        num_heads=1,
        stages=(1, 2, 3, 1),
        global_att_blocks=(4, 5),
        window_spec=(8, 4, 8, 4),
    ),
    image_size=256,
    dim=128,
    memory=MemoryConfig(attention_layers=2, mlp_dim=256, dim=32),
)

SAM_VIT_B = SamConfig("sam-vit-base", VitConfig(768, 12, 12, global_att_blocks=(2, 5, 8, 11)))
SAM_VIT_L = SamConfig("sam-vit-large", VitConfig(1024, 24, 16, global_att_blocks=(5, 11, 17, 23)))
SAM_VIT_H = SamConfig("sam-vit-huge", VitConfig(1280, 32, 16, global_att_blocks=(7, 15, 23, 31)))

PRESETS: dict[str, Config] = {
    config.name: config
    for config in (
        SAM2_1_HIERA_NANO,
        SAM2_1_HIERA_TINY,
        SAM2_1_HIERA_SMALL,
        SAM2_1_HIERA_BASE_PLUS,
        SAM2_1_HIERA_LARGE,
        SAM2_HIERA_TINY,
        SAM2_HIERA_SMALL,
        SAM2_HIERA_BASE_PLUS,
        SAM2_HIERA_LARGE,
        SAM_VIT_B,
        SAM_VIT_L,
        SAM_VIT_H,
    )
}
# What people say for the names of the repositories.
ALIASES = {"sam-vit-b": "sam-vit-base", "sam-vit-l": "sam-vit-large", "sam-vit-h": "sam-vit-huge"}


def preset(name: str) -> Config:
    """The config of a model name, or of an alias of it.

    Raises:
      ValueError: unknown name; the message suggests the nearest one.
    """
    if (known := ALIASES.get(name, name)) in PRESETS:
        return PRESETS[known]
    near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown model {name!r}.{hint} Known models: {', '.join(PRESETS)}")
