"""The folder of a training run, as far as it is a model: what was trained, and the latest weights.

    <folder>/model.json             {"config": the model's, "lora": {"alpha": 16, "rank": 8}}; or
                                    "lora": null
    <folder>/checkpoints/<step>/    written by orbax; its item "state" has "trained", "fixed" and
                                    "ema", dicts of our paths -> arrays, beside other things

"ema" is an average of "trained", or empty. A kernel K of "fixed" may have low-rank additions
`K/lora_a` and `K/lora_b` in "trained", whose product counts alpha / rank times.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam_jax.checkpoint import config_json
from sam_jax.checkpoint.error import CheckpointError
from sam_jax.config import Config

MODEL, CHECKPOINTS, STATE = "model.json", "checkpoints", "state"
LORA_A, LORA_B = "/lora_a", "/lora_b"
_WEIGHTS = ("trained", "fixed", "ema")


class RunFolder(NamedTuple):
    """The latest weights of a run.

    Attributes:
      params: our paths -> float32 arrays, low-rank additions merged.
      config: the model.
      step: after how many steps of the optimiser.
      averaged: they are the run's average of the weights.
    """

    params: dict[str, np.ndarray]
    config: Config
    step: int
    averaged: bool


def merge_lora(flat: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Add `scale * (a @ b)` to every kernel that has additions a [i r] and b [r o]; drop those.

    Args:
      flat: our paths -> arrays, of numpy or jax.
    """
    merged = {path: x for path, x in flat.items() if not path.endswith((LORA_A, LORA_B))}
    for path in flat:
        if path.endswith(LORA_A):
            kernel = path.removesuffix(LORA_A)
            merged[kernel] = flat[kernel] + scale * (flat[path] @ flat[kernel + LORA_B])
    return merged


def notes(folder: str | Path) -> dict[str, str]:
    """How the weights of a run came about: its recipe, and what its last evaluation found. JSON."""
    folder, found = Path(folder), {}
    with contextlib.suppress(OSError):
        found["recipe"] = (folder / "recipe.json").read_text("utf-8")
    with contextlib.suppress(OSError, IndexError):
        found["scores"] = (folder / "scores.jsonl").read_text("utf-8").splitlines()[-1]
    return found


def is_run_folder(folder: Path) -> bool:
    return (folder / MODEL).is_file() or (folder / CHECKPOINTS).is_dir()


def read_run_folder(folder: str | Path) -> RunFolder:
    """The model of the latest finished checkpoint; the run may be going on.

    Raises:
      CheckpointError: no folder of a run, no finished checkpoint, or a damaged one; or
        orbax-checkpoint is not installed.
    """
    folder = Path(folder).resolve()
    config, lora_scale = _read_model(folder)
    step = _latest_step(folder)
    path = folder / CHECKPOINTS / str(step)
    state = _restore(path / STATE)
    params = state["fixed"] | state["trained"] | state["ema"]
    params = {name: np.asarray(x, np.float32) for name, x in params.items()}
    additions = [name for name in params if name.endswith((LORA_A, LORA_B))]
    if additions:
        if lora_scale is None:
            raise CheckpointError(
                f"{path} has low-rank additions, {additions[0]} and others, and {folder / MODEL} "
                "does not say how they are scaled"
            )
        try:
            params = merge_lora(params, lora_scale)
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{path}: additions do not fit their kernels: {error}") from error
    return RunFolder(params, config, step, averaged=bool(state["ema"]))


def _read_model(folder: Path) -> tuple[Config, float | None]:
    path = folder / MODEL
    if not path.is_file():
        if not is_run_folder(folder):
            raise CheckpointError(
                f"{folder} is not the folder of a training run: it has no {MODEL}"
            )
        _latest_step(folder)  # without any, the run only began
    try:
        values = json.loads(path.read_text("utf-8"))
        config, lora = config_json.from_json(json.dumps(values["config"])), values["lora"]
        return config, lora and lora["alpha"] / lora["rank"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path} does not describe a model: {error!r}") from error


def _latest_step(folder: Path) -> int:
    ocp = _orbax()
    checkpoints = folder / CHECKPOINTS
    # What a killed run has half written has another name, or lacks a mark, until it is whole.
    steps = ocp.utils.checkpoint_steps(checkpoints) if checkpoints.is_dir() else []
    if not steps:
        content = sorted(item.name for item in checkpoints.glob("*"))
        raise CheckpointError(
            f"the run {folder} has no finished checkpoint yet: {checkpoints} holds "
            f"{content[:5] or 'nothing'}"
        )
    return max(steps)


def _restore(path: Path) -> dict[str, Any]:
    """The weights of a state, as numpy arrays, without the optimiser's."""
    ocp = _orbax()
    import jax

    try:
        with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
            tree = handler.metadata(path).tree
            wanted = {name: tree[name] for name in _WEIGHTS}
            how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
            arguments = ocp.args.PyTreeRestore(wanted, restore_args=how, partial_restore=True)
            return handler.restore(path, args=arguments)
    except Exception as error:  # of orbax, tensorstore, zarr or the disk
        reason = str(error).strip().partition("\n")[0][:300]
        raise CheckpointError(
            f"{path} is damaged or not of a run: {type(error).__name__}: {reason}. If an earlier "
            "step is whole, remove this one's folder"
        ) from error


def _orbax() -> Any:
    try:
        import orbax.checkpoint as ocp
    except ModuleNotFoundError as error:
        raise CheckpointError(
            "reading the folder of a training run needs orbax-checkpoint: "
            'pip install "sam_jax[train]"'
        ) from error
    return ocp
