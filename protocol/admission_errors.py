"""Errors of admission beside Overloaded; `errors.py` has the whole tree."""

from greenroom.protocol.errors import AdmissionError


class RateLimited(AdmissionError):
    """The entry point accepts no more at present; it may again in `retry_after` seconds."""

    code = "rate_limited"

    def __init__(self, entry_point: str, limit: str, retry_after: float) -> None:
        super().__init__(
            f"entry point {entry_point!r} accepts {limit}: retry in {retry_after:.3g} s"
        )
        self.entry_point, self.limit, self.retry_after = entry_point, limit, retry_after
