"""Why a caller is turned away; what each becomes on the wire stands in `service.errors`."""

from __future__ import annotations

from detector.errors import OffpathError

__all__ = ["PermissionDeniedError", "QuotaExceededError", "UnauthenticatedError"]


class UnauthenticatedError(OffpathError):
    """The caller has shown no credentials that the server knows.

    One sentence for every cause: which of them it was would help who guesses.
    """

    def __init__(self) -> None:
        super().__init__(
            "A call should come with credentials that this server knows. Found none. "
            "Send the header 'authorization: Bearer TOKEN'."
        )


class PermissionDeniedError(OffpathError):
    """The caller is known and may not have what was asked for."""


class QuotaExceededError(OffpathError):
    """The caller's own quota is used up.

    Args:
        message: Which quota.
        retry_after_s: When there is room again, seconds from now.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
