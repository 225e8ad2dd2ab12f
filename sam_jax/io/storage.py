"""Files on disk or in a bucket, by their path or address: /data/a.jpg, gs://bucket/a.jpg.

What is not on disk goes through fsspec and the package that knows the protocol.
"""

import errno
import glob
import os
import posixpath
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sam_jax.files import check_output_dir, replacing


def is_remote(where: str) -> bool:
    """Whether `where` is an address such as gs://bucket/folder, and no path."""
    return "://" in where


def join(folder: str, name: str) -> str:
    """What `name` is called in `folder`; a name that is a whole path or address stays."""
    if is_remote(name) or os.path.isabs(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def parent(where: str) -> str:
    return where.rpartition("/")[0] if is_remote(where) else os.path.dirname(where)


def full_address(where: str) -> str:
    """An address as `matching` spells it; a path stays as it is."""
    if not is_remote(where):
        return where
    system, path = _remote(where)
    return system.unstrip_protocol(path)


def is_folder(where: str) -> bool:
    """Raises ModuleNotFoundError for an address whose package is missing, as all here do."""
    if not is_remote(where):
        return os.path.isdir(where)
    system, path = _remote(where)
    return bool(system.isdir(path))


def files_in(folder: str) -> dict[str, int]:
    """Names, relative to the folder, of all files below it, in order, and their sizes in bytes.

    Of hidden files and folders (.git, .DS_Store) it knows nothing. A folder that is not there has
    none. Links to folders are followed, but not back up.
    """
    if is_remote(folder):
        system, path = _remote(folder)
        start = path.rstrip("/") + "/"
        system.invalidate_cache()  # others write here, too
        with suppress(FileNotFoundError):
            found = system.find(path, detail=True).items()
            sizes = {name.removeprefix(start): int(entry["size"] or 0) for name, entry in found}
            return dict(sorted(_visible(sizes)))
        return {}
    return dict(sorted(_below(folder, "")))


def matching(pattern: str) -> dict[str, int]:
    """Paths or addresses of the files that a pattern with * ? [] or ** describes, and sizes."""
    if is_remote(pattern):
        system, path = _remote(pattern)
        found = {
            system.unstrip_protocol(name): int(entry["size"] or 0)
            for name, entry in system.glob(path, detail=True).items()
            if entry["type"] == "file"
        }
        return dict(sorted(found.items()))
    paths = sorted(glob.glob(pattern, recursive=True))
    return {path: os.path.getsize(path) for path in paths if os.path.isfile(path)}


def size_of(where: str) -> int | None:
    """In bytes; None if there is no such file."""
    try:
        if is_remote(where):
            system, path = _remote(where)
            system.invalidate_cache(parent(path))
            return int(system.size(path) or 0) if system.isfile(path) else None
        return os.path.getsize(where) if os.path.isfile(where) else None
    except OSError:
        return None


def require_packages(names: Iterable[str]) -> None:
    """Proves that what addresses among the names need is there, before the first one is opened.

    Raises:
      ModuleNotFoundError: it is not. Protocols that nobody knows are not looked at.
    """
    one_each = {name.partition("://")[0]: name for name in names if is_remote(name)}
    for name in one_each.values():
        with suppress(ValueError):
            _remote(name)


def read(where: str) -> bytes:
    """Raises OSError: there is no such file, or it cannot be read."""
    if is_remote(where):
        system, path = _remote(where)
        return bytes(system.cat_file(path))
    return Path(where).read_bytes()


def fetch_folder(where: str, target: Path) -> None:
    """Copies a folder of files from a bucket to the disk."""
    system, path = _remote(where)
    system.get(path.rstrip("/") + "/", f"{target}/", recursive=True)


def write(where: str, data: bytes) -> None:
    """A whole file or, if that is interrupted at any moment, none.

    On disk by another name and a rename; an object in a bucket appears once it is complete.

    Raises:
      ValueError, OSError: it cannot be written.
    """
    if is_remote(where):
        system, path = _remote(where)
        system.pipe_file(path, data)
        return
    with replacing(where) as temporary:
        _write_through(temporary, data)


def create(where: str, data: bytes) -> bool:
    """`write`, unless there is such a file; returns whether it was written.

    Of several processes on one disk that try at the same time, one succeeds. In a bucket, also one
    that is mounted, and on other disks without hard links, several may think so; they read it again
    to know.
    """
    if is_remote(where):
        return _create_seldom_twice(where, data)
    temporary = Path(where).with_name(f".sam_jax_{uuid.uuid4().hex}.tmp")
    try:
        _write_through(temporary, data)
        os.link(temporary, where)  # unlike a rename, it fails if the name is taken
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create_seldom_twice(where, data)
    finally:
        with suppress(OSError):
            temporary.unlink()


_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK)


def _create_seldom_twice(where: str, data: bytes) -> bool:
    if size_of(where) is not None:
        return False
    write(where, data)
    return True


def delete(where: str) -> None:
    """Removes a file, if it is there."""
    with suppress(FileNotFoundError):
        if is_remote(where):
            system, path = _remote(where)
            system.rm_file(path)
        else:
            os.unlink(where)


def check_folder(where: str) -> None:
    """Creates a folder on disk if need be, and proves that it can be written.

    Raises:
      ValueError: it cannot.
    """
    if not is_remote(where):
        check_output_dir(where)
        return
    probe = join(where, ".sam_jax_probe")
    try:
        write(probe, b"")
        delete(probe)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # of several libraries
        raise ValueError(f"cannot write to the output folder {where}: {error}") from error


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _below(folder: str, start: str, above: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """Args:
    above: real paths of the folders on the way down.
    """
    here = os.path.realpath(os.path.join(folder, start))
    if here in above:
        return
    try:
        entries = list(os.scandir(os.path.join(folder, start)))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        name = posixpath.join(start, entry.name)
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _below(folder, name, [*above, here])
        elif entry.is_file():
            yield name, entry.stat().st_size


def _visible(sizes: dict[str, int]) -> Iterator[tuple[str, int]]:
    for name, size in sizes.items():
        if not any(part.startswith(".") for part in name.split("/")):
            yield name, size


def _remote(where: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it."""
    protocol = where.partition("://")[0]
    try:
        import fsspec

        return fsspec.core.url_to_fs(where)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{where} needs a package for {protocol}:// addresses: pip install 'sam_jax[cloud]'"
            f" ({error})"
        ) from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}; gs://, s3:// or a path were expected") from error
