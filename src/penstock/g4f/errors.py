"""The errors that the documents name."""

from penstock.errors import (
    MissingAuthError,
    MissingRequirementsError,
    ModelNotFoundError,
    PaymentRequiredError,
    RateLimitError,
    ResponseError,
    ResponseStatusError,
)

__all__ = [
    "MissingAuthError",
    "MissingRequirementsError",
    "ModelNotFoundError",
    "PaymentRequiredError",
    "RateLimitError",
    "ResponseError",
    "ResponseStatusError",
]
