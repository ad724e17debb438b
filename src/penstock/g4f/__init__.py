"""The import paths of the documented classes: re-exports and nothing else.

Code written for those paths changes its root package only; see the guide "Moving from gpt4free".
"""
