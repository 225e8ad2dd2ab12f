"""The form of prompts.jsonl, and what is refused with the number of the line."""

import json
from pathlib import Path

import pytest

from sam_jax.batch.clip_reader import check_clip_rows
from sam_jax.batch.prompts import Row, prompts_hash, read_prompts


def rows(*lines: object) -> dict[str, tuple[Row, ...]]:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return read_prompts(text.encode(), "prompts.jsonl")


def test_lines_are_gathered_by_input_in_order_of_object_and_frame() -> None:
    found = rows(
        {"input": "b.mp4", "object": 2, "frame": 3, "box": [1, 2, 3, 4]},
        "",
        {"input": "a.jpg", "points": [[1, 2.5], [3, 4]], "labels": [1, 0], "mask": None},
        {"input": "b.mp4", "text": "a cup"},
        {"input": "b.mp4", "object": 2, "mask": {"size": [2, 2], "counts": "04"}},
    )
    assert list(found) == ["b.mp4", "a.jpg"]
    assert found["a.jpg"] == (Row(3, points=((1.0, 2.5), (3.0, 4.0)), labels=(1, 0)),)
    assert [(row.object, row.frame, row.line) for row in found["b.mp4"]] == [
        (1, 0, 4),
        (2, 0, 5),
        (2, 3, 1),
    ]
    assert found["b.mp4"][2].box == (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "a line is an object"),
        ({"points": [[1, 2]]}, "'input' must name a picture or clip, got None"),
        ({"input": "a", "point": [[1, 2]]}, "unknown key 'point'; did you mean 'points'?"),
        ({"input": "a", "quux": 1}, "unknown key 'quux'; known are input, object"),
        ({"input": "a"}, "no prompt: give points, a box, a mask or a text"),
        ({"input": "a", "points": [1, 2]}, r"'points' must hold \[x, y\], got 1"),
        ({"input": "a", "points": "1,2"}, "'points' must be a list"),
        ({"input": "a", "points": [["1", 2]]}, r"\[x, y\] in pixels, got '1'"),
        (
            '{"input": "a", "box": [1, 2, 3, 4], "box": [5, 6, 7, 8]}',
            "'box' is there twice: give each",
        ),
        ({"input": "a", "points": [[10**400, 2]]}, "in pixels, got 1000"),
        ({"input": "a", "points": [[1, float("nan")]]}, "in pixels, got nan"),
        ({"input": "a", "points": [[1, True]]}, "in pixels, got True"),
        ({"input": "a", "points": [[1, 2]], "labels": [2]}, "'labels' are 1 .* or 0"),
        ({"input": "a", "points": [[1, 2]], "labels": [1, 0]}, "1 points have 2 labels"),
        ({"input": "a", "box": [5, 5, 5, 9]}, "is empty or inverted: it is"),
        ({"input": "a", "box": [5, 5, 9]}, r"'box' must hold \[left, top, right, bottom\]"),
        ({"input": "a", "mask": 3}, "'mask' must be a file's name or a COCO"),
        ({"input": "a", "text": " "}, "'text' must name the object"),
        ({"input": "a", "text": "x", "object": 0}, "'object' must be a whole number from 1 on"),
        ({"input": "a", "text": "x", "frame": 1.5}, "'frame' must be a whole number from 0 on"),
        ({"input": "ok", "text": "again"}, "object 1 of ok has its prompt for frame 0 in line 1"),
    ],
)
def test_a_line_that_is_no_prompt_is_refused_with_its_number(line: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"prompts.jsonl, line 2: .*{message}"):
        rows({"input": "ok", "text": "a thing"}, line)


def test_another_mask_is_another_prompt(tmp_path: Path) -> None:
    data = b'{"input": "a", "mask": "m.png"}\n{"input": "b", "mask": "gone.png"}\n'
    found = read_prompts(data, "prompts.jsonl")
    hashes = []
    for content in ("", "", "longer"):
        (tmp_path / "m.png").write_text(content)
        hashes.append(prompts_hash(data, found, str(tmp_path)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_an_object_needs_a_place() -> None:
    with pytest.raises(ValueError, match="line 1: object 1 of a has only points on what does not"):
        rows({"input": "a", "points": [[1, 2]], "labels": [0]})
    with pytest.raises(ValueError, match="holds no prompts: a line is such as"):
        rows("", "")


def test_a_mask_in_a_clip_is_alone_and_the_only_one() -> None:
    mask = {"size": [2, 2], "counts": "04"}
    found = rows({"input": "a", "mask": mask, "text": "x"})["a"]
    with pytest.raises(ValueError, match="prompt in line 1, clip a: a mask says all"):
        check_clip_rows(found, "a")
    found = rows({"input": "a", "mask": mask}, {"input": "a", "mask": mask, "frame": 4})["a"]
    with pytest.raises(ValueError, match="prompt in line 2, clip a: object 1 has a second mask"):
        check_clip_rows(found, "a")
