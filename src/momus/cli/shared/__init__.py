"""What several commands share: options, what they say, and their tables."""
