import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from sam_jax.files import check_output_dir, replacing, replacing_dir


def test_folders_are_created_and_left_empty(tmp_path):
    folder = check_output_dir(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert check_output_dir(str(folder)) == folder
    assert list(folder.iterdir()) == []


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write to the output folder .*file: it is not a"):
        check_output_dir(tmp_path / "file")
    with pytest.raises(ValueError, match=r"cannot write to the output folder .*below: Not a dir"):
        check_output_dir(tmp_path / "file" / "below")


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match=r"cannot write to the output folder .*Permission denied"):
        check_output_dir(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that even root cannot write to")
def test_a_folder_that_no_one_can_write_to():
    with pytest.raises(ValueError, match="cannot write to the output folder /proc/sam_jax: "):
        check_output_dir("/proc/sam_jax")


def test_an_error_half_way_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before"
    with replacing(path) as temporary:
        temporary.write_bytes(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert [child.name for child in tmp_path.iterdir()] == ["a.bin"]


def test_two_threads_write_one_path(tmp_path):
    both = Barrier(2, timeout=10)

    def write(content):
        with replacing(tmp_path / "a.bin") as temporary:
            temporary.write_bytes(content)
            both.wait()
            assert temporary.read_bytes() == content
            both.wait()

    contents = [b"one", b"two"]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, contents))
    assert (tmp_path / "a.bin").read_bytes() in contents
    assert os.listdir(tmp_path) == ["a.bin"]


def test_the_permissions_are_those_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a.bin") as temporary:
            temporary.write_bytes(b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


def test_the_longest_names(tmp_path):
    with replacing(tmp_path / ("a" * 253)) as temporary:
        temporary.write_bytes(b"")
    for path in (tmp_path / ("b" * 300), tmp_path / ("b" * 300) / "c"):
        with pytest.raises(ValueError, match=r"cannot write .*(too long|exist)"), replacing(path):
            pass
    assert os.listdir(tmp_path) == ["a" * 253]


def _has_mark(folder):
    return {file.name for file in folder.iterdir()} == {"mark"}


def test_a_folder_appears_all_at_once(tmp_path):
    path = tmp_path / "a" / "b"
    with replacing_dir(path, _has_mark) as temporary:
        (temporary / "mark").write_text("one")
        assert not path.exists()
    with replacing_dir(path, _has_mark) as temporary:  # over one of its kind
        (temporary / "mark").write_text("two")
        assert (path / "mark").read_text() == "one"
    assert (path / "mark").read_text() == "two"
    with pytest.raises(KeyboardInterrupt), replacing_dir(path, _has_mark) as temporary:
        (temporary / "half").touch()
        raise KeyboardInterrupt
    assert (path / "mark").read_text() == "two"
    assert os.listdir(path.parent) == ["b"] and os.listdir(path) == ["mark"]


def test_a_folder_may_be_there_but_empty(tmp_path):
    with replacing_dir(tmp_path / "a", _has_mark):
        (tmp_path / "a").mkdir()
    assert os.listdir(tmp_path) == ["a"]


def test_of_a_link_the_folder_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with replacing_dir(tmp_path / "link", _has_mark) as temporary:
        (temporary / "mark").touch()
    assert (tmp_path / "real" / "mark").exists() and (tmp_path / "link").is_symlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "real"]


def test_what_else_is_there_is_not_replaced(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    (tmp_path / "file").touch()
    for name, message in (
        ("other", "other holds something else, which would be lost"),
        ("file", "cannot write the folder .*file: it is a file"),
        ("file/below", "cannot write the folder .*below: .*File exists"),
    ):
        with pytest.raises(ValueError, match=message), replacing_dir(tmp_path / name, _has_mark):
            raise AssertionError("it must not come to this")
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]
    assert os.listdir(tmp_path / "other") == ["mine"]
