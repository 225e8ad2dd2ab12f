"""Writing files so that nothing is lost: prove the folder first, never leave half a file."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def check_output_dir(path: str | os.PathLike) -> Path:
    """Creates a folder if need be and proves that files can be written there, before any work.

    Raises:
      ValueError: it cannot be created, is not a folder, or cannot be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".sam_jax_"):
            pass
    except OSError as error:
        reason = "it is not a folder" if folder.exists() and not folder.is_dir() else error.strerror
        raise ValueError(f"cannot write to the output folder {folder}: {reason}") from error
    return folder


@contextmanager
def replacing(path: str | os.PathLike) -> Generator[IO[bytes], None, None]:
    """A binary file that appears under `path` only when it is complete.

    It is written beside its destination and renamed; after an error nothing remains of it, and
    what `path` held before is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
