"""Text to tokens: chat templates, and how long a text is before it is tokenized."""
