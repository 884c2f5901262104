"""Errors of admission beside Overloaded, and of batches; `errors.py` has the whole tree."""

from greenroom.protocol.errors import AdmissionError, InvalidInput


class RateLimited(AdmissionError):
    """The entry point accepts no more at present; it may again in `retry_after` seconds."""

    code = "rate_limited"

    def __init__(self, entry_point: str, limit: str, retry_after: float) -> None:
        super().__init__(
            f"entry point {entry_point!r} accepts {limit}: retry in {retry_after:.3g} s"
        )
        self.entry_point, self.limit, self.retry_after = entry_point, limit, retry_after


class InvalidItem(InvalidInput):
    """Item `index` of a batch cannot be used, for the reason `cause`; nothing was accepted."""

    code = "invalid_item"

    def __init__(self, index: int, cause: InvalidInput) -> None:
        super().__init__(f"item {index}: {cause}")
        self.index, self.cause = index, cause


class BatchTooLarge(InvalidInput):
    """A batch has more than `limit` items, or bytes of input; nothing was accepted."""

    code = "batch_too_large"

    def __init__(self, unit: str, size: int, limit: int) -> None:
        super().__init__(f"{size} {unit} in one batch, over the limit of {limit}: send several")
        self.unit, self.size, self.limit = unit, size, limit
