"""Products and sums of a traced program, loops as often as they turn."""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr

_IDLE = 0.1  # as `benchmarks.schedule`


def flops(jaxpr: Jaxpr, *, busy: float = 1.0) -> float:
    """Twice the multiplications of matrix products and convolutions, of all devices together.

    Args:
      busy: how often a branch that works is taken, where the other one does next to nothing.

    Loops whose length is data count as one turn.
    """
    return sum(_of(eqn, busy) for eqn in jaxpr.eqns)


def _of(eqn: Any, busy: float) -> float:
    kind, params = eqn.primitive.name, eqn.params
    if kind == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = eqn.invars[0].aval.shape
        depth = math.prod(left[axis] for axis in contracted)
        return 2 * math.prod(eqn.outvars[0].aval.shape) * depth
    if kind == "conv_general_dilated":
        return _convolution(eqn)
    if kind == "cond":
        counts = sorted(flops(branch.jaxpr, busy=busy) for branch in params["branches"])
        least, most = counts[0], counts[-1]
        return most if least > _IDLE * most else busy * most + (1 - busy) * least
    turns = params["length"] if kind == "scan" else 1
    devices = params["mesh"].size if kind == "shard_map" else 1
    return turns * devices * sum(flops(inner, busy=busy) for inner in _inner(params))


def _convolution(eqn: Any) -> float:
    """As if no place were padded and none skipped: a few percent too much at the edges."""
    kernel, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
    numbers = eqn.params["dimension_numbers"]
    depth = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
    # What a gradient spreads out with zeros costs nothing to a compiler that knows.
    depth /= math.prod(eqn.params["lhs_dilation"])
    return 2 * math.prod(out) * depth


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one
