"""How long a compiled TPU program takes, as its compiler expects, read from its text.

XLA's own sums (`Compiled.cost_analysis`) count the body of a loop once, and give no time for most
programs. But the TPU compiler writes beside every fusion how many cycles it expects it to take.
Here these are added up, loops as often as they turn.

    cost = program_cost(compiled.as_text(), chip)
"""

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from benchmarks.chips import Chip
from benchmarks.hlo import Collective, array_bytes, collectives

_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$")
_OPERAND = re.compile(r"%([\w.-]+)")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_ARRAY = re.compile(r"\b[a-z]+\d*[a-z0-9]*\[[\d,]*\](?:\{[^}]*\})?")
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id",
    "copy-done", "slice-done", "async-done", "async-update", "custom-call", "opt-barrier",
    "all-gather-done", "all-reduce-done", "collective-permute-done",
}  # fmt: skip
_SLICING = {"dynamic-slice", "slice", "gather"}
_IDLE = 0.1  # a branch of less than this part of the other's time does nothing instead of it


@dataclass(frozen=True)
class Cost:
    """Of one run on one chip.

    Attributes:
      seconds: of the compiler's cycles, or of the traffic with the memory where that takes longer.
      bytes: read from and written to the chip's main memory.
      collectives: how often each kind and shape runs.
      guessed: seconds in `seconds` of instructions without cycles, from their bytes.
      parts: seconds of what each operation of the program became, by its name in jax.
      unknown_loops: loops whose length is not in the program; they count as one turn.
    """

    seconds: float = 0.0
    bytes: float = 0.0
    collectives: Counter[Collective] = field(default_factory=Counter)
    guessed: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    unknown_loops: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.seconds + other.seconds,
            self.bytes + other.bytes,
            self.collectives + other.collectives,
            self.guessed + other.guessed,
            {
                name: self.parts.get(name, 0) + other.parts.get(name, 0)
                for name in self.parts | other.parts
            },
            self.unknown_loops + other.unknown_loops,
        )

    def times(self, often: float) -> "Cost":
        several = Counter({c: math.ceil(n * often) for c, n in self.collectives.items()})
        return Cost(
            self.seconds * often,
            self.bytes * often,
            several,
            self.guessed * often,
            {name: seconds * often for name, seconds in self.parts.items()},
            self.unknown_loops,
        )


class _Instruction(NamedTuple):
    root: bool
    name: str
    type: str
    kind: str
    operands: list[str]
    attributes: str
    line: str


def program_cost(text: str, chip: Chip, *, busy: float = 1.0) -> Cost:
    """What one run of a program costs.

    Args:
      text: of a compiled TPU program.
      busy: how often a branch that works is taken, where the other one does next to nothing.
        Of two that work the longer one counts always.
    """
    computations, entry = _parse(text)

    @cache
    def cost(name: str) -> Cost:
        instructions = computations[name]
        types = {i.name: i.type for i in instructions}
        bytes_, guessed, parts = 0.0, 0.0, defaultdict(float)
        inner = Cost(collectives=Counter(collectives("\n".join(i.line for i in instructions))))
        for i in instructions:
            if i.kind == "while":
                body, condition = _called(i, "body"), _called(i, "condition")
                turns = _turns(computations[condition])
                loop = (cost(body) + cost(condition)).times(turns or 1)
                inner += loop if turns else loop + Cost(unknown_loops=1)
            elif i.kind == "conditional":
                inner += _branches([cost(branch) for branch in _all_called(i)], busy)
            elif i.kind in ("call", "async-start"):
                inner += cost(_all_called(i)[0])
            elif i.kind not in _FREE:
                moved = _traffic(i, types, computations)
                bytes_ += moved
                if found := _CYCLES.search(i.attributes):
                    parts[_operation(i)] += int(found[1]) / chip.clock
                elif not i.kind.endswith("-start"):  # those run beside what follows
                    parts[_operation(i)] += moved / chip.bandwidth
                    guessed += moved / chip.bandwidth
        own = max(sum(parts.values()), bytes_ / chip.bandwidth)
        return Cost(own, bytes_, guessed=guessed, parts=dict(parts)) + inner

    return cost(entry)


def _operation(i: _Instruction) -> str:
    """Where an instruction comes from: modules without their numbers, and jax's operation."""
    found = re.search(r'op_name="([^"]*)"', i.line)
    name = re.sub(r"\b\w+\(([^()]*)\)/", "", found[1]) if found else ""
    return re.sub(r"_\d+\b|\.\d+\b", "", name) or i.kind


def _branches(costs: list[Cost], busy: float) -> Cost:
    longest = max(costs, key=lambda c: c.seconds)
    shortest = min(costs, key=lambda c: c.seconds)
    if shortest.seconds > _IDLE * longest.seconds:
        return longest
    return longest.times(busy) + shortest.times(1 - busy)


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    computations: dict[str, list[_Instruction]] = {}
    entry, inside = "", None
    for line in text.splitlines():
        if header := _HEADER.match(line):
            inside = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            inside = None
        elif inside is not None and (found := _INSTRUCTION.match(line)):
            root, name, type_, kind, rest = found.groups()
            inputs, _, attributes = rest.partition(")")
            operands = _OPERAND.findall(inputs)
            inside.append(_Instruction(bool(root), name, type_, kind, operands, attributes, line))
    return computations, entry


def _called(i: _Instruction, role: str) -> str:
    found = re.search(rf"\b{role}=%?([\w.-]+)", i.attributes)
    assert found is not None, f"{i.name} has no {role}"
    return found[1]


def _all_called(i: _Instruction) -> list[str]:
    if found := re.search(r"branch_computations=\{([^}]*)\}", i.attributes):
        return _OPERAND.findall(found[1])
    roles = ("true_computation", "false_computation", "to_apply", "calls", "called_computation")
    return [_called(i, role) for role in roles if re.search(rf"\b{role}=", i.attributes)]


def _turns(condition: list[_Instruction]) -> int | None:
    """How often a loop from 0 turns whose condition is a comparison with a constant."""
    (root,) = (i for i in condition if i.root)
    if root.kind != "compare" or "direction=LT" not in root.attributes:
        return None
    constants = {i.name: i.line for i in condition if i.kind == "constant"}
    for operand in root.operands:
        if operand in constants and (number := re.search(r"constant\((\d+)\)", constants[operand])):
            return int(number[1])
    return None


def _traffic(
    i: _Instruction, types: dict[str, str], computations: dict[str, list[_Instruction]]
) -> float:
    """Bytes of an instruction's operands and results that lie in main memory.

    Of an operand that is only sliced, the slices; of a result that is written into an operand, what
    is written.
    """
    inside = computations.get(_called(i, "calls"), []) if i.kind == "fusion" else []
    total = 0.0
    for number, operand in enumerate(i.operands):
        if operand in types:
            total += min(_bytes(types[operand]), _sliced(inside, number, computations))
    root = next((x for x in inside if x.root), i)
    if "dynamic-update-slice" in (root.kind, i.kind) or "dynamic-update-slice" in root.name:
        named = {x.name: x.type for x in inside} or types
        updates = [x for x in inside if x.kind == "dynamic-update-slice"] or [root]
        written = sum(_bytes(named.get(x.operands[1], "")) for x in updates if len(x.operands) > 1)
        kept = _bytes(i.type)
        # Read and written in place: the operand that is updated was counted as a whole above.
        return max(0.0, total - kept) + 2 * min(written, kept)
    if i.kind.endswith("-start"):  # (result, operand, context)
        return total + min(total, _bytes(i.type))
    return total + _bytes(i.type)


def _sliced(
    inside: list[_Instruction], number: int, computations: dict[str, list[_Instruction]]
) -> float:
    """Bytes of the slices of a fusion's parameter, if it is only sliced; else infinity.

    Slicing may be a fusion inside of it, or follow a bitcast.
    """
    own = [x for x in inside if x.kind == "parameter" and f"parameter({number})" in x.line]
    return _slices_of(own[0].name, inside, computations) if own else math.inf


def _slices_of(
    name: str, inside: list[_Instruction], computations: dict[str, list[_Instruction]]
) -> float:
    users = [x for x in inside if name in x.operands]
    total = 0.0 if users else math.inf
    for x in users:
        if x.kind in _SLICING and x.operands[0] == name:
            total += _bytes(x.type, everywhere=True)
        elif x.kind == "bitcast":
            total += _slices_of(x.name, inside, computations)
        elif x.kind == "fusion":
            called = computations.get(_called(x, "calls"), [])
            places = [i for i, operand in enumerate(x.operands) if operand == name]
            total += sum(_sliced(called, place, computations) for place in places)
        else:
            return math.inf
    return total


def _bytes(type_: str, *, everywhere: bool = False) -> float:
    """Of the arrays of a type; of those in main memory only, unless `everywhere`."""
    arrays = _ARRAY.findall(type_)
    return sum(array_bytes(a) for a in arrays if everywhere or not re.search(r"S\([1-9]\)", a))
