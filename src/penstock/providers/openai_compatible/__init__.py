"""Any OpenAI-compatible server, and the well-known ones by name."""
