"""Changes to review: patches as they are written, and Git's own, asked without running what a repository configures."""
