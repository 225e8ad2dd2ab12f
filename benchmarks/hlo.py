"""What devices tell each other in a compiled program, read from its text (`Compiled.as_text`)."""

import math
import re
from typing import NamedTuple

_KINDS = (
    "all-gather|all-reduce|all-to-all|ragged-all-to-all|collective-broadcast|collective-permute"
    "|reduce-scatter"
)
# `%name = TYPE kind(...`; begun and ended apart, the beginning counts.
_LINE = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (.+?) ({_KINDS})(-start)?\(", re.MULTILINE)
_ARRAY = re.compile(r"\b([a-z]+(\d+)?[a-z0-9]*)\[([\d,]*)\]")
_TWO_SIDED = ("all-gather", "collective-permute")  # begun, they name operands, then results


class Collective(NamedTuple):
    """Attributes:
    kind: as XLA calls it, such as "all-gather".
    bytes: of its result on one device. Of a reduce-scatter that is the part that stays there.
    shape: of the result: dtype and lengths; of several, the largest.
    """

    kind: str
    bytes: int
    shape: str


def collectives(text: str) -> list[Collective]:
    """All collectives of a program, in the order of its text.

    One in a loop is there once, however often the loop turns.
    """
    return [_collective(*match.groups()) for match in _LINE.finditer(text)]


def _collective(results: str, kind: str, started: str | None) -> Collective:
    arrays = [(m[0], _bytes(m[1], m[2], m[3])) for m in _ARRAY.finditer(results)]
    if started and kind in _TWO_SIDED:
        arrays = [found for found in arrays if found[0] != "u32[]"]  # contexts of a transfer
        arrays = arrays[len(arrays) // 2 :]
    largest = max(arrays, key=lambda found: found[1])
    return Collective(kind, sum(size for _, size in arrays), largest[0])


def _bytes(dtype: str, bits: str | None, lengths: str) -> int:
    """Of an array; a bool has a byte, and XLA calls it pred."""
    elements = math.prod(int(length) for length in lengths.split(",") if length)
    return math.ceil(elements * int(bits or 8) / 8)
