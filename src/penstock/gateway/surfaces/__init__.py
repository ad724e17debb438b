"""The faces of the gateway: each turns a body into a question, and an answer into bytes. Pure."""
