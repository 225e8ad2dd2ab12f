"""The server's private folder, which goes with it; what killed servers left goes, too.

A server holds a lock on a file of its folder as long as it lives, whatever ends it. Where there are
no such locks (Windows), the folders of killed servers stay.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None

_PREFIX = "sam_jax_demo_"
_LOCK = "lock"


@contextmanager
def private_folder() -> Generator[Path]:
    """A new folder that nobody else may open, below the system's for temporary files."""
    root = Path(tempfile.mkdtemp(prefix=_PREFIX))  # 0700
    try:
        if fcntl is None:
            yield root
            return
        with (root / "new").open("xb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (root / "new").rename(root / _LOCK)  # so that it is never there without being locked
            for other in root.parent.glob(f"{_PREFIX}*"):
                if other != root:
                    _remove_if_stale(other)
            yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _remove_if_stale(folder: Path) -> None:
    """Removes it if it is ours, private, and has a lock that nobody holds."""
    assert fcntl is not None
    try:
        found = folder.lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if not is_ours or found.st_mode & 0o077:
            return
        # Not to wait for a writer, should it be a pipe.
        with open(folder / _LOCK, "rb", opener=_without_waiting) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # its server lives, or it is of somebody else, or gone
        return
