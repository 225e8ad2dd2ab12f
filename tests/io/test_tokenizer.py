"""CLIP's tokenizer: text of any kind, and texts that no model should be asked about."""

import builtins
from pathlib import Path

import numpy as np
import pytest

from sam_jax.io.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, clip_tokenizer) -> Path:
    return clip_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer(folder, context=77)


def test_words_become_tokens_between_two_marks(tokenizer: Tokenizer, vocabulary_size: int) -> None:
    start, end = vocabulary_size - 2, vocabulary_size - 1
    (row,) = tokenizer(["  a RED\n cup "])
    assert row.dtype == np.int32 and row.shape == (77,)
    assert row[0] == start and (row[4:] == end).all() and not np.isin(row[1:4], (start, end)).any()
    np.testing.assert_array_equal(row, tokenizer(["a red cup"])[0])  # blanks, capitals
    assert (row != tokenizer(["a cup red"])[0]).sum() == 2


def test_any_script_has_tokens(tokenizer: Tokenizer, vocabulary_size: int) -> None:
    texts = ["红色的杯子", "красная кружка", "كوب أحمر", "लाल कप", "🍵☕", "e\u0301", "é"]
    rows = tokenizer(texts)
    assert len({row.tobytes() for row in rows[:6]}) == 6
    np.testing.assert_array_equal(rows[5], rows[6])  # one letter, written in two ways
    lengths = (rows != vocabulary_size - 1).sum(1) - 1
    assert lengths[:5].tolist() == [len(t.replace(" ", "").encode()) for t in texts[:5]]


def test_tokenizer_json_is_read_in_place_of_the_two_files(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tokenizer._tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = ["a red cup", "circle 12!"]
    np.testing.assert_array_equal(Tokenizer(tmp_path, 77)(texts), tokenizer(texts))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty text says nothing: ''"),
        (" \n\t", "an empty text says nothing"),
        (
            "cup " * 1000,
            r"'cup cup .*\.\.\.' has 1000 tokens, more than the 75 that",
        ),
        ("cup <|endoftext|> red", "holds <|startoftext|> or <|endoftext|>, which mark"),
    ],
    ids=["empty", "blank", "1000-words", "end-mark"],
)
def test_refusals(tokenizer: Tokenizer, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        tokenizer(["a cup", text])


def test_the_longest_text_fits(tokenizer: Tokenizer, vocabulary_size: int) -> None:
    (row,) = tokenizer(["cup " * 75])
    assert row[0] == vocabulary_size - 2 and row[-1] == vocabulary_size - 1
    assert len(set(row[1:-1].tolist())) == 1


def test_folders_without_one(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"neither tokenizer.json nor vocab.json with merges"):
        Tokenizer(tmp_path, 77)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        Tokenizer(tmp_path, 77)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ValueError, match=r"is not CLIP's: it has no <\|startoftext"):
        Tokenizer(tmp_path, 77)


def test_without_the_library_the_extra_is_named(folder: Path, monkeypatch) -> None:
    imported = builtins.__import__

    def fail(name: str, *rest: object) -> object:
        if name == "tokenizers":
            raise ModuleNotFoundError("No module named 'tokenizers'", name=name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sam_jax\[text\]'"):
        Tokenizer(folder, 77)
