"""The protocol of today's chat-ui (``wire/h2o.md`` section 9). Pure."""
