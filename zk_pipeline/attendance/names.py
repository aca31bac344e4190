"""Comparison of names enrolled on terminals: whether two names clearly belong to different employees."""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher
from functools import lru_cache

# Letters that Unicode decomposition leaves unchanged.
LETTERS = {
    "ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "þ": "th", "æ": "ae", "œ": "oe", "ß": "ss"
}  # fmt: skip
_LETTERS = str.maketrans(LETTERS)
_MIN_FUZZY_LENGTH, _MIN_SIMILARITY = (
    5,
    0.8,
)  # letters and similarity ratio for fuzzy matching


@lru_cache(maxsize=65_536)
def clearly_differ(one: str, other: str, user_id: str = "") -> bool:
    """Whether two names are no variants of one name. Variants differ in case, accents, order, initials, abbreviations,
    omitted middle names, joined names or a typo. False if a name is empty, a number or the user id, and for names in
    different scripts.
    """
    parts, others = _name_parts(one, user_id), _name_parts(other, user_id)
    if not parts or not others or _script("".join(parts)) != _script("".join(others)):
        return False
    if "".join(parts) == "".join(others):
        return False
    shorter, longer = sorted((parts, others), key=len)
    return not _all_match(tuple(shorter), tuple(longer))


def _name_parts(name: str, user_id: str) -> list[str]:
    if _folded(name).strip() == _folded(user_id).strip():
        return []
    parts = re.findall(r"[^\W_]+", _folded(name))
    return parts if any(not part.isdigit() for part in parts) else []


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).translate(_LETTERS)


def _script(letters: str) -> str:
    return unicodedata.name(next((one for one in letters if one.isalpha()), "a"), "?").partition(" ")[0]


def _all_match(parts: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether each of `parts` matches a different one of `others`."""
    if not parts:
        return True
    first, rest = parts[0], parts[1:]
    return any(
        _is_variant(first, other) and _all_match(rest, (*others[:n], *others[n + 1 :]))
        for n, other in enumerate(others)
    )


def _is_variant(part: str, other: str) -> bool:
    return part.startswith(other) or other.startswith(part) or _is_similar(part, other)


def _is_similar(one: str, other: str) -> bool:
    is_long = min(len(one), len(other)) >= _MIN_FUZZY_LENGTH
    return one == other or (is_long and SequenceMatcher(None, one, other, autojunk=False).ratio() >= _MIN_SIMILARITY)
