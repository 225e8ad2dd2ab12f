"""What all formats share: one error type, and files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, written or matched to a model; the message says why."""


def check_writable(path: Path) -> None:
    """Find out before any work whether `path` can be written.

    Raises:
      CheckpointError: the folder is missing, read-only, or `path` is itself a folder.
    """
    folder = path.parent
    if not folder.is_dir():
        raise CheckpointError(f"cannot write {path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CheckpointError(f"cannot write {path}: no permission to write in {folder}")
    if path.is_dir():
        raise CheckpointError(f"cannot write {path}: it is a folder")


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends and removed when it fails.

    Beside it, because a rename is only atomic within one file system.

    Raises:
      CheckpointError: `path` cannot be written, or the disk is full.
    """
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
