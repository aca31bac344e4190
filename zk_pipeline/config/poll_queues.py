"""Syntax of POLL_QUEUES: the queue of each site, whose workers reach its terminals, and names of queues.

`operations.alerting.routing` assigns terminals to queues.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

EVERY_OTHER_SITE = "*"
_LETTERS = str.maketrans({"ı": "i", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})


def queue_slug(site: str) -> str:
    """Queue name of a site, in characters that every broker allows; a hash keeps shortened names unique."""
    plain = unicodedata.normalize("NFKD", site.casefold().translate(_LETTERS))
    kept = "".join(letter for letter in plain if not unicodedata.combining(letter))
    slug = re.sub(r"[^a-z0-9]+", "-", kept).strip("-")[:40].strip("-")
    if kept.isascii() and slug and len(kept) <= 40:
        return slug
    return f"{slug or 'site'}-{hashlib.sha256(site.encode()).hexdigest()[:8]}"


def split_poll_queues(text: str) -> dict[str, str]:
    """Site → queue of POLL_QUEUES; `*` is every other site, and `{site}` in a queue stands for the site name.

    Raises ValueError for a malformed list.
    """
    rules: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",")):
        site, equals, queue = (word.strip() for word in part.rpartition("="))
        if not equals or not site:
            raise ValueError(f"{part!r} is not SITE=QUEUE, as in `Izmir=izmir, *=site-{{site}}`")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", queue.replace("{site}", "site")):
            raise ValueError(f"{queue!r} is not a queue name: letters, digits, dots and dashes, or {{site}} in it")
        if site in rules:
            raise ValueError(f"the site {site!r} occurs twice")
        rules[site] = queue
    return rules
