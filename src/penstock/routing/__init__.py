"""The way from a model name to an answer: pools, fallback, retry, breakers, limits, hedging."""
