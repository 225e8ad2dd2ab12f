"""What crosses the borders between reading, training and measuring.

Letters: t frames, b clips, o objects of each, n = b * o (object fastest), H W model input.
"""

from flax import struct
from jaxtyping import Array, Bool, UInt8


@struct.dataclass
class Batch:
    """Clips and what is to be found in them. Pictures are clips of one frame.

    Attributes:
      images: at the model input's size.
      masks: false everywhere where the object is absent. Every object that counts is in the first
        frame.
      valid: false for fillers, which count for nothing.
    """

    images: UInt8[Array, "t b H W 3"]
    masks: Bool[Array, "t n H W"]
    valid: Bool[Array, " n"]
