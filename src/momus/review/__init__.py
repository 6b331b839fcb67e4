"""Files in, critiques at their lines out: to a terminal or as JSON."""
