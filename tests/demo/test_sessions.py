"""Sessions and the worker, without a server."""

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from sam_jax.demo import folder
from sam_jax.demo.refusal import Refusal
from sam_jax.demo.sessions import Sessions
from sam_jax.demo.settings import Settings
from sam_jax.demo.worker import Worker


class Kept:
    def __init__(self, nbytes):
        self.nbytes, self.is_closed = nbytes, False

    def close(self):
        self.is_closed = True


def test_a_session_ends_with_all_it_has(tmp_path):
    sessions = Sessions(Settings(), tmp_path)
    session = sessions.open()
    first, second = Kept(1), Kept(2)
    session.put("picture", first)
    session.put("picture", second)
    assert first.is_closed and not second.is_closed
    file = session.folder / "file"
    file.write_bytes(b"x")
    assert session.folder.stat().st_mode & 0o077 == 0  # private
    sessions.end(session)
    assert second.is_closed and not list(tmp_path.iterdir())
    for use in (lambda: session.folder, lambda: session.put("picture", Kept(1))):
        with pytest.raises(Refusal, match="has ended"):
            use()
    with pytest.raises(Refusal, match="reload") as refused:
        sessions.find(session.id)
    assert refused.value.status_code == 410


def test_silent_sessions_expire(tmp_path):
    sessions = Sessions(Settings(idle_seconds=100), tmp_path)
    silent, loud = sessions.open(), sessions.open()
    silent.last_seen -= 101
    loud.last_seen -= 99
    sessions.find(loud.id)
    sessions.expire()
    assert silent.cancelled.is_set() and not loud.cancelled.is_set() and len(sessions) == 1


def test_too_many_sessions(tmp_path):
    sessions = Sessions(Settings(max_sessions=2), tmp_path)
    first, second = sessions.open(), sessions.open()
    with pytest.raises(Refusal, match="no sessions left") as refused:
        sessions.open()
    assert refused.value.status_code == 503
    second.last_seen -= 200  # forgotten by its person, as it seems
    first.last_seen -= 100
    third = sessions.open()
    assert second.cancelled.is_set() and not first.cancelled.is_set() and len(sessions) == 2
    assert sessions.find(third.id) is third


def test_memory_and_disk_are_bounded(tmp_path):
    sessions = Sessions(Settings(memory=100, disk=50_000), tmp_path)
    first, second = sessions.open(), sessions.open()
    first.put("video", Kept(60))
    with pytest.raises(Refusal, match="no memory left"):
        sessions.make_room(second, memory=60)
    first.last_seen -= 100
    sessions.make_room(second, memory=60)
    assert first.cancelled.is_set()
    (second.folder / "file").write_bytes(bytes(30_000))
    with pytest.raises(Refusal, match="no disk space left"):
        sessions.make_room(second, disk=30_000)


def test_the_worker_takes_turns(tmp_path):
    sessions = Sessions(Settings(), tmp_path)
    busy, other = sessions.open(), sessions.open()
    worker = Worker(pending=8)
    hold, done = threading.Event(), []
    first = worker.submit(busy, hold.wait)
    futures = [worker.submit(busy, done.append, f"busy {i}") for i in range(3)]
    futures.append(worker.submit(other, done.append, "other"))
    hold.set()
    assert first.result(5)
    for future in futures:
        future.result(5)
    assert done.index("other") <= 1  # not behind all of the busy one's
    worker.close(5)


def test_the_worker_refuses_and_cancels(tmp_path):
    sessions = Sessions(Settings(), tmp_path)
    session, other = sessions.open(), sessions.open()
    worker = Worker(pending=2)
    hold, begun = threading.Event(), threading.Event()
    running = worker.submit(other, lambda: (begun.set(), hold.wait()))
    begun.wait(5)
    waiting = [worker.submit(session, int) for _ in range(2)]
    with pytest.raises(Refusal, match="waiting already") as refused:
        worker.submit(session, int)
    assert refused.value.status_code == 429
    sessions.end(session)
    hold.set()
    running.result(5)
    worker.submit(other, int).result(5)
    assert all(future.cancelled() for future in waiting)
    failing = worker.submit(other, int, "x")
    with pytest.raises(ValueError, match="invalid literal"):
        failing.result(5)
    worker.close(5)
    with pytest.raises(Refusal, match="stopping"):
        worker.submit(other, int)


def test_the_servers_folder_is_removed(serve):
    with serve() as server:
        with server.tab() as tab:
            session = server.demo.sessions.find(tab.headers["x-session"])
            root = session.folder.parent
            assert root.stat().st_mode & 0o077 == 0
            assert tab.delete("/api/session").status_code == 200
            assert tab.post("/api/session/ping").status_code == 410
        assert isinstance(root, Path) and root.exists()
    deadline = time.monotonic() + 5
    while root.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not root.exists()


def test_folders_of_killed_servers_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = f"""
import os, runpy, signal, sys, tempfile
tempfile.tempdir = {str(tmp_path)!r}
with runpy.run_path({folder.__file__!r})["private_folder"]() as root:
    (root / "upload").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "upload").exists() and left.stat().st_mode & 0o077 == 0
    (tmp_path / "sam_jax_demo_of_people").mkdir(0o700)
    shutil.copytree(left, tmp_path / "sam_jax_demo_open")
    (tmp_path / "sam_jax_demo_open").chmod(0o755)
    (tmp_path / "sam_jax_demo_link").symlink_to(tmp_path / "sam_jax_demo_open")
    with folder.private_folder() as first, folder.private_folder() as second:
        assert first != second and first.exists() and not left.exists()
        names = {path.name for path in tmp_path.iterdir()} - {first.name, second.name}
        assert names == {"sam_jax_demo_of_people", "sam_jax_demo_open", "sam_jax_demo_link"}
    assert not first.exists() and not second.exists()
