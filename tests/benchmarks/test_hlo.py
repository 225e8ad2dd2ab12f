"""Collectives of a compiled program, as several back ends write them."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.hlo import Collective, collectives


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "%all-reduce.1 = f32[8,16]{1,0:T(8,128)} all-reduce(%x), channel_id=3, to_apply=%add",
            ("all-reduce", 512, "f32[8,16]"),
        ),
        (
            "ROOT %r = (bf16[3]{0}, /*index=1*/pred[2,2]{1,0}, s32[]) all-reduce(%x, %y, %z)",
            ("all-reduce", 14, "bf16[3]"),
        ),
        (
            "%g = (f32[4]{0}, f32[2]{0}, f32[16]{0}, f32[8]{0}) all-gather-start(%x, %y)",
            ("all-gather", 96, "f32[16]"),
        ),
        (
            "p = (u8[5]{0}, u8[5]{0}, u32[]{:S(2)}, u32[]) collective-permute-start(%x)",
            ("collective-permute", 5, "u8[5]"),
        ),
        ("%s.2 = s4[7]{0} reduce-scatter(f32[56]{0} %x)", ("reduce-scatter", 4, "s4[7]")),
        ("%done = f32[16]{0} all-gather-done(%g)", None),
        ("%use = f32[16]{0} add(%all-gather.1, %all-reduce.2)", None),
    ],
)
def test_a_line_is_read(line: str, found: tuple | None) -> None:
    text = f"ENTRY %main {{\n  {line}\n}}"
    assert collectives(text) == ([Collective(*found)] if found else [])


def test_a_program_of_one_device_has_none() -> None:
    text = jax.jit(lambda x: x @ x).lower(jnp.ones((4, 4))).compile().as_text()
    assert "dot" in text and not collectives(text)
