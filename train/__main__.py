"""Train: `python -m train RECIPE [--field value]`."""

import argparse
import dataclasses
import difflib
import importlib
import pkgutil
import sys
from typing import Any

import tyro
from rich.console import Console

from sam_jax.cli import discard
from train.config import Lora, Recipe, Source

_USAGE = """usage: python -m train RECIPE [--field value]

RECIPE is a file of configs/. Every field of it can be set: python -m train RECIPE --help lists
them; --lora.rank 8, --evaluation.images.root FOLDER and --evaluation.videos.root FOLDER add what a
recipe leaves out. A run keeps everything in its --folder, and the same command goes on where it
stopped. Ctrl-C stops it with a checkpoint. On several machines it is the same command on each: TPU
slices and SLURM are recognised; else add --coordinator HOST:PORT --processes N --process I.

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


def split_words(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What a command line says of processes, for `train.processes.begin`; and all else.

    Raises:
      ValueError: one word without the others, or a number that no process has.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    try:
        found, rest = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    given = {name: value for name, value in vars(found).items() if value is not None}
    if not given:
        return {}, rest
    if missing := [f"--{name}" for name in vars(found) if name not in given]:
        raise ValueError(
            f"{' and '.join(missing)} missing: several processes need --coordinator HOST:PORT of "
            "the first, how many --processes, and which --process this is, from 0"
        )
    host, _, port = found.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"--coordinator must be HOST:PORT, got {found.coordinator!r}")
    if found.processes < 1:
        raise ValueError(f"--processes must be at least 1, got {found.processes}")
    if not 0 <= found.process < found.processes:
        raise ValueError(
            f"--process must be 0 to {found.processes - 1} of {found.processes} --processes, got "
            f"{found.process}"
        )
    return given, rest


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
    try:
        member, words = split_words(sys.argv[2:])
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    recipe = tyro.cli(
        Recipe,
        default=with_parts(known[asked], words),
        args=words,
        prog=f"python -m train {asked}",
        description=sys.modules[f"configs.{asked}"].__doc__,
        config=(tyro.conf.AvoidSubcommands,),
    )
    # After --help, which needs no jax.
    from train.loop import NotFinite, run
    from train.processes import begin, check_same, ending_together

    begin(**member)
    try:
        with ending_together(recipe.folder):
            check_same(recipe)
            run(recipe, Console())
    except (ValueError, NotFinite, OSError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # while the help was printed
        discard(sys.stdout)
