import os
import re
import signal
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib

import pytest

import sam_jax
from sam_jax.cli import main


def test_help_explains_and_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for part in (
        "pip install 'sam_jax[demo]'",
        "sam-jax demo truck.jpg bedroom.mp4",
        "contains a token",
        "default: 127.0.0.1",
        "--max-upload",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["missing.png"], "no such file: missing.png"),
        (["."], "is a folder"),
        (["--port", "70000"], "--port 70000 must lie in 0..65535"),
        (["--max-upload", "0"], "--max-upload 0 must be above 0"),
        (["--idle-minutes", "-1"], "--idle-minutes -1.0 must be above 0"),
        (["--host", "192.0.2.1", "--port", "0"], "cannot listen on --host 192.0.2.1"),
        (["--model", "nothing", "--port", "0"], "nothing"),
        (["--text-encoder", "clip", "--port", "0"], "brings its own along"),
    ],
)
def test_what_cannot_work_is_refused_before_it_listens(args, told, capsys):
    assert main(["demo", *args]) == 2
    captured = capsys.readouterr()
    assert told in captured.err and "open http" not in captured.out


def test_files_that_the_page_does_not_open_are_refused(tmp_path, docs_media, capsys):
    from sam_jax.demo.kinds import kind_of

    assert kind_of(docs_media / "clip.mp4") == "video"
    assert kind_of(docs_media / "coffee.jpg") == "picture"

    def chunk(content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
        )

    header = chunk(struct.pack(">4sIIBBBBB", b"IHDR", 60000, 60000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT")
    converted = f"ffmpeg -i '{tmp_path}/my holiday.mp4' '{tmp_path}/my holiday-converted.mp4'"
    for name, content, message in (
        ("my holiday.mp4", b"RIFF\x10\x00\x00\x00AVI LIST" + bytes(16), converted),
        ("empty.png", b"", "empty.png is empty"),
        ("bomb.png", bomb, "bomb.png cannot be read as a picture: Image size"),
        ("cut.png", bomb[:8] + b"\x7f" + bomb[9:], "cut.png cannot be read as a picture"),
    ):
        (tmp_path / name).write_bytes(content)
        assert main(["demo", str(tmp_path / name), "--model", "nothing"]) == 2
        assert message in capsys.readouterr().err


def test_a_model_without_text_needs_no_encoder(small_tracker, tmp_path, capsys):
    sam_jax.save(small_tracker(), tmp_path / "small.safetensors")
    model = ["--model", str(tmp_path / "small.safetensors")]
    assert main(["demo", "--text-encoder", "clip", "--port", "0", *model]) == 2
    assert "takes no text; leave the option out" in capsys.readouterr().err


def test_a_missing_package_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["demo"]) == 2
    assert "needs uvicorn: pip install 'sam_jax[demo]'" in capsys.readouterr().err


def test_other_machines_need_the_token_of_the_address(tmp_path):
    program = "import sys; from sam_jax.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "demo", "a.png", "--host", "0.0.0.0", "--port", "0"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        try:
            port, token = re.search(r":(\d+)/#token=(\S+)", server.stdout.readline()).groups()
            address = f"http://127.0.0.1:{port}/api/info"
            asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(asked) as answer:
                assert b'"name":"a.png","kind":"picture"' in answer.read()
            with pytest.raises(urllib.error.HTTPError, match="401") as refused:
                urllib.request.urlopen(address)
            refused.value.close()
        finally:
            server.send_signal(signal.SIGHUP)  # the terminal was closed; it becomes a SIGTERM
    assert not list(tmp_path.glob("sam_jax_demo_*"))
