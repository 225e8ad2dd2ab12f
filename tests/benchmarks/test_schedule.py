"""What a TPU program costs, from its text."""

import pytest

from benchmarks.chips import CHIPS
from benchmarks.schedule import program_cost

CHIP = CHIPS["v5e"]
FUSION = 'fusion(%x), kind=kLoop, calls=%fused, backend_config={"estimated_cycles":"1500000"}'
ARRAY = "f32[1024,256]{1,0:T(8,128)}"  # a MB
LOOP = """HloModule m

%fused (p: f32[1024,256]) -> f32[1024,256] {
  %p = f32[1024,256]{1,0:T(8,128)} parameter(0)
  ROOT %sine = f32[1024,256]{1,0:T(8,128)} sine(%p)
}

%condition (c: (s32[], f32[1024,256])) -> pred[] {
  %c = (s32[]{:T(128)}, f32[1024,256]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%c), index=0
  %end = s32[]{:T(128)} LIMIT
  ROOT %lt = pred[]{:T(512)} compare(%i, %end), direction=LT
}

%body (b: (s32[], f32[1024,256])) -> (s32[], f32[1024,256]) {
  %b = (s32[]{:T(128)}, f32[1024,256]{1,0:T(8,128)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%b), index=0
  %x = f32[1024,256]{1,0:T(8,128)} get-tuple-element(%b), index=1
  %y = f32[1024,256]{1,0:T(8,128)} FUSION
  %all = f32[1024,256]{1,0:T(8,128)} all-reduce(%y), replica_groups={}, to_apply=%add
  ROOT %t = (s32[]{:T(128)}, f32[1024,256]{1,0:T(8,128)}) tuple(%i.1, %all)
}

ENTRY %main (a: f32[1024,256]) -> f32[1024,256] {
  %a = f32[1024,256]{1,0:T(8,128)} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %start = (s32[]{:T(128)}, f32[1024,256]{1,0:T(8,128)}) tuple(%zero, %a)
  %loop = (s32[], f32[1024,256]{1,0:T(8,128)}) while(%start), condition=%condition, body=%body
  ROOT %out = f32[1024,256]{1,0:T(8,128)} get-tuple-element(%loop), index=1
}
""".replace("FUSION", FUSION)  # fmt: skip


def test_a_loop_counts_as_often_as_it_turns():
    cost = program_cost(LOOP.replace("LIMIT", "constant(10)"), CHIP)
    assert cost.seconds == pytest.approx(10 * 1e-3, rel=0.01)
    [(exchange, often)] = cost.collectives.items()
    assert (exchange.kind, exchange.bytes, often) == ("all-reduce", 2**20, 10)
    assert cost.unknown_loops == 0


def test_a_loop_whose_length_is_data_counts_once_and_is_said():
    cost = program_cost(LOOP.replace("LIMIT", "get-tuple-element(%c), index=0"), CHIP)
    assert cost.seconds == pytest.approx(1e-3, rel=0.01)
    assert cost.unknown_loops == 1


def entry(*lines: str) -> str:
    fused = LOOP[LOOP.index("%fused") : LOOP.index("%condition")]
    return "\n".join([fused, "ENTRY %main (x: f32[1024,256]) -> f32[1024,256] {", *lines, "}"])


def test_bytes_are_those_of_the_main_memory():
    """S(1) is the memory beside the matrix units."""
    both = entry(f"  %x = {ARRAY} parameter(0)", f"  ROOT %y = {ARRAY} {FUSION}")
    assert program_cost(both, CHIP).bytes == 2 * 2**20
    one = both.replace("T(8,128)} fusion", "T(8,128)S(1)} fusion")
    assert program_cost(one, CHIP).bytes == 2**20


def test_time_is_at_least_that_of_the_traffic():
    quick = entry(f"  %x = {ARRAY} parameter(0)", f"  ROOT %y = {ARRAY} {FUSION}")
    cost = program_cost(quick.replace('"1500000"', '"10"'), CHIP)
    assert cost.seconds == pytest.approx(2 * 2**20 / CHIP.bandwidth)


def test_of_a_large_operand_the_slices_are_read():
    text = """
%fused (p: f32[64,1024,256], i: s32[]) -> f32[1,1024,256] {
  %p = f32[64,1024,256]{2,1,0:T(8,128)} parameter(0)
  %i = s32[]{:T(128)} parameter(1)
  ROOT %slice = f32[1,1024,256]{2,1,0:T(8,128)} dynamic-slice(%p, %i, %i, %i)
}

ENTRY %main (x: f32[64,1024,256], n: s32[]) -> f32[1,1024,256] {
  %x = f32[64,1024,256]{2,1,0:T(8,128)} parameter(0)
  %n = s32[]{:T(128)} parameter(1)
  ROOT %y = f32[1,1024,256]{2,1,0:T(8,128)} fusion(%x, %n), kind=kLoop, calls=%fused
}
"""
    assert program_cost(text, CHIP).bytes == pytest.approx(2 * 2**20, abs=10)


def test_slices_are_found_in_fusions_of_a_fusion():
    """As where products read a part of what a loop stored; a reader of the whole reads it all."""
    text = """
%inner (q: f32[65536,256], j: s32[]) -> f32[1024,256] {
  %q = f32[65536,256]{1,0:T(8,128)} parameter(0)
  %j = s32[]{:T(128)} parameter(1)
  ROOT %slice = f32[1024,256]{1,0:T(8,128)} dynamic-slice(%q, %j, %j)
}

%fused (p: f32[64,1024,256], i: s32[]) -> f32[1024,256] {
  %p = f32[64,1024,256]{2,1,0:T(8,128)} parameter(0)
  %i = s32[]{:T(128)} parameter(1)
  %flat = f32[65536,256]{1,0:T(8,128)} bitcast(%p)
  %part = f32[1024,256]{1,0:T(8,128)} fusion(%flat, %i), kind=kLoop, calls=%inner
  ROOT %sine = f32[1024,256]{1,0:T(8,128)} sine(%part)
}

ENTRY %main (x: f32[64,1024,256], n: s32[]) -> f32[1024,256] {
  %x = f32[64,1024,256]{2,1,0:T(8,128)} parameter(0)
  %n = s32[]{:T(128)} parameter(1)
  ROOT %y = f32[1024,256]{1,0:T(8,128)} fusion(%x, %n), kind=kLoop, calls=%fused
}
"""
    assert program_cost(text, CHIP).bytes == pytest.approx(2 * 2**20, abs=10)
    whole = text.replace("sine(%part)", "sine(%part)\n  %all = f32[65536,256]{1,0} sine(%flat)")
    assert program_cost(whole, CHIP).bytes == pytest.approx(65 * 2**20, abs=10)


@pytest.mark.parametrize(("other", "expected"), [("30000", 0.25), ("750000", 1.0)])
def test_a_branch_that_does_nothing_is_taken_in_its_share(other, expected):
    """Of branches that both work, the longer one counts."""
    branches = "".join(
        f"%{name} (x: f32[8]) -> f32[8] {{\n  %x = f32[8]{{0:T(128)}} parameter(0)\n"
        f"  ROOT %y = f32[8]{{0:T(128)}} {FUSION.replace('1500000', cycles)}\n}}\n\n"
        for name, cycles in (("works", "1500000"), ("other", other))
    )
    call = "conditional(%p, %x, %x), branch_computations={%works, %other}"
    text = branches + entry(
        "  %x = f32[8]{0:T(128)} parameter(0)",
        "  %p = s32[]{:T(128)} parameter(1)",
        f"  ROOT %y = f32[8]{{0:T(128)}} {call}",
    )
    found = program_cost(text, CHIP, busy=0.25).seconds
    assert found == pytest.approx(expected * 1e-3, rel=0.1)
