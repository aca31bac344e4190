"""Comparison of names enrolled on terminals: are they clearly those of two people."""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher
from functools import lru_cache

# Letters that decomposition leaves as they are.
_LETTERS = str.maketrans(
    {"ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t"}
)
_LONG, _ALIKE = 5, 0.8  # letters from which two spellings of a word may differ, and how alike they must be


@lru_cache(maxsize=65_536)
def clearly_differ(one: str, other: str, user_id: str = "") -> bool:
    """False wherever they may be one name: another case, accents, order of words, initials, abbreviations, middle
    names left out, words written together, a letter that is wrong. An empty name, a number or the user id itself says
    nothing, and names in two scripts cannot be compared.
    """
    words, others = _words(one, user_id), _words(other, user_id)
    if not words or not others or _script("".join(words)) != _script("".join(others)):
        return False
    if "".join(words) == "".join(others):
        return False
    shorter, longer = sorted((words, others), key=len)
    return not _all_match(tuple(shorter), tuple(longer))


def _words(name: str, user_id: str) -> list[str]:
    if _folded(name).strip() == _folded(user_id).strip():
        return []
    words = re.findall(r"[^\W_]+", _folded(name))
    return words if any(not word.isdigit() for word in words) else []


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).translate(_LETTERS)


def _script(letters: str) -> str:
    return unicodedata.name(next((one for one in letters if one.isalpha()), "a"), "?").partition(" ")[0]


def _all_match(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Match each of `words` with another one of `others`; False where one has no match."""
    if not words:
        return True
    first, rest = words[0], words[1:]
    return any(
        _may_be(first, other) and _all_match(rest, (*others[:n], *others[n + 1 :])) for n, other in enumerate(others)
    )


def _may_be(word: str, other: str) -> bool:
    return word.startswith(other) or other.startswith(word) or _is_alike(word, other)


def _is_alike(one: str, other: str) -> bool:
    is_long = min(len(one), len(other)) >= _LONG
    return one == other or (is_long and SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE)
