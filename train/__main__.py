"""Train: `python -m train RECIPE [--field value]`."""

import difflib
import importlib
import os
import pkgutil
import sys

import tyro
from rich.console import Console

from train.config import Recipe

_USAGE = """usage: python -m train RECIPE [--field value]

RECIPE is a file of configs/. Every field of it can be set: python -m train RECIPE --help lists
them. A run keeps everything in its --folder, and the same command goes on where it stopped.
"""


def recipes() -> dict[str, Recipe]:
    """All recipes by name."""
    names = [m.name for m in pkgutil.iter_modules(importlib.import_module("configs").__path__)]
    return {name: importlib.import_module(f"configs.{name}").config for name in names}


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
        default=known[asked],
        args=sys.argv[2:],
        prog=f"python -m train {asked}",
        description=sys.modules[f"configs.{asked}"].__doc__,
        config=(tyro.conf.AvoidSubcommands,),
    )
    import jax  # after --help, which needs none of it

    from train.loop import NotFinite, run

    if "JAX_COORDINATOR_ADDRESS" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        jax.distributed.initialize()
    try:
        run(recipe, Console())
    except (ValueError, NotFinite, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
