"""What the folder of a run says about it: the recipe as it was run, and the model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from sam_jax.checkpoint.config_json import to_json
from sam_jax.config import Config
from sam_jax.files import replacing
from train.config import Recipe

_RECIPE, _MODEL = "recipe.json", "model.json"


def describe(recipe: Recipe, config: Config, folder: Path) -> None:
    """Write it, for people and for `sam_jax.load`."""
    lora = recipe.lora and {"alpha": recipe.lora.alpha, "rank": recipe.lora.rank}
    for name, content in {
        _RECIPE: dataclasses.asdict(recipe),
        _MODEL: {"config": json.loads(to_json(config)), "lora": lora},
    }.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1), "utf-8")


def changed(recipe: Recipe, folder: Path) -> list[str]:
    """Fields that differ from the recipe that the folder was last run with, such as "steps".

    Raises:
      ValueError: low-rank additions would count more or less than they did while they learned.
    """
    try:
        before = _flat(json.loads((folder / _RECIPE).read_text("utf-8")))
    except (OSError, ValueError):  # not written yet, or lost: nothing to compare with
        return []
    now = _flat(json.loads(json.dumps(dataclasses.asdict(recipe))))
    differ = sorted(
        name for name in now.keys() | before.keys() if now.get(name) != before.get(name)
    )
    alpha = "lora.alpha"
    if alpha in differ and alpha in now and alpha in before:
        raise ValueError(
            f"{alpha} was {before[alpha]} in {folder} and is {now[alpha]}: the additions learned so"
            " far would count otherwise; keep it, or use another folder"
        )
    return [name for name in differ if name != "folder"]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return flatten_dict(values, sep=".")
