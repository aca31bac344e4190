"""Text as searches compare it: without letter case and accents."""

from __future__ import annotations

from zk_pipeline.attendance.names import LETTERS


def folded_sql(text: str) -> str:
    """SQL of the expression `text`, lower case and with the plain letters that `clearly_differ` compares."""
    folded = f"lower({text})"
    for letter, plain in LETTERS.items():
        folded = f"replace({folded}, '{letter}', '{plain}')"
    return f"strip_accents({folded})"
