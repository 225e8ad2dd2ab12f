"""What the benchmark measures on accelerators; its workers run here on CPU, on a small model."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import accelerator, accelerator_ours
from benchmarks.accelerator import HEADER, PARTS, Side
from benchmarks.parts import chosen
from benchmarks.table import show
from benchmarks.worker import Stopped, Worker
from sam_jax.presets import PRESETS

NANO = "sam2.1-hiera-nano"


def asked(part: str, clip: Any, **more: Any) -> dict[str, Any]:
    """The case of a part, with nano."""
    return PARTS[part].case | {
        "model": NANO, "checkpoint": None, "dtype": "bfloat16", "video": clip, **more,
    }  # fmt: skip


@pytest.fixture
def clip(drifting: Callable[..., Any]) -> Any:
    return list(drifting(3, 40, 60))


def test_parts() -> None:
    assert {part.model for part in PARTS.values()} <= PRESETS.keys()
    assert chosen(("everything-tiny", "video-large"), PARTS) == [
        "everything-tiny", "video-large-1", "video-large-4", "video-large-16", "video-large-64",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("part", "each"), [("video-tiny-1", 3), ("clips-tiny-4", 8), ("pictures-tiny-4", 4)]
)
def test_our_side_runs(part: str, each: int, clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor is by the work of one frame or picture, however many a call takes."""
    monkeypatch.setattr(accelerator_ours, "_WINDOW", 2)
    accelerator_ours.prepare(asked(part, clip))()
    known = accelerator_ours.known()
    assert known["each"] == each and known["device"]
    assert 1e9 < known["flops"] < 1e11  # nano's encoder has 3 GFLOP


class Scripted:
    """Answers as told; an empty list of turns is a process that has stopped."""

    def __init__(self, python: str, module: str, threads: int) -> None:
        self.module, self.left, self.closed = module, [], False

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        common = {"each": 10, "peak_mb": 100.0, "device": "NVIDIA H200", "flops": 989e9}
        if request["do"] == "prepare":
            ours = self.module.endswith("ours")
            turns = {"eager": [9, 0.2, 0.4, 0.3], "compiled": []}
            self.left = [5, 0.1, 0.1, 0.1] if ours else turns.get(request["case"]["peer"], [1] * 4)
            return common | {"seconds": 30.0}
        if not self.left:
            raise Stopped("python", 1, "does not compile")
        return common | {"seconds": self.left.pop(0)}

    def close(self) -> None:
        assert not self.closed
        self.closed = True


def test_sides_take_turns_and_one_that_stops_stops_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "Worker", Scripted)
    turns: list[int] = []
    case = PARTS["video-tiny-1"].case
    rows = accelerator.measure("video-tiny-1", case, 3, 2, sys.executable, lambda: turns.append(1))
    ours = ["video-tiny-1", "10.00 (10.00-10.00)", "100.0", "1.00"]
    assert rows == [
        [*ours, "eager", "30.00 (20.00-40.00)", "3.00", "30", "100", "100"],
        [*ours, "compiled", "does not compile", "", "30", "100", ""],
        [*ours, "transformers", "100.00 (100.00-100.00)", "10.00", "30", "100", "100"],
    ]
    assert len(turns) == 4  # the first is not timed
    alone = accelerator.measure("video-tiny-1", case, 3, 2, None, lambda: None)
    assert alone == [[*ours, "", "", "", "30", "100", ""]]
    assert {len(row) for row in rows + alone} == {len(HEADER)}


def test_ours_that_stops_leaves_its_last_words() -> None:
    stopped = Side("ours", sys.executable, "benchmarks.missing", {}, 2)
    stopped.turn()
    stopped.close()
    ((name, words, *rest),) = accelerator.rows("video-tiny-1", stopped, [])
    assert name == "video-tiny-1" and "No module named" in words
    assert len(rest) == len(HEADER) - 2 and not any(rest)


def test_last_words_are_the_error_and_not_the_advice_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "torch._dynamo.exc.InternalTorchDynamoError: no [/such] op"
    (tmp_path / "advises.py").write_text(f"raise SystemExit({words + chr(10) + 'Set X=1'!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = Worker(sys.executable, "advises", 2)
    with pytest.raises(Stopped) as caught:
        worker.ask({"do": "run"})
    with pytest.raises(Stopped):  # its pipe is broken by now
        worker.ask({"do": "run"})
    worker.close()
    assert caught.value.last == words


def test_words_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(["a", "b"], [["no [/such] op", "x | y"]], "a note", tmp_path / "t.md")
    assert "no [/such] op" in capsys.readouterr().out
    assert "| no [/such] op | x \\| y |" in (tmp_path / "t.md").read_text()


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("part", "model", "peer", "each"),
    [
        ("video-tiny-4", NANO, "eager", 3),
        ("video-tiny-1", "sam2.1-hiera-tiny", "transformers", 3),  # not for nano's narrow memory
        ("pictures-tiny-4", NANO, "eager", 4),
        ("pictures-tiny-4", NANO, "transformers", 4),
    ],
)
def test_peers_run(part: str, model: str, peer: str, each: int, clip: Any, tmp_path: Path) -> None:
    from benchmarks import accelerator_peer
    from benchmarks.peer import write

    checkpoint = tmp_path / "random.pt"
    write(model, str(checkpoint))
    case = asked(part, clip, model=model, checkpoint=str(checkpoint), peer=peer)
    accelerator_peer.prepare(case)()
    assert accelerator_peer._known["each"] == each
