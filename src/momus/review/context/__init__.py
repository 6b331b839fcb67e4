"""What else of a repository a critic should know of a function: what it calls, who calls it, which tests name it."""
