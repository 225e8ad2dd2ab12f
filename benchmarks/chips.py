"""What is published about the chips that programs are compiled for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """Sources: cloud.google.com/tpu/docs, pages v5e, v5p and v6e.

    Attributes:
      peak: products and sums a second, bfloat16.
      bandwidth: of the main memory, bytes/s.
      links: to other chips, bytes/s, both directions of all links together.
      clock: cycles/s; not on those pages. With it a large product's cycles take 2 to 9 % longer
        than at the peak.
      memory: what the compiler lets a program have of the main memory, bytes; it says so of
        programs that do not fit.
    """

    peak: float
    bandwidth: float
    links: float
    clock: float
    memory: float


CHIPS = {
    "v5e": Chip(197e12, 819e9, 400e9, 1.5e9, 15.75 * 2**30),
    "v5p": Chip(459e12, 2765e9, 1200e9, 1.75e9, 95.73 * 2**30),
    "v6e": Chip(918e12, 1600e9, 800e9, 1.75e9, 31.24 * 2**30),
}
