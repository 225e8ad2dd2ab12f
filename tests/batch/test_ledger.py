"""Shards, the manifest, and the list of broken inputs."""

import json
from pathlib import Path

import pytest

from sam_jax.batch.ledger import Item, Ledger, Outcome, Shard, cut

ITEMS = [Item(f"p{i}", is_clip=i in (1, 5), size=i) for i in range(7)]


def ledger(folder: Path, shards: list[Shard], **settings: object) -> Ledger:
    return Ledger(str(folder), {"model": {"name": "x"}} | settings, shards, "jsonl")


def test_pictures_and_clips_are_cut_apart_in_order() -> None:
    shards = cut(ITEMS, 2)
    assert [[item.name for item in shard.items] for shard in shards] == [
        ["p0", "p2"],
        ["p3", "p4"],
        ["p6"],
        ["p1", "p5"],
    ]
    assert [shard.is_clips for shard in shards] == [False, False, False, True]
    assert [shard.number for shard in shards] == [0, 1, 2, 3]


def test_another_job_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    shards = cut(ITEMS, 2)
    ledger(tmp_path, shards).open()
    ledger(tmp_path, shards).open()
    other = [*ITEMS[:-1], Item("p6", False, 77)]
    for changed, what in (
        (ledger(tmp_path, shards, prompts="other"), "settings.prompts"),
        (ledger(tmp_path, shards, model={"name": "y"}), "settings.model.name"),
        (ledger(tmp_path, cut(other, 2)), "inputs.sha256"),
        (ledger(tmp_path, cut(ITEMS, 3)), "shards"),
    ):
        with pytest.raises(ValueError, match=f"another job, which differs in {what}: see .*Repeat"):
            changed.open()


@pytest.mark.parametrize(
    "name", ["results-00000-of-00001.jsonl", "errors.jsonl", "state/00000.json"]
)
def test_files_of_ours_without_a_manifest_are_not_touched(name: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / name).write_text("precious")
    (tmp_path / "file.txt").touch()
    with pytest.raises(ValueError, match=rf"holds {name}, but no manifest\.json"):
        ledger(tmp_path, cut(ITEMS, 2)).open()
    assert (tmp_path / name).read_text() == "precious"


def test_results_come_after_their_state_and_errors_are_gathered(
    tmp_path: Path, monkeypatch
) -> None:
    from sam_jax.io import storage

    shards = cut(ITEMS, 2)
    book = ledger(tmp_path, shards)
    book.open()
    assert book.unfinished(shards) == shards
    written = []
    write = storage.write
    monkeypatch.setattr(storage, "write", lambda *a: (written.append(Path(a[0]).name), write(*a)))
    outcomes = [Outcome("p3", [{"input": "p3"}]), Outcome("p4", reason="torn")]
    book.finish(shards[1], outcomes, seconds=1.0)
    assert written == ["00001.json", "results-00001-of-00004.jsonl"]
    assert (tmp_path / written[1]).read_text() == '{"input": "p3"}\n'
    assert [shard.number for shard in book.unfinished(shards)] == [0, 2, 3]
    book.finish(shards[0], [Outcome("p0", reason="empty"), Outcome("p2")], seconds=1.0)
    (tmp_path / "state" / "00002.json").write_text("{}")  # killed before its results
    assert book.write_errors() == 2
    lines = (tmp_path / "errors.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"input": "p0", "reason": "empty"},
        {"input": "p4", "reason": "torn"},
    ]


def test_a_name_that_is_not_utf8_has_a_manifest(tmp_path: Path) -> None:
    ledger(tmp_path, [Shard(0, [Item("\udcff.png", False, 3)])]).open()


def test_results_without_their_state_are_made_again(tmp_path: Path) -> None:
    shards = cut(ITEMS, 4)
    book = ledger(tmp_path, shards)
    book.open()
    for shard in shards:
        book.finish(shard, [Outcome(item.name, reason="torn") for item in shard.items], 1.0)
    assert book.unfinished(shards) == []
    (tmp_path / "state" / "00001.json").unlink()
    assert book.unfinished(shards) == [shards[1]]
    assert book.write_errors() == 6  # without the picture that is made again


def test_emptied_results_are_made_again_unless_nothing_came_of_the_inputs(tmp_path: Path) -> None:
    shards = cut(ITEMS, 4)
    book = ledger(tmp_path, shards)
    book.open()
    book.finish(shards[0], [Outcome("p0", [{"input": "p0"}])], 1.0)
    book.finish(shards[1], [Outcome("p4", reason="torn")], 1.0)
    assert [shard.number for shard in book.unfinished(shards)] == [2]
    (tmp_path / "results-00000-of-00003.jsonl").write_bytes(b"")
    assert [shard.number for shard in book.unfinished(shards)] == [0, 2]


@pytest.mark.parametrize("content", ['{"inputs', "[]"])
def test_damaged_files_are_named(content: str, tmp_path: Path) -> None:
    shards = cut(ITEMS, 7)
    book = ledger(tmp_path, shards)
    book.open()
    book.finish(shards[0], [], 1.0)
    book.finish(shards[1], [], 1.0)
    (tmp_path / "state" / "00001.json").write_text(content)
    with pytest.raises(ValueError, match=r"00001\.json is damaged: .*; delete it and run again"):
        book.write_errors()
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.json is damaged: .*; choose another folder"):
        book.open()


def test_errors_of_a_process_that_ends_at_the_same_time_are_not_lost(
    tmp_path: Path, monkeypatch
) -> None:
    from sam_jax.io import storage

    shards = cut(ITEMS, 2)
    book, other = ledger(tmp_path, shards), ledger(tmp_path, shards)
    book.open()
    book.finish(shards[0], [Outcome("p0", reason="empty")], seconds=1.0)
    write, first = storage.write, []

    def meanwhile(where: str, data: bytes) -> None:
        if where.endswith("errors.jsonl") and not first:
            first.append(where)
            other.finish(shards[1], [Outcome("p3", reason="late")], seconds=1.0)
            assert other.write_errors() == 2
        write(where, data)

    monkeypatch.setattr(storage, "write", meanwhile)
    assert book.write_errors() == 2
    assert len((tmp_path / "errors.jsonl").read_text().splitlines()) == 2


def test_speeds_of_all_processes_are_added(tmp_path: Path) -> None:
    book = ledger(tmp_path, cut(ITEMS, 2))
    book.open()
    assert book.note_speed(0, 2, {"pictures": 3.0}) == {"pictures": 3.0}
    assert book.note_speed(1, 2, {"pictures": 4.0, "frames": 5.0}) == {
        "pictures": 7.0,
        "frames": 5.0,
    }


def test_half_written_files_are_removed(tmp_path: Path) -> None:
    book = ledger(tmp_path, cut(ITEMS, 2))
    book.open()
    for folder in (tmp_path, tmp_path / "state"):
        (folder / ".sam_jax_12.tmp").touch()
    book.tidy()
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["manifest.json", "state"]
