"""Functions of languages other than Python, through tree-sitter: what is reviewed at a time."""
