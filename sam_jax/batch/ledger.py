"""What of a job is done: results in files of their own, each of which is there whole or not at all.

    OUT/manifest.json                    what the job is; a run with another one is refused
    OUT/results-00003-of-00040.jsonl     what came of the inputs of shard 3
    OUT/state/00003.json                 how long it took, and which of its inputs are broken
    OUT/errors.jsonl                     all broken inputs, once the shards are there

Work is cut into shards by the order of the inputs alone, so every process knows them all without
asking. A shard is done where both its results and its state are there. Nothing else is looked at to
find out what there is to do, and so a job may be killed at any moment.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_jax.batch.prompts import Row
from sam_jax.io import storage

FORMATS = ("jsonl", "array_record")
_MANIFEST, _ERRORS, _STATE = "manifest.json", "errors.jsonl", "state"


@dataclass(frozen=True, slots=True)
class Item:
    """A picture or clip, and what is asked of it; nothing, where everything is looked for.

    Attributes:
      size: in bytes; None if there is no such input.
    """

    name: str
    is_clip: bool
    size: int | None
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Shard:
    """Inputs whose results are in one file; all of them pictures, or all clips."""

    number: int
    items: Sequence[Item]

    @property
    def is_clips(self) -> bool:
        return self.items[0].is_clip


@dataclass(frozen=True)
class Outcome:
    """What came of an input.

    Attributes:
      lines: of the results: one for a picture, one a frame for a clip.
      reason: why there are none; None if it is not broken.
    """

    name: str
    lines: Sequence[dict[str, Any]] = ()
    reason: str | None = None


def cut(items: Sequence[Item], size: int) -> list[Shard]:
    """Shards of so many pictures, then of so many clips."""
    pictures = [item for item in items if not item.is_clip]
    clips = [item for item in items if item.is_clip]
    parts = [
        kind[start : start + size]
        for kind in (pictures, clips)
        for start in range(0, len(kind), size)
    ]
    return [Shard(number, part) for number, part in enumerate(parts)]


class Ledger:
    """The output folder of a job, which several processes may share.

    Args:
      where: path or address of the folder.
      settings: what results depend on, besides the inputs.
      shards: all of the job.
      format: of the results; see `FORMATS`.
    """

    def __init__(
        self, where: str, settings: dict[str, Any], shards: Sequence[Shard], format: str
    ) -> None:
        self.where = where
        self.shards = shards
        self._format = format
        items = [item for shard in shards for item in shard.items]
        listed = hashlib.sha256()
        for item in items:
            listed.update(f"{item.name}\t{item.size}\n".encode(errors="surrogateescape"))
        self._manifest = {
            "settings": settings | {"format": format},
            "inputs": {"count": len(items), "sha256": listed.hexdigest()},
            "shards": len(shards),
        }

    def open(self) -> None:
        """Writes down what the job is, or checks that it is the one that was begun here.

        Raises:
          ValueError: the folder cannot be written, or holds another job, or something else.
        """
        storage.check_folder(self.where)
        if not storage.is_remote(self.where):
            storage.check_folder(self._path(_STATE))
        file = self._path(_MANIFEST)
        ours = re.compile(rf"results[-.]|{_STATE}/|{re.escape(_ERRORS)}$")
        there = next(filter(ours.match, storage.files_in(self.where)), None)
        if there is not None and storage.size_of(file) is None:
            raise ValueError(
                f"{self.where} holds {there}, but no {_MANIFEST} that says of what: choose another"
                " folder with --output"
            )
        storage.create(file, _json(self._manifest, indent=1))
        begun = _read_json(file, "choose another folder with --output, or delete this one")
        if begun != self._manifest:
            differ = ", ".join(_differences(begun, self._manifest))
            raise ValueError(
                f"{self.where} holds another job, which differs in {differ}: see {file}. Repeat"
                " that one's command to go on with it, or choose another folder with --output"
            )

    def unfinished(self, shards: Iterable[Shard]) -> list[Shard]:
        """Those whose results, or whose state, are not there."""
        there = storage.files_in(self.where)
        return [shard for shard in shards if not self._is_done(shard, there)]

    def finish(self, shard: Shard, outcomes: Sequence[Outcome], seconds: float) -> None:
        """Writes what came of a shard.

        Raises:
          ValueError, OSError: it cannot be written.
        """
        lines = [line for outcome in outcomes for line in outcome.lines]
        broken = [
            {"input": outcome.name, "reason": outcome.reason}
            for outcome in outcomes
            if outcome.reason is not None
        ]
        state = {
            "inputs": len(outcomes),
            "lines": len(lines),
            "seconds": round(seconds, 3),
            "broken": broken,
        }
        storage.write(self._path(_STATE, _state(shard.number)), _json(state))
        records = [json.dumps(line).encode() for line in lines]
        pack = _array_record if self._format == "array_record" else _json_lines
        storage.write(self._path(self._results(shard.number)), pack(records))

    def write_errors(self) -> int:
        """Gathers the broken inputs of all shards that are there in errors.jsonl; how many.

        Every process does so at its end. Another one may have finished a shard meanwhile, and
        written a longer list before this one was: so it is written until there is no news.
        """
        known = None
        count = 0
        while known != (there := self._states()):
            known = there
            broken = [entry for name in there for entry in self._read_state(name)["broken"]]
            count = len(broken)
            lines = [json.dumps(entry).encode() for entry in broken]
            storage.write(self._path(_ERRORS), _json_lines(lines))
        return count

    def note_speed(self, index: int, count: int, speed: dict[str, float]) -> dict[str, float]:
        """Writes down how quick this process is; returns the sum over those of the last run.

        Args:
          index: of this process, of `count`.
          speed: per second.
        """
        name = f"process-{index}-of-{count}.json"
        storage.write(self._path(_STATE, name), _json(speed))
        total = dict.fromkeys(speed, 0.0)
        for other in range(count):
            with suppress(OSError, ValueError):
                file = self._path(_STATE, f"process-{other}-of-{count}.json")
                for key, value in json.loads(storage.read(file)).items():
                    total[key] = total.get(key, 0.0) + value
        return total

    def tidy(self) -> None:
        """Removes what killed processes left half-written; once all shards are there."""
        if not storage.is_remote(self.where):
            for folder in (Path(self.where), Path(self.where) / _STATE):
                for file in folder.glob(".sam_jax_*.tmp"):
                    with suppress(OSError):
                        file.unlink()

    def _states(self) -> list[str]:
        """Names of the state files of finished shards."""
        there = storage.files_in(self.where)
        return [_state(shard.number) for shard in self.shards if self._is_done(shard, there)]

    def _is_done(self, shard: Shard, there: Mapping[str, int]) -> bool:
        results, state = self._results(shard.number), _state(shard.number)
        if not {results, f"{_STATE}/{state}"} <= there.keys():
            return False
        # Copying may leave an empty file behind; one is right where all inputs are broken.
        return there[results] > 0 or self._read_state(state)["lines"] == 0

    def _read_state(self, name: str) -> dict[str, Any]:
        return _read_json(self._path(_STATE, name), "delete it and run again")

    def _results(self, number: int) -> str:
        place = f"{number:05d}-of-{len(self.shards):05d}"
        if self._format == "array_record":
            return f"results.array_record-{place}"
        return f"results-{place}.jsonl"

    def _path(self, *names: str) -> str:
        where = self.where
        for name in names:
            where = storage.join(where, name)
        return where


def _differences(old: dict[str, Any], new: dict[str, Any], before: str = "") -> list[str]:
    """Names of what is not equal, such as settings.model."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{before}{key}.")
        elif a != b:
            found.append(f"{before}{key}")
    return found


def _state(number: int) -> str:
    return f"{number:05d}.json"


def _read_json(where: str, remedy: str) -> dict[str, Any]:
    """Raises ValueError: it is not what was written there."""
    try:
        value = json.loads(storage.read(where))
    except ValueError as error:
        raise ValueError(f"{where} is damaged: {error}; {remedy}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where} is damaged: it holds no object; {remedy}")
    return value


def _json(value: Any, indent: int | None = None) -> bytes:
    return (json.dumps(value, indent=indent) + "\n").encode()


def _json_lines(records: Sequence[bytes]) -> bytes:
    return b"".join(record + b"\n" for record in records)


def _array_record(records: Sequence[bytes]) -> bytes:
    """A file of them, in memory: it may have to go into a bucket."""
    from array_record.python import array_record_module  # ty: ignore[missing-module-member]  # C++

    with tempfile.TemporaryDirectory(prefix="sam_jax_") as folder:
        file = os.path.join(folder, "records")
        writer = array_record_module.ArrayRecordWriter(file, "group_size:1")
        for record in records:
            writer.write(record)
        writer.close()
        return Path(file).read_bytes()


def check_format(format: str) -> None:
    """Raises ModuleNotFoundError where array_record is wanted and is not there."""
    if format != "array_record":
        return
    try:
        import array_record  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--format array_record needs the package of that name: pip install 'sam_jax[train]'"
        ) from error
