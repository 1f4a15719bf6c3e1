"""What a user searches for, as words of the index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# The index drops longer words, and so a search must not wait for them.
LONGEST_WORD = 40
_PART = re.compile(r'(-?)(?:"([^"]*)"?|(\S+))')


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words with their places, which must follow each other in a line.

    With `is_open`, the last word is only the beginning of a word. With `is_banned`, the phrase must not be there.
    """

    words: tuple[tuple[int, str], ...]
    is_open: bool = False
    is_banned: bool = False


def split(text: str) -> Iterator[Phrase]:
    """Yield the phrases of a text. A word with signs in it is a phrase too: `timeout=5` is "timeout 5"."""
    for minus, quoted, plain in _PART.findall(text):
        part = quoted or plain
        is_open = not quoted and part.endswith("*")
        found = (word.lower() for word in _list_words(part))
        words = tuple((place, word) for place, word in enumerate(found) if len(word.encode()) < LONGEST_WORD)
        if words:
            yield Phrase(words, is_open, bool(minus))


def _list_words(text: str) -> list[str]:
    """Split as tantivy's simple tokenizer does: a word is a run of letters and digits."""
    return re.findall(r"[^\W_]+", text)
