"""Replicate's protocol, pure: requests as values, answers as events or errors."""
