"""HMAC-SHA256 over the raw body, in the form of `X-Hub-Signature-256`."""

import hashlib
import hmac
from typing import Final

SIGNATURE_HEADER: Final = "X-Hub-Signature-256"
_PREFIX: Final = b"sha256="


def sign(secret: str, body: bytes) -> str:
    """Return the header value for `body`: `sha256=` and 64 lower-case hex digits."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return f"{_PREFIX.decode()}{digest}"


def is_signed(secret: str, body: bytes, header: bytes | None) -> bool:
    """Say whether `header`, the bytes as they came, signs `body` with `secret`.

    Takes the same time for every wrong signature of one length, and never raises: a missing
    header, other lengths and bytes outside ASCII are just wrong.
    """
    expected = sign(secret, body).encode()
    return hmac.compare_digest(expected, header if header is not None else b"")
