"""Train: `python -m train RECIPE [--field value]`."""

import dataclasses
import difflib
import importlib
import os
import pkgutil
import sys

import tyro
from rich.console import Console

from train.config import Lora, Recipe, Source

_USAGE = """usage: python -m train RECIPE [--field value]

RECIPE is a file of configs/. Every field of it can be set: python -m train RECIPE --help lists
them; --lora.rank 8, --evaluation.images.root FOLDER and --evaluation.videos.root FOLDER add what a
recipe leaves out. A run keeps everything in its --folder, and the same command goes on where it
stopped. Ctrl-C stops it with a checkpoint.

  python -m train debug                                        does everything run?
  python -m train own_images --help                            all that can be set
  python -m train own_images --folder runs/a --steps 2000      begin, or go on
  python -m convert runs/a model.safetensors                   the weights, to be used
"""


def recipes() -> dict[str, Recipe]:
    """All recipes by name."""
    names = [m.name for m in pkgutil.iter_modules(importlib.import_module("configs").__path__)]
    return {name: importlib.import_module(f"configs.{name}").config for name in names}


def with_parts(recipe: Recipe, arguments: list[str]) -> Recipe:
    """The recipe, with those parts that it leaves out and of which the arguments set a field."""

    def is_set(part: str) -> bool:
        return any(word.startswith(f"--{part}.") for word in arguments)

    if recipe.lora is None and is_set("lora"):
        recipe = dataclasses.replace(recipe, lora=Lora())
    held_out = recipe.evaluation
    if held_out.images is None and is_set("evaluation.images"):
        held_out = dataclasses.replace(held_out, images=Source(kind="pairs"))
    if held_out.videos is None and is_set("evaluation.videos"):
        held_out = dataclasses.replace(held_out, videos=Source(kind="davis"))
    return dataclasses.replace(recipe, evaluation=held_out)


def main() -> None:
    known = recipes()
    asked = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if asked in ("-h", "--help"):
        lines = (
            f"  {name:24} {(sys.modules[f'configs.{name}'].__doc__ or '').splitlines()[0]}"
            for name in known
        )
        print(_USAGE + "\nrecipes:\n" + "\n".join(lines))
        raise SystemExit(0 if len(sys.argv) > 1 else 2)
    if asked not in known:
        close = difflib.get_close_matches(asked, known, n=1)
        guess = f"; did you mean {close[0]}?" if close else ""
        raise SystemExit(f"no recipe is called {asked!r}{guess} Recipes: {', '.join(known)}")
    recipe = tyro.cli(
        Recipe,
        default=with_parts(known[asked], sys.argv[2:]),
        args=sys.argv[2:],
        prog=f"python -m train {asked}",
        description=sys.modules[f"configs.{asked}"].__doc__,
        config=(tyro.conf.AvoidSubcommands,),
    )
    import jax  # after --help, which needs none of it

    from train.loop import NotFinite, run

    if _several_processes():
        jax.distributed.initialize(
            num_processes=_number("JAX_NUM_PROCESSES"), process_id=_number("JAX_PROCESS_ID")
        )
    try:
        run(recipe, Console())
    except (ValueError, NotFinite, OSError) as error:
        raise SystemExit(f"error: {error}") from error


def _several_processes() -> bool:
    """Whether this is one of several that train together: by hand, of `srun`, or of a TPU pod."""
    return (
        "JAX_COORDINATOR_ADDRESS" in os.environ
        or (_number("SLURM_STEP_NUM_TASKS") or 1) > 1
        or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    )


def _number(name: str) -> int | None:
    return int(os.environ[name]) if name in os.environ else None


if __name__ == "__main__":
    main()
