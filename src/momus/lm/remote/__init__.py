"""The remote engine: a model behind an OpenAI-compatible server."""
