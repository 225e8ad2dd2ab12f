"""The checkpoints of a run: written while training goes on, complete or not there at all."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from train.step import TrainState

_PARTS = ("trained", "fixed", "ema")


class Checkpoints:
    """The last few states of a run, under its folder.

    FOLDER/STEP/state is the `TrainState`, FOLDER/STEP/data where the reader of the data was.
    `sam_jax.load` reads the same.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def latest(self) -> int | None:
        """The step of the last complete checkpoint."""
        return max(ocp.utils.checkpoint_steps(self._manager.directory), default=None)

    def save(self, step: int, state: TrainState, data: dict[str, Any]) -> None:
        """Begin to write; returns when the state may be given away.

        Raises:
          ValueError: this or the write before it failed; older checkpoints are as they were.
        """
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state.__dict__), data=ocp.args.JsonSave(data)
        )
        try:
            self._manager.save(step, args=items)
        except Exception as error:  # orbax passes on what its threads met
            raise self._failed(error) from error

    def restore(self, shapes: TrainState, step: int) -> tuple[TrainState, dict[str, Any]]:
        """A state, and where the data were.

        Args:
          shapes: shapes, dtypes and shardings of the state that is wanted, which may be on other
            devices than the one that was saved.

        Raises:
          ValueError: the checkpoint is of another model or recipe, or damaged.
        """
        self._check(shapes, step)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(shapes.__dict__), data=ocp.args.JsonRestore()
        )
        try:
            restored = self._manager.restore(step, args=items)
        except Exception as error:  # orbax raises many kinds
            raise ValueError(
                f"cannot go on from the checkpoint {self._manager.directory / str(step)}: it is "
                f"damaged, or of another model or recipe ({_first_line(error)}); use another "
                "--folder, or remove it"
            ) from error
        return TrainState(**restored["state"]), restored["data"]

    def wait(self) -> None:
        """Until everything is written.

        Raises:
          ValueError: a write failed; older checkpoints are as they were.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # orbax passes on what its threads met
            raise self._failed(error) from error

    def close(self) -> None:
        self._manager.close()

    def _check(self, shapes: TrainState, step: int) -> None:
        """Parameters have the wanted names and shapes."""
        path = self._manager.directory / str(step)
        try:
            with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
                tree = handler.metadata(path / "state").tree
            found = {part: {name: x.shape for name, x in tree[part].items()} for part in _PARTS}
        except Exception as error:  # orbax raises many kinds
            raise ValueError(
                f"the checkpoint {path} is damaged ({_first_line(error)}); remove it to go on from "
                "an earlier one"
            ) from error
        for part in _PARTS:
            wanted = {name: x.shape for name, x in getattr(shapes, part).items()}
            differ = sorted(
                name
                for name in found[part].keys() | wanted.keys()
                if found[part].get(name) != wanted.get(name)
            )
            if differ:
                had, has = found[part].get(differ[0], "none"), wanted.get(differ[0], "none")
                raise ValueError(
                    f"the checkpoint {path} is of another model or recipe: {len(differ)} arrays of "
                    f"{part!r} differ, such as {differ[0]}, whose shape is {had} there and {has} "
                    "here; use another --folder"
                )

    def _failed(self, error: Exception) -> ValueError:
        return ValueError(
            f"cannot write a checkpoint to {self._manager.directory}: {_first_line(error)}; the "
            f"last complete one is of step {self.latest()}"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def abstract(state: Any, shardings: Any) -> Any:
    """Shapes with shardings."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state,
        shardings,
    )
