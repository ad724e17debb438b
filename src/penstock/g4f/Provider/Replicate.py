"""``Replicate``."""

from penstock.providers.replicate.documented import Replicate

__all__ = ["Replicate"]
