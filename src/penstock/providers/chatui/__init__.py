"""chat-ui as it is today, hosted by oneself (``wire/h2o.md`` section 9)."""
