"""Bases and results of the documented classes."""
