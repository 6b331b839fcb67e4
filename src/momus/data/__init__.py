"""Real data in and out: the ecosystem's formats, prompts, functions of the standard library and of packages."""
