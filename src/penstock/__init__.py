"""One stream for chat back ends that do not speak OpenAI."""
