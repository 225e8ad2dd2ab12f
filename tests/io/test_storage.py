"""The same things by paths and by addresses; memory:// stands for a bucket."""

import errno
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sam_jax.io import storage


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "disk" else f"memory://{uuid.uuid4().hex}"


def test_files_by_name(folder: str) -> None:
    if not storage.is_remote(folder):
        for name in ("a/b", "a/.git"):
            (Path(folder) / name).mkdir(parents=True)
    storage.check_folder(folder)
    assert storage.files_in(folder) == {} == storage.files_in(f"{folder}/none")
    contents = {"a/b/2.txt": b"22", "a/1.txt": b"1", "a/.git/x": b"xx", ".hidden": b"", "z": b"333"}
    for name, data in contents.items():
        storage.write(storage.join(folder, name), data)
    assert list(storage.files_in(folder).items()) == [("a/1.txt", 1), ("a/b/2.txt", 2), ("z", 3)]
    found = storage.matching(f"{folder}/**/*.txt")
    root = storage.full_address(folder).rstrip("/") + "/"
    assert {where.removeprefix(root): size for where, size in found.items()} == {
        "a/1.txt": 1,
        "a/b/2.txt": 2,
    }
    assert storage.read(next(iter(found))) == b"1"
    assert storage.size_of(f"{folder}/z") == 3 and storage.size_of(f"{folder}/y") is None
    assert storage.is_folder(f"{folder}/a") and not storage.is_folder(f"{folder}/z")
    storage.write(f"{folder}/z", b"4")
    assert storage.read(f"{folder}/z") == b"4"
    storage.delete(f"{folder}/z")
    storage.delete(f"{folder}/z")
    with pytest.raises(OSError):
        storage.read(f"{folder}/z")


def test_create_does_not_replace(folder: str) -> None:
    assert storage.create(f"{folder}/m", b"1")
    assert not storage.create(f"{folder}/m", b"2")
    assert storage.read(f"{folder}/m") == b"1" and list(storage.files_in(folder)) == ["m"]


def test_create_where_there_are_no_hard_links(tmp_path: Path, monkeypatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    file = tmp_path / "x"
    assert storage.create(str(file), b"1") and not storage.create(str(file), b"2")
    assert file.read_bytes() == b"1" and list(tmp_path.iterdir()) == [file]


def test_links_to_folders_are_followed_but_not_back_up(tmp_path: Path) -> None:
    for name in ("in/a", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x.png").write_bytes(b"xx")
    (tmp_path / "in" / "linked").symlink_to("../elsewhere")
    (tmp_path / "in" / "a" / "up").symlink_to("..")
    assert list(storage.files_in(str(tmp_path / "in"))) == ["a/x.png", "linked/x.png"]


def test_of_many_that_create_one_succeeds(tmp_path: Path) -> None:
    where = str(tmp_path / "m")
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda i: storage.create(where, b"%d" % i * 1000), range(64)))
    assert sum(created) == 1
    assert storage.read(where) == b"%d" % created.index(True) * 1000
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


def test_names_and_parents() -> None:
    assert storage.join("/a", "b/c") == "/a/b/c" and storage.join("gs://x/", "b") == "gs://x/b"
    assert storage.join("gs://x", "/a/b") == "/a/b" and storage.join("/a", "s3://b") == "s3://b"
    assert storage.parent("gs://x/y/z.txt") == "gs://x/y" and storage.parent("p.txt") == ""


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import fsspec

    def missing(where: str) -> None:
        raise ImportError("Please install gcsfs to access Google Storage")

    with monkeypatch.context() as patch:
        patch.setattr(fsspec.core, "url_to_fs", missing)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'sam_jax\[cloud\]'.*gcsfs"):
            storage.read("gs://bucket/a.jpg")
        with pytest.raises(ModuleNotFoundError, match="cloud"):
            storage.require_packages(["a.jpg", "gs://bucket/a.jpg"])
    storage.require_packages(["a.jpg", "nobody-knows://a.jpg", "memory://a.jpg"])
    with pytest.raises(ValueError, match="Protocol not known: foo"):
        storage.read("foo://bucket/a.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot write to the output folder"):
        storage.check_folder(str(tmp_path / "file" / "out"))
