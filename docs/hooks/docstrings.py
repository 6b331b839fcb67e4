"""Keep the square brackets of docstrings as they are: in `[tree][branch]` Markdown sees a link."""

from typing import Any

import griffe


class Brackets(griffe.Extension):
    """Escape a bracket that follows another one."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object as it is loaded."""
        if obj.docstring is not None:
            parts = obj.docstring.value.split("`")
            parts[::2] = [part.replace("][", "]\\[") for part in parts[::2]]
            obj.docstring.value = "`".join(parts)
