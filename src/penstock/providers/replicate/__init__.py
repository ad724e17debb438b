"""Replicate's hosted API, and Cog, the model server behind it (``wire/replicate.md``)."""
