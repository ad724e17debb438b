"""The bases of the documented classes."""

from penstock.providers.framework import AsyncGeneratorProvider, ProviderModelMixin

__all__ = ["AsyncGeneratorProvider", "ProviderModelMixin"]
