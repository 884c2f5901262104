"""Texts from outside (errors, reasons) as they may be stored."""

from typing import Final

ERROR_CHARS_MAX: Final = (
    900  # keeps an event that holds one inline, even when every character takes 4 bytes
)


def bounded_text(text: str, limit: int = ERROR_CHARS_MAX) -> str:
    """Return `text` without lone surrogates, which cannot be encoded, and cut to `limit`
    characters.
    """
    sound = text[: limit + 1].encode("utf-8", "backslashreplace").decode()
    return sound if len(sound) <= limit else sound[: limit - 3] + "..."
