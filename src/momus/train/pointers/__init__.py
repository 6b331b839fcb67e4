"""Training a pointer for any base: reading, choosing, fitting; and the command that does it."""
