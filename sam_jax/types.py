"""Every pytree that crosses a function boundary. No logic.

Letters: b images or videos; o objects or prompts per image; n = b * o (object fastest); t frames;
p points; s sparse prompt tokens; m candidate masks; k memory slots; q pointer slots; e memory
width; h w image-embedding grid (stride 16); H W model input; hm wm low-resolution mask grid
(stride 4); c channels; d embedding width. Coordinates are xy in pixels of the model input unless a
name says otherwise. Values before a sigmoid are called logits.
"""

from typing import Any

import flax.linen as nn
import numpy as np
from flax import struct
from jaxtyping import Array, BFloat16, Bool, Float, Int, PRNGKeyArray, UInt8

# Point labels. Upstream knows -1 to 3; PAD is ours: a slot that no attention sees.
PAD = -2
NOT_A_POINT = -1  # a learned token that takes part in attention
BACKGROUND = 0
FOREGROUND = 1
BOX_TOP_LEFT = 2
BOX_BOTTOM_RIGHT = 3

Size = Any  # how many of something: an int, or a symbol where jax.export leaves it open


@struct.dataclass
class Model:
    """A module with its parameters. A pytree: under jit only `params` is traced.

    Attributes:
      params: nested dict of arrays, named as in docs/architecture.md.
      module: the linen module: `module.config` describes it, it computes in `module.dtype`.
      rngs: keys of what is random in training, by name; none outside of it.
    """

    params: Any
    module: nn.Module = struct.field(pytree_node=False)
    rngs: dict[str, PRNGKeyArray] = struct.field(default_factory=dict)

    @property
    def config(self) -> Any:
        return self.module.config  # type: ignore[unresolved-attribute]


@struct.dataclass
class Prompts:
    """What the user asks, padded to a fixed number of points.

    Attributes:
      points: xy in pixels of the model input, pixel (0, 0) covering 0..1; ignored where PAD.
      labels: PAD, NOT_A_POINT, BACKGROUND, FOREGROUND, BOX_TOP_LEFT or BOX_BOTTOM_RIGHT.
      mask: logits of an earlier mask, used where `has_mask`; k = n, 1 when shared by all, or 0 when
        nobody has one.
      has_mask: whether `mask` is a prompt; same leading size as `mask`.
      text: unit-norm embeddings of phrases, or of pictures of the object, used where `has_text`;
        r = n, or 0 when nobody has one.
      has_text: whether `text` is a prompt.
    """

    points: Float[Array, "n p 2"]
    labels: Int[Array, "n p"]
    mask: Float[Array, "k hm wm 1"]
    has_mask: Bool[Array, " k"]
    # numpy: an array of jax would choose the device when sam_jax is imported
    text: Float[Array, "r c"] = struct.field(default_factory=lambda: np.zeros((0, 0), np.float32))
    has_text: Bool[Array, " r"] = struct.field(default_factory=lambda: np.zeros(0, bool))


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
      sparse: point and box tokens, then that of the text if there is any.
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


@struct.dataclass
class MemoryBank:
    """What is remembered of n tracked objects: of fixed size, however long the video.

    Slots 0 to c - 1 hold prompted frames (the same ones in both parts), the rest are rings: of the
    last frames, and a longer one of their pointers. A slot knows its frame; nothing is counted.

    Attributes:
      features: memory maps.
      frame: which frame a slot of `features` holds; `memory.EMPTY` if none.
      pointers: object pointers.
      pointer_frame: likewise for `pointers`.
      num_prompted: prompted frames written so far; more than c, and the oldest have left.
    """

    features: BFloat16[Array, "n k h w e"]
    frame: Int[Array, "n k"]
    pointers: Float[Array, "n q d"]
    pointer_frame: Int[Array, "n q"]
    num_prompted: Int[Array, " n"]


@struct.dataclass
class Recall:
    """Which slots of a bank one frame attends to, and how they are told apart in time.

    Attributes:
      valid: the memory map counts.
      time: row of the table of temporal encodings: 0 for the frame just before, the last row for
        prompted frames.
      pointer_valid: the pointer counts.
      pointer_age: frames since the pointer was made, in the direction of tracking, as a fraction of
        the longest age that the pointer ring can hold in a video of that length.
    """

    valid: Bool[Array, "n k"]
    time: Int[Array, "n k"]
    pointer_valid: Bool[Array, "n q"]
    pointer_age: Float[Array, "n q"]


@struct.dataclass
class MemoryTokens:
    """What a frame reads: maps, which turn with their grid position, and pointers, which do not.

    Attributes:
      maps, pointers: keys before projection and position, and values.
      maps_pe, pointers_pe: added to the keys only.
      maps_valid, pointers_valid: false where a map or a pointer token holds nothing.
    """

    maps: Float[Array, "n k t e"]
    maps_pe: Float[Array, "n k t e"]
    maps_valid: Bool[Array, "n k"]
    pointers: Float[Array, "n s e"]
    pointers_pe: Float[Array, "n s e"]
    pointers_valid: Bool[Array, "n s"]


@struct.dataclass
class VideoState:
    """Everything that tracking carries from frame to frame.

    Every leaf has the objects first, so that one sharding of the leading axis fits all.

    Attributes:
      frame: index of the frame to be tracked next.
      direction: 1 forward, -1 backward.
      num_frames: length of the video, from which the time scale of pointers follows; any number
        from 16 on means the same.
    """

    bank: MemoryBank
    frame: Int[Array, " n"]
    direction: Int[Array, " n"]
    num_frames: Int[Array, " n"]


@struct.dataclass
class FrameInput:
    """One frame of b videos, encoded, and what was asked on it.

    Attributes:
      features: of b images.
      prompts: of n = b * o objects; looked at where `prompted`. At least two point slots.
      prompted: a click, box or earlier mask was given for this object on this frame.
      correcting: the prompt corrects a track: the frame is seen in the light of the memory. Else
        the prompt alone says what the object is.
    """

    features: ImageFeatures
    prompts: Prompts
    prompted: Bool[Array, " n"]
    correcting: Bool[Array, " n"]


@struct.dataclass
class FrameOutput:
    """Answer for each object of one frame.

    Attributes:
      logits: low-resolution mask logits; -1024 everywhere where the object is absent.
      iou: predicted IoU of the mask; 1 for a mask that was given.
      object_logit: > 0 where the object is in the frame; -1024 for a slot without an object.
    """

    logits: Float[Array, "n hm wm"]
    iou: Float[Array, " n"]
    object_logit: Float[Array, " n"]


@struct.dataclass
class ClipWindow:
    """Some frames of b clips, one in each slot, and what is asked on them of n = b * o objects.

    Attributes:
      images: at the model input's size.
      live: false where the clip has ended, or there is none.
      begins: the object's clip begins with this window: what was in its slot is forgotten.
      num_frames: length of the object's clip; looked at where it `begins`.
      prompts: leaves have the objects first and then the frames; see `FrameInput`.
      masks: 0 or 1, at the model input's size; k = n, or 0 where nobody is given one.
      mask_at: on which frame of the window an object's mask is given; -1: on none.
    """

    images: UInt8[Array, "b t H W 3"]
    live: Bool[Array, "b t"]
    begins: Bool[Array, " n"]
    num_frames: Int[Array, " n"]
    prompts: Prompts
    prompted: Bool[Array, "n t"]
    correcting: Bool[Array, "n t"]
    masks: UInt8[Array, "k H W"]
    mask_at: Int[Array, " n"]


@struct.dataclass
class FrameMemory:
    """What the bank keeps of one frame of each object."""

    features: BFloat16[Array, "n h w e"]
    pointer: Float[Array, "n d"]


@struct.dataclass
class ObjectAnswer:
    """The mask found for each object of a frame, before holes are filled, and its pointer."""

    logits: Float[Array, "n hm wm"]
    iou: Float[Array, " n"]
    object_logit: Float[Array, " n"]
    pointer: Float[Array, "n d"]


@struct.dataclass
class ObjectInput:
    """Objects on one frame, and what is to be done with each.

    Attributes:
      with_memory: the frame is seen in the light of the memory.
      busy: false where there is nothing to do.
    """

    bank: MemoryBank
    recall: Recall
    prompts: Prompts
    prompted: Bool[Array, " n"]
    with_memory: Bool[Array, " n"]
    busy: Bool[Array, " n"]


@struct.dataclass
class PointGrid:
    """Clicks on b pictures, each of which asks for the masks at its place.

    Attributes:
      points: xy in pixels of the model input.
      asked: false for a point that is padding, or lies where nothing is looked for.
    """

    points: Float[Array, "b p 2"]
    asked: Bool[Array, "b p"]


@struct.dataclass
class PictureView:
    """How low-resolution masks become pixels of b pictures, or of crops of pictures.

    As data, and padded, so that one program serves pictures of all sizes.

    Attributes:
      rows, row_weights: the r mask rows that each pixel row is mixed from.
      columns: weights of the mask columns in each pixel column.
      size: height and width in pixels; further rows and columns are padding.
      crop: XYXY, where in the whole picture it lies.
      whole: XYXY of the whole picture.
    """

    rows: Int[Array, "b y r"]
    row_weights: Float[Array, "b y r"]
    columns: Float[Array, "b x wm"]
    size: Int[Array, "b 2"]
    crop: Int[Array, "b 4"]
    whole: Int[Array, "b 4"]


@struct.dataclass
class MaskLimits:
    """What a mask must be like to be kept. Numbers, so that changing them compiles nothing.

    Attributes:
      iou: predicted IoU above this; 0 lets all pass.
      stability: at least this; 0 lets all pass.
      threshold: logit above which a pixel belongs to the mask.
      inner, outer: the two thresholds whose areas stability compares.
      overlap: of two boxes with a larger IoU the better mask is kept.
    """

    iou: Float[Array, ""]
    stability: Float[Array, ""]
    threshold: Float[Array, ""]
    inner: Float[Array, ""]
    outer: Float[Array, ""]
    overlap: Float[Array, ""]


@struct.dataclass
class FoundMasks:
    """Up to k masks of each of b pictures, in no order.

    Attributes:
      valid: the slot holds a mask that passed and is no duplicate.
      index: which candidate it was: m times the point's place in the grid, plus 0 to m - 1.
      iou: predicted IoU; minus infinity in a slot never filled.
      stability: area above the inner by area above the outer threshold, in the picture.
      box: x0 y0 x1 y1 in pixels of the picture (or crop), the last column and row included.
      logits: low-resolution mask logits.
      passed: how many passed before duplicates were removed; what exceeds k was dropped.
    """

    valid: Bool[Array, "b k"]
    index: Int[Array, "b k"]
    iou: Float[Array, "b k"]
    stability: Float[Array, "b k"]
    box: Int[Array, "b k 4"]
    logits: Float[Array, "b k hm wm"]
    passed: Int[Array, " b"]
