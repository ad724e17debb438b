"""The protocol of the 2023 chat-ui and of the router behind it (``wire/h2o.md``). Pure."""
