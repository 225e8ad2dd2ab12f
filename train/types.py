"""What crosses the borders between reading, training and measuring.

Letters: t frames, b clips, o objects of each, n = b * o (object fastest), H W model input; l tokens
of a phrase; r = n where objects have texts, else 0.
"""

import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt8


@struct.dataclass
class Batch:
    """Clips and what is to be found in them. Pictures are clips of one frame.

    Attributes:
      images: at the model input's size.
      masks: false everywhere where the object is absent. Every object that counts is in the first
        frame, but for those that are named and not there.
      valid: false for fillers, which count for nothing.
      tokens: of the objects' phrases; see `sam_jax.io.words`.
      text: in place of phrases: embeddings of length 1.
      named: whether an object has a text.
    """

    images: UInt8[Array, "t b H W 3"]
    masks: Bool[Array, "t n H W"]
    valid: Bool[Array, " n"]
    tokens: Int[Array, "r l"] = struct.field(default_factory=lambda: np.zeros((0, 0), np.int32))
    text: Float[Array, "r c"] = struct.field(default_factory=lambda: np.zeros((0, 0), np.float32))
    named: Bool[Array, " r"] = struct.field(default_factory=lambda: np.zeros(0, bool))
