"""Open-Assistant: the website's chat routes and the inference server behind them."""
