"""CLIP's tokenizer: phrases to the numbers of byte pairs.

Upstream: transformers/models/clip/tokenization_clip.py, CLIPTokenizer. The work is done by the
`tokenizers` library, which is imported when a tokenizer is made.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_SHOWN = 60  # characters of a text in a message


class Tokenizer:
    """Texts to tokens.

        tokens = Tokenizer("clip-vit-base-patch32", context=77)(["a red cup"])

    Text of any script has tokens: what the vocabulary lacks is spelt in bytes. What the model makes
    of it is another matter: OpenAI's CLIPs were trained on English.

    Args:
      folder: of a checkpoint, with tokenizer.json, or vocab.json and merges.txt.
      context: the most tokens a text may have, its beginning and its end included.

    Raises:
      ModuleNotFoundError: the library `tokenizers` is not installed.
      ValueError: the folder has no tokenizer, or a damaged one.
    """

    def __init__(self, folder: str | Path, context: int) -> None:
        self._tokenizer = _read(Path(folder))
        self.context = context
        ends = [self._tokenizer.token_to_id(token) for token in (_START, _END)]
        if None in ends:
            raise ValueError(f"the tokenizer in {folder} is not CLIP's: it has no {_START}, {_END}")
        self._start, self._end = ends

    def __call__(self, texts: Sequence[str]) -> Int32[np.ndarray, "n context"]:
        """Tokens of texts, each between its beginning and its end; the end again fills the rest.

        Raises:
          ValueError: an empty text, one that holds such a mark itself, or one that is too long: its
            beginning alone would be another text.
        """
        rows = np.full((len(texts), self.context), self._end, np.int32)
        for row, text in zip(rows, texts, strict=True):
            if not text.strip():
                raise ValueError(f"an empty text says nothing: {text!r:.40}")
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
            if self._start in ids or self._end in ids:
                raise ValueError(
                    f"the text {_short(text)} holds {_START} or {_END}, which mark where a text "
                    "begins and ends, or a sign that this vocabulary lacks: remove it"
                )
            if len(ids) > self.context - 2:
                raise ValueError(
                    f"the text {_short(text)} has {len(ids)} tokens, more than the "
                    f"{self.context - 2} that the model reads: shorten it (a word of plain English "
                    "is about one token)"
                )
            row[0], row[1 : 1 + len(ids)] = self._start, ids
        return rows


def _read(folder: Path) -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "text needs the library tokenizers: pip install 'sam_jax[text]'", name=error.name
        ) from error
    file, vocabulary, merges = (
        folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
    )
    try:
        if file.exists():
            return tokenizers.Tokenizer.from_file(str(file))
        if vocabulary.exists() and merges.exists():
            return _from_merges(tokenizers, vocabulary, merges)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"the tokenizer in {folder} cannot be read: {error}") from error
    raise ValueError(
        f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt"
    )


def _from_merges(tokenizers: Any, vocabulary: Path, merges: Path) -> Any:
    model = tokenizers.models.BPE.from_file(
        str(vocabulary), str(merges), unk_token=_END, end_of_word_suffix="</w>"
    )
    tokenizer = tokenizers.Tokenizer(model)
    normal, split = tokenizers.normalizers, tokenizers.pre_tokenizers
    blanks = normal.Replace(tokenizers.Regex(r"\s+"), " ")
    tokenizer.normalizer = normal.Sequence([normal.NFC(), blanks, normal.Lowercase()])
    marks = [mark for mark in (_START, _END) if tokenizer.token_to_id(mark) is not None]
    tokenizer.add_special_tokens(marks)  # each is one token wherever it is in a text
    words = split.Split(tokenizers.Regex(_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = split.Sequence([words, split.ByteLevel(add_prefix_space=False)])
    return tokenizer


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
