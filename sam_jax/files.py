"""Writing files so that nothing is lost: prove the place first, never leave half a file."""

import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path


def check_output_dir(path: str | os.PathLike) -> Path:
    """Create a folder if need be and prove that files can be written there, before any work.

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
def output_dir(path: Path) -> Generator[None]:
    """`check_output_dir`; if nothing is written inside the block, what it made is removed again."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        check_output_dir(path)
        yield
    finally:
        with suppress(OSError):  # not empty
            for folder in missing:
                folder.rmdir()


def check_writable(path: str | os.PathLike) -> None:
    """Find out before any work whether the file `path` can be written.

    Raises:
      ValueError: the folder is missing or read-only, or `path` is itself a folder or too long.
    """
    path = Path(path)
    folder = path.parent
    if not os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
        raise ValueError(f"cannot write {path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write {path}: no permission to write in {folder}")
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from error
    if is_folder:
        raise ValueError(f"cannot write {path}: it is a folder")


@contextmanager
def replacing(path: str | os.PathLike) -> Generator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends and removed when it fails.

    Beside it, because a rename is only atomic within one file system; a name of its own, because
    two threads may write one path; only a name, so that the file gets the permissions of any new
    one. After an error, what `path` held before is untouched.

    Raises:
      ValueError: `path` cannot be written, or the disk is full.
    """
    path = Path(path)
    check_writable(path)
    temporary = path.with_name(f".sam_jax_{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_replaceable(path: str | os.PathLike, is_ours: Callable[[Path], bool]) -> None:
    """Find out before any work whether `path` can become a folder of ours.

    Args:
      is_ours: whether a folder that is not empty may be replaced.

    Raises:
      ValueError: it is a file, or holds something else.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"cannot write the folder {path}: it is a file")
    if path.is_dir() and any(path.iterdir()) and not is_ours(path):
        raise ValueError(
            f"the folder {path} holds something else, which would be lost: name another one"
        )


@contextmanager
def replacing_dir(path: str | os.PathLike, is_ours: Callable[[Path], bool]) -> Generator[Path]:
    """A folder beside `path`, renamed to it when the block ends and removed when it fails.

    Args:
      is_ours: as for `check_replaceable`.

    Raises:
      ValueError: as `check_replaceable`, or it cannot be written, or the disk is full.
    """
    path = Path(os.path.realpath(path))  # of a link, the folder is replaced, and not the link
    check_replaceable(path, is_ours)
    temporary, before = (path.with_name(f".sam_jax_{uuid.uuid4().hex}.tmp") for _ in range(2))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        if path.exists():
            os.rename(path, before)
        try:
            os.rename(temporary, path)
        except OSError:
            if before.exists():
                os.rename(before, path)
            raise
    except OSError as error:
        raise ValueError(f"cannot write the folder {path}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(before, ignore_errors=True)
