"""The Ai2 Playground (allenai/olmo-api) and servers that run the same software."""
