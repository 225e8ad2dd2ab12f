"""Every pytree that crosses a function boundary. No logic.

Letters: b images; o objects or prompts per image; n = b * o (object fastest); p points; s sparse
prompt tokens; m candidate masks; h w image-embedding grid (stride 16); H W model input; hm wm
low-resolution mask grid (stride 4); c channels; d embedding width. Coordinates are xy in pixels of
the model input unless a name says otherwise. Values before a sigmoid are called logits.
"""

from typing import Any

import flax.linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int

# Point labels. Upstream knows -1 to 3; PAD is ours: a slot that no attention sees.
PAD = -2
NOT_A_POINT = -1  # a learned token that takes part in attention
BACKGROUND = 0
FOREGROUND = 1
BOX_TOP_LEFT = 2
BOX_BOTTOM_RIGHT = 3


@struct.dataclass
class Model:
    """A module with its parameters. A pytree: under jit only `params` is traced.

    Attributes:
      params: nested dict of arrays, named as in docs/architecture.md.
      module: the linen module: `module.config` describes it, it computes in `module.dtype`.
    """

    params: Any
    module: nn.Module = struct.field(pytree_node=False)

    @property
    def config(self) -> Any:
        return self.module.config  # type: ignore[unresolved-attribute]


@struct.dataclass
class Prompts:
    """What the user asks, padded to a fixed number of points.

    Attributes:
      points: xy in pixels of the model input, pixel (0, 0) covering 0..1; ignored where PAD.
      labels: PAD, NOT_A_POINT, BACKGROUND, FOREGROUND, BOX_TOP_LEFT or BOX_BOTTOM_RIGHT.
      mask: logits of an earlier mask, used where `has_mask`; k = n, or 1 when shared by all.
      has_mask: whether `mask` is a prompt; same leading size as `mask`.
    """

    points: Float[Array, "n p 2"]
    labels: Int[Array, "n p"]
    mask: Float[Array, "k hm wm 1"]
    has_mask: Bool[Array, " k"]


@struct.dataclass
class ImageFeatures:
    """One image, encoded once, used for every prompt.

    Attributes:
      embed: stride-16 map; raw, without the no-memory embedding that image decoding adds.
      high_res: SAM 2: stride-4 map [b hm wm d/8], stride-8 map [b 2h 2w d/4]; SAM 1: empty.
    """

    embed: Float[Array, "b h w d"]
    high_res: tuple[Array, ...]


@struct.dataclass
class PromptTokens:
    """Encoded prompts.

    Attributes:
      sparse: point and box tokens.
      valid: false where the token is padding.
      dense: mask-prompt map to add to the image embedding; k = n, or 1 when shared by all prompts.
    """

    sparse: Float[Array, "n s d"]
    valid: Bool[Array, "n s"]
    dense: Float[Array, "k h w d"]


@struct.dataclass
class Masks:
    """Decoder output.

    Attributes:
      logits: low-resolution mask logits, float32.
      iou: predicted IoU of each mask, float32.
      token: the output token each mask was made from (object pointers are made from it).
      object_logit: > 0 where the object is in the image; zeros for SAM 1, which has no such head.
    """

    logits: Float[Array, "n m hm wm"]
    iou: Float[Array, "n m"]
    token: Float[Array, "n m d"]
    object_logit: Float[Array, " n"]
