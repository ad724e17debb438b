"""The chat-ui of mid-2023 that gpt-gm.h2o.ai was, and text-generation-inference by itself."""
