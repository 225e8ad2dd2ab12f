"""The code in the pages: fenced and indented blocks, and the commands in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
# What a line of a shell block begins with.
PROGRAMS = ("sam-jax", "python", ".oracle/venv/bin/", "make", "pip", "gcloud", "srun", "pytest")


@dataclass(frozen=True)
class Block:
    """Attributes:
    page: below the repository.
    line: of the first line of code, from 1.
    language: after the fence; empty for none, and for blocks that are set in by four spaces.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """Attributes:
    page: below the repository.
    line: the command, on one line and without its comment.
    """

    page: str
    line: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line)

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


def blocks(path: Path) -> list[Block]:
    """Fenced and indented blocks of a page; a fence may itself be set in, below a list's item."""
    page, found, lines = str(path.relative_to(REPO)), [], path.read_text("utf-8").splitlines()
    at = 0
    while at < len(lines):
        if fence := re.match(r"(\s*)```(.*)$", lines[at]):
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
            depth = len(fence[1])
            text = "\n".join(line[depth:] for line in lines[at + 1 : end])
            found.append(Block(page, at + 2, fence[2].strip(), text))
            at = end + 1
        elif lines[at].startswith("    ") and at and not lines[at - 1].strip():
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            found.append(Block(page, at + 1, "", "\n".join(line.strip() for line in lines[at:end])))
            at = end
        else:
            at += 1
    return found


def commands(path: Path) -> list[Command]:
    """Of a page: the lines of shell blocks that begin with a program, and commands in the text."""
    page = str(path.relative_to(REPO))
    found, text = [], path.read_text("utf-8")
    for block in blocks(path):
        text = text.replace(block.text, "")
        if not block.language:
            joined = re.sub(r"\\\n\s*", " ", block.text)
            lines = (line.partition(" #")[0].strip() for line in joined.splitlines())
            found += [line for line in lines if line.startswith(PROGRAMS)]
    inline = re.findall(r"`((?:python -m|python|sam-jax|make) [^`]+)`", text)
    found += [" ".join(line.split()) for line in inline]
    return [Command(page, line) for line in dict.fromkeys(found)]
