"""How POLL_QUEUES is written: which queue's workers reach the terminals of which site, and what a site's own queue is
called. Whose terminals those are is `operations.alerting.routing`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

EVERY_OTHER_SITE = "*"
_LETTERS = str.maketrans({"ı": "i", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})


def slug_of(site: str) -> str:
    """A site's name in the letters that every engine allows in a queue's name; two names never share one by losing
    letters.
    """
    plain = unicodedata.normalize("NFKD", site.casefold().translate(_LETTERS))
    kept = "".join(letter for letter in plain if not unicodedata.combining(letter))
    slug = re.sub(r"[^a-z0-9]+", "-", kept).strip("-")[:40].strip("-")
    if kept.isascii() and slug and len(kept) <= 40:
        return slug
    return f"{slug or 'site'}-{hashlib.sha256(site.encode()).hexdigest()[:8]}"


def split_poll_queues(text: str) -> dict[str, str]:
    """Site → queue of POLL_QUEUES; `*` is every other site, and `{site}` in a queue the site's own name.

    Raises ValueError for what is no such list.
    """
    rules: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",")):
        site, equals, queue = (word.strip() for word in part.rpartition("="))
        if not equals or not site:
            raise ValueError(f"{part!r} is not SITE=QUEUE, as in `Izmir=izmir, *=site-{{site}}`")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", queue.replace("{site}", "site")):
            raise ValueError(f"{queue!r} is no name of a queue: letters, digits, dots and dashes, or {{site}} in it")
        if site in rules:
            raise ValueError(f"the site {site!r} is named twice")
        rules[site] = queue
    return rules
