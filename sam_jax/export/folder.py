"""Exported programs in a folder, with weights and a description, for machines without our code.

export.json says what there is, encoder.cpu.jaxexport and the like are what `jax.export` serialises,
weights.safetensors is a native file. docs/deploying.md shows how they are used.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from jax.typing import DTypeLike

from sam_jax import models
from sam_jax.checkpoint.strict import flatten
from sam_jax.config import Config
from sam_jax.export.arrays import FEATURES, LETTERS, MEANINGS, NOTHING_ASKED, Shapes
from sam_jax.export.programs import NAMES, Program, programs
from sam_jax.files import replacing_dir
from sam_jax.load import save
from sam_jax.ops.colour import MEAN, STD
from sam_jax.ops.formulation import tracing_for
from sam_jax.types import Model

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_DESCRIPTION, _WEIGHTS = "export.json", "weights.safetensors"
_FORMAT = 1


def write(
    model: Model,
    path: str | Path,
    *,
    what: Sequence[str] = (),
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    sizes: Mapping[str, int] | None = None,
    dtype: DTypeLike | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Write a folder, all at once; one that an earlier call wrote is replaced.

    None of the platforms need be here.

    Args:
      what: some of `NAMES`; all that the model can do if empty.
      platforms: some of `PLATFORMS`, each of which gets a file with the formulation made for it.
      sizes: by letter (`LETTERS`), those that are fixed; the others are open.
      dtype: products are computed in it; by default bfloat16, and float32 on CPU.
      say: told of each file.

    Raises:
      ValueError: something of that name there is not, the model cannot do it, a size that cannot be
        meant or that no program has, or `path` cannot be written or holds something else.
    """
    sizes = dict(sizes or {})
    check(what, platforms, sizes)
    possible = programs(model.module)
    if lacking := [name for name in what if name not in possible]:
        raise ValueError(
            f"{model.config.name} has no program {lacking[0]!r}, only {', '.join(possible)}: "
            "track-step and track-masks need a SAM 2 model, text one with its own text encoder"
        )
    names = list(what) or list(possible)
    shapes = [
        shape
        for name in names
        for shape, _ in (possible[name].inputs | possible[name].state).values()
    ]
    if unused := [x for x in sizes if all(_filled(s, {x: 0}) == s for s in shapes)]:
        raise ValueError(
            f"sizes: {unused[0]} ({LETTERS[unused[0]]}) is no size of {', '.join(names)}; "
            "leave it out"
        )
    compute = {
        platform: jnp.dtype(dtype or (jnp.float32 if platform == "cpu" else jnp.bfloat16))
        for platform in platforms
    }
    weights = {
        name: jax.ShapeDtypeStruct(leaf.shape, jnp.float32)
        for name, leaf in flatten(model.params).items()
    }
    with replacing_dir(path, is_export) as folder:
        described = {}
        for name in names:
            for platform in platforms:
                module = models.build(model.config, compute[platform])
                program = programs(module)[name]
                exported = _export(program, weights, platform, sizes)
                file = f"{name}.{platform}.jaxexport"
                (folder / file).write_bytes(exported.serialize())
                described.setdefault(name, _describe(program, exported))
                described[name]["files"][platform] = file
                say(file)
        save(model, folder / _WEIGHTS)
        say(_WEIGHTS)
        about = _about(model.config) | {
            "compute": {platform: kind.name for platform, kind in compute.items()},
            "sizes": sizes,
            "programs": described,
        }
        (folder / _DESCRIPTION).write_text(json.dumps(about, indent=1) + "\n", "utf-8")
        say(_DESCRIPTION)


def check(what: Sequence[str], platforms: Sequence[str], sizes: Mapping[str, int]) -> None:
    """What is wrong with the arguments of `write` whatever the model.

    Raises:
      ValueError: a name or letter there is not, no platform, or a size that none can be.
    """
    for kind, given, known in (
        ("what", what, NAMES),
        ("platforms", platforms, PLATFORMS),
        ("sizes", sizes, LETTERS),
    ):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"{kind}: {unknown[0]!r} is none of {', '.join(known)}")
    if not platforms:
        raise ValueError(f"platforms: name at least one of {', '.join(PLATFORMS)}")
    if bad := [f"{letter}={size}" for letter, size in sizes.items() if not 1 <= size < 2**31]:
        raise ValueError(f"sizes must be at least 1 and below 2**31, got {bad[0]}")


def is_export(folder: Path) -> bool:
    """Whether `write` wrote a folder, and nobody put anything else into it."""
    try:
        about = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
        files = {f for p in about["programs"].values() for f in p["files"].values()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    there = {entry.name for entry in folder.iterdir()}
    return "sam_jax_export" in about and there <= files | {_DESCRIPTION, _WEIGHTS}


def _export(
    program: Program, weights: dict[str, Any], platform: str, sizes: dict[str, int]
) -> jax.export.Exported:
    scope = jax.export.SymbolicScope()

    def arrays(shapes: Shapes) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            name: jax.ShapeDtypeStruct(
                jax.export.symbolic_shape(_filled(shape, sizes), scope=scope), dtype
            )
            for name, (shape, dtype) in shapes.items()
        }

    dicts = [weights, *([arrays(program.state)] if program.state else []), arrays(program.inputs)]
    # Unused weights stay: who has no Python finds the arguments by their order.
    function = jax.jit(program.function, keep_unused=True)
    with tracing_for(platform):
        return jax.export.export(function, platforms=[platform])(*dicts)


def _filled(shape: str, sizes: dict[str, int]) -> str:
    """A shape with sizes in place of letters."""
    for letter, size in sizes.items():
        shape = re.sub(rf"\b{letter}\b", str(size), shape)
    return shape


def _describe(program: Program, exported: jax.export.Exported) -> dict[str, Any]:
    """What goes in and comes out, the same on all platforms but for the dtype of features."""
    (_, *arguments), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    results = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    empty = NOTHING_ASKED | program.fills

    def array(name: str, aval: Any, *, taken: bool) -> dict[str, Any]:
        shape = [size if isinstance(size, int) else str(size) for size in aval.shape]
        dtype = "compute" if name in FEATURES else aval.dtype.name
        fill = {"empty": empty[name]} if taken and name in empty else {}
        return {"shape": shape, "dtype": dtype, **fill}

    dicts = {"inputs": arguments[-1], "outputs": results[-1] if program.state else results}
    call = "(weights, inputs) -> outputs"
    if program.state:
        dicts = {"state": arguments[0], **dicts}
        call = "(weights, state, inputs) -> (state, outputs)"
    described = {
        kind: {name: array(name, aval, taken=kind != "outputs") for name, aval in avals.items()}
        for kind, avals in dicts.items()
    }
    return {"files": {}, "call": call, **described}


def _about(config: Config) -> dict[str, Any]:
    """What does not depend on the programs."""
    words = config.words
    return {
        "sam_jax_export": _FORMAT,
        "model": config.name,
        "jax": jax.__version__,
        "weights": _WEIGHTS,
        "picture": {
            "size": config.image_size,
            "keep_aspect": config.keep_aspect,
            "fit": "upper left corner, longer side = size; the rest is fill"
            if config.keep_aspect
            else "stretched to size x size",
            "resize": "bilinear with antialiasing",
            "fill": list(MEAN),
            "normalised_inside_by": {"mean": list(MEAN), "std": list(STD)},
            "mask_size": config.mask_size,
        },
        "letters": LETTERS,
        "meanings": MEANINGS,
        "words": None
        if words is None
        else {"list": list(words.words), "start": len(words.words), "end": len(words.words) + 1},
    }
