"""The table of the precision benchmark."""

from benchmarks.precision import table
from train.evaluate.protocols import Results


def test_a_row_has_both_means_and_how_far_objects_are_apart() -> None:
    def results(first: float, second: float) -> dict[str, Results]:
        rows = [
            {"video": "a", "object": 1, "J&F": first},
            {"video": "a", "object": 2, "J&F": second},
        ]
        scores = {"J&F": (first + second) / 2, "object score right": first}
        return {"clips": Results(scores, rows)}

    text = table({"float32": results(0.5, 0.25), "bfloat16": results(0.25, 0.5)})
    head, _, *rows = text.splitlines()
    assert head == "| measure | objects | float32 % | bfloat16 % | difference | per object |"
    assert rows == [
        "| clips: J&F | 2 | 37.50 | 37.50 | +0.00 | 25.00 |",
        "| clips: object score right |  | 50.00 | 25.00 | -25.00 |  |",
    ]
