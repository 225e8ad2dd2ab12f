"""What `python -m benchmarks` measures on an accelerator.

Ours takes turns with the official code, eager and compiled as `SAM2VideoPredictorVOS` does it, and
with transformers, all on the same GPU in bfloat16. Where the peer's torch has no CUDA, ours is
measured alone. A side that stops, such as a peer that does not compile, leaves its last words in
the table. The floor is what the products of our program take at the chip's published peak; of a
frame, with a full memory.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.chips import CHIPS
from benchmarks.parts import Part
from benchmarks.worker import Case, Stopped, Worker

HEADER = (
    "part", "ours ms (min-max)", "a second", "floor ms", "peer", "peer ms (min-max)", "peer / ours",
    "load + first call s", "ours peak MB", "peer peak MB",
)  # fmt: skip

_WORKERS = "benchmarks.accelerator_ours", "benchmarks.accelerator_peer"
_PEERS = {
    "video": ("eager", "compiled", "transformers"),
    "pictures": ("eager", "compiled", "transformers"),
    "everything": ("eager",),
    "clips": (),  # nobody else takes several
}
# Products and sums a second, bfloat16, dense, by what jax calls the chip. NVIDIA's data sheets.
_PEAKS = {
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "TPU v5 lite": CHIPS["v5e"].peak,
    "TPU v5": CHIPS["v5p"].peak,
    "TPU v6 lite": CHIPS["v6e"].peak,
}


def _part(size: str, **case: object) -> Part:
    return Part(f"sam2.1-hiera-{size}", case, workers=_WORKERS, dtypes=("bfloat16",), untimed=1)


PARTS: dict[str, Part] = {}
for _size in ("tiny", "small", "base-plus", "large"):
    for _n in (1, 4, 16, 64):
        PARTS[f"video-{_size}-{_n}"] = _part(_size, part="video", objects=_n)
    for _n in (4, 16):
        PARTS[f"clips-{_size}-{_n}"] = _part(_size, part="clips", clips=_n)
    for _n in (1, 4, 16, 64):
        PARTS[f"pictures-{_size}-{_n}"] = _part(_size, part="pictures", batch=_n)
    PARTS[f"everything-{_size}"] = _part(_size, part="everything")


def backend() -> str:
    """Where our workers compute: "cpu", "gpu" or "tpu".

    Asked in another process: this one must not hold the chip that they need.

    Raises:
      CalledProcessError: jax does not start; it has said why.
    """
    asked = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    return subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def has_cuda(python: str) -> bool:
    """Whether a Python has a torch that computes on a GPU."""
    asked = [python, "-c", "import torch; print(torch.cuda.is_available())"]
    found = subprocess.run(asked, check=False, capture_output=True, text=True)
    return found.stdout.strip() == "True"


@dataclass
class Side:
    """One implementation, in a process of its own.

    Attributes:
      seconds: of each turn, for one frame or picture.
      known: its last answer.
      stopped: its last words, where it came to an early end.
    """

    name: str
    python: str
    module: str
    case: Case
    threads: int
    seconds: list[float] = field(default_factory=list)
    prepare: float = 0.0
    known: Case = field(default_factory=dict)
    stopped: str = ""

    def __post_init__(self) -> None:
        self._worker = Worker(self.python, self.module, self.threads)
        self._ask({"do": "prepare", "case": self.case})
        self.prepare = self.known.get("seconds", 0.0)

    def turn(self) -> None:
        if not self.stopped:
            self._ask({"do": "run"})
        if not self.stopped:
            self.seconds.append(self.known["seconds"] / self.known["each"])

    def close(self) -> None:
        self._worker.close()

    def _ask(self, request: Case) -> None:
        try:
            self.known = self._worker.ask(request)
        except Stopped as error:
            self.stopped = error.last


def measure(
    name: str,
    case: Case,
    turns: int,
    threads: int,
    peer: str | None,
    advance: Callable[[], object],
) -> list[list[str]]:
    """Rows of one part, one for each peer.

    Args:
      peer: Python that has the peers and a GPU; None where there is none.
      advance: called after each turn.
    """
    part = PARTS[name]
    ours, theirs = part.workers
    sides: list[Side] = []
    try:
        sides.append(Side("ours", sys.executable, ours, case, threads))
        for kind in _PEERS[case["part"]] if peer else ():
            sides.append(Side(kind, str(peer), theirs, case | {"peer": kind}, threads))
        for _ in range(part.untimed + turns):
            for side in sides:
                side.turn()
            advance()
    finally:
        for side in sides:
            side.close()
    for side in sides:
        del side.seconds[: part.untimed]
    return rows(name, sides[0], sides[1:])


def rows(name: str, ours: Side, peers: Sequence[Side]) -> list[list[str]]:
    """Of one part. Where ours has stopped there is one row, with its last words."""
    if ours.stopped:
        return [[name, ours.stopped, *[""] * (len(HEADER) - 2)]]
    median = statistics.median(ours.seconds)
    peak = _PEAKS.get(ours.known["device"])
    first = [name, _milliseconds(ours.seconds), f"{1 / median:.1f}"]
    work = ours.known["flops"]
    first.append(f"{1e3 * work / peak:.2f}" if peak and work else "")
    last = [f"{ours.prepare:.0f}", f"{ours.known['peak_mb']:.0f}"]
    if not peers:
        return [[*first, "", "", "", *last, ""]]
    found = []
    for peer in peers:
        if peer.stopped:
            found.append([*first, peer.name, peer.stopped, "", *last, ""])
            continue
        ratio = f"{statistics.median(peer.seconds) / median:.2f}"
        peak_mb = f"{peer.known['peak_mb']:.0f}"
        found.append([*first, peer.name, _milliseconds(peer.seconds), ratio, *last, peak_mb])
    return found


def _milliseconds(seconds: Sequence[float]) -> str:
    low, high = 1e3 * min(seconds), 1e3 * max(seconds)
    return f"{1e3 * statistics.median(seconds):.2f} ({low:.2f}-{high:.2f})"
