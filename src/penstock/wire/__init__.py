"""Bytes to values and back: codecs without I/O, clock, randomness or logging."""
