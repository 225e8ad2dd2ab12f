"""`sam-jax batch` on small pictures and clips, undisturbed and killed again and again.

    python -m benchmarks.batch                               # 2,000 pictures and 100 clips
    python -m benchmarks.batch --pictures 100 --clips 5 --kills 2

It makes pictures and clips of mixed sizes and lengths, some of them broken, and two objects for
every third of them. One process works through them. Then several do so in another folder, and are
all killed (SIGKILL) at random moments of the work and started again, until they have come to their
end. It fails unless both folders hold the same bytes, and unless no file that was there was written
again.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image
from rich.console import Console
from rich.progress import track

_BROKEN = 50  # every so many inputs, one is
_PROGRAM = "import sys; from sam_jax.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Options:
    """Time and kill sam-jax batch."""

    pictures: int = 2000
    clips: int = 100
    model: str = "sam2.1-hiera-nano"
    processes: int = 2
    kills: int = 6
    """Times at which all processes are killed."""
    inputs_per_file: int = 16
    seed: int = 0
    folder: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where to put it all, and leave it; by default a temporary folder."""


def make(folder: Path, options: Options) -> None:
    """Pictures, clips and prompts.jsonl."""
    import av

    rng = np.random.default_rng(options.seed)
    rows = []

    def scene(h: int, w: int) -> np.ndarray:
        colours = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        return np.array(colours.resize((w, h), Image.Resampling.BICUBIC))

    def ask(name: str, number: int, h: int, w: int) -> None:
        rows.append({"input": name, "points": [[w // 2, h // 2]]})
        if number % 3 == 0:
            rows.append({"input": name, "object": 2, "box": [w // 4, h // 4, 3 * w // 4, h - 2]})

    (folder / "clips").mkdir(parents=True)
    for i in track(range(options.pictures), "making pictures"):
        h, w = (int(side) for side in rng.integers(48, 240, 2))
        pixels = scene(h, w)
        pixels[h // 4 : 3 * h // 4, w // 4 : 3 * w // 4] = rng.integers(0, 256, 3)
        name = f"p{i:05d}.jpg"
        Image.fromarray(pixels).save(folder / name, quality=90)
        ask(name, i, h, w)
        if i % _BROKEN == _BROKEN - 1:
            (folder / name).write_bytes((folder / name).read_bytes()[:200])
    for i in track(range(options.clips), "making clips"):
        h, w = (2 * int(side) for side in rng.integers(32, 80, 2))
        background, colour = scene(h, w), rng.integers(0, 256, 3)
        name = f"clips/c{i:04d}.mp4"
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
            for t in range(int(rng.integers(3, 48))):
                pixels, x = background.copy(), w // 4 + t % (w // 4)
                pixels[h // 4 : 3 * h // 4, x : x + w // 3] = colour
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        ask(name, i, h, w)
        if i % _BROKEN == _BROKEN - 1:
            (folder / name).write_bytes(b"no video")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder.parent / "prompts.jsonl").write_text(lines)


def start(work: Path, output: str, options: Options, share: str | None) -> subprocess.Popen:
    command = [
        sys.executable, "-c", _PROGRAM, "batch", str(work / "in"),
        "--prompts", str(work / "prompts.jsonl"), "--output", str(work / output),
        "--model", options.model, "--inputs-per-file", str(options.inputs_per_file),
        *(["--shard", share] if share else []),
    ]  # fmt: skip
    out = subprocess.PIPE
    return subprocess.Popen(command, stdout=out, stderr=out, text=True, env=os.environ)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def finished(processes: Sequence[subprocess.Popen]) -> list[str]:
    """What they said. Raises SystemExit if one failed."""
    said = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        if process.returncode:
            raise SystemExit(f"a process ended with {process.returncode}: {errors[-2000:]}")
    return [out for out, _ in said]


def killed(work: Path, options: Options, files: int, console: Console) -> list[str]:
    """The job with kills; what the processes said that came to their end.

    Args:
      files: of results that it has, over which kills are spread.
    """
    chance, out = random.Random(options.seed), work / "killed"
    shares = [f"{i}/{options.processes}" for i in range(options.processes)]
    before: dict[Path, int] = {}
    for number in range(options.kills):
        processes = [start(work, "killed", options, share) for share in shares]
        wanted = len(before) + chance.randint(1, max(1, files // (options.kills + 1)))
        while any(p.poll() is None for p in processes):
            if len(list(out.glob("results-*"))) >= wanted:
                time.sleep(chance.uniform(0, 1))
                break
            time.sleep(0.01)
        for process in processes:
            process.kill()
            process.communicate()
        there = {file: file.stat().st_mtime_ns for file in out.glob("results-*")}
        if any(there.get(file) != changed for file, changed in before.items()):
            raise SystemExit("a file that was complete was written again")
        before = there
        console.print(f"kill {number + 1}: {len(there)} files are there")
    said = finished([start(work, "killed", options, share) for share in shares])
    if any(file.stat().st_mtime_ns != changed for file, changed in before.items()):
        raise SystemExit("a file that was complete was written again")
    return said


def main() -> None:
    options = tyro.cli(Options, prog="python -m benchmarks.batch", description=__doc__)
    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.folder or Path(temporary)
        make(work / "in", options)
        console.print(f"{options.pictures} pictures, {options.clips} clips, {options.model}")
        started = time.monotonic()
        (said,) = finished([start(work, "whole", options, None)])
        seconds = time.monotonic() - started
        console.print(f"one process, undisturbed: {seconds:.0f} s\n{said}")
        files = len(list((work / "whole").glob("results-*")))
        for text in killed(work, options, files, console):
            console.print(text)
        whole, pieces = contents(work / "whole"), contents(work / "killed")
        if whole != pieces:
            differ = sorted(k for k in whole | pieces if whole.get(k) != pieces.get(k))
            raise SystemExit(f"the folders differ in {differ}")
        lines = sum(data.count(b"\n") for name, data in whole.items() if "results" in name)
        errors = whole["errors.jsonl"].count(b"\n")
        console.print(
            f"{options.kills} kills of {options.processes} processes: the same {files} files byte"
            f" for byte, {lines} lines, {errors} broken inputs listed"
        )


if __name__ == "__main__":
    main()
