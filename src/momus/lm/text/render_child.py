"""The process that renders chat templates that may not end: a request a line on stdin, an answer a line on stdout.

`template.py` starts it, and ends it where it takes too long.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

MEMORY = 1 << 30
"""Bytes that rendering may add to what the process has."""

LONGEST = 64 << 20
"""Characters of a rendered text."""


def _render(request: dict[str, Any]) -> dict[str, Any]:
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        (text,), _ = render_jinja_template(
            conversations=[request["messages"]],
            tools=request["tools"] or None,
            chat_template=request["template"],
            add_generation_prompt=request["ask"],
            **request["variables"],
        )
    except MemoryError:
        return {"error": f"it needs more than {MEMORY >> 20:,} MB of memory"}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:1000]}
    if len(text) > LONGEST:
        return {"error": f"it writes {len(text):,} characters"}
    return {"text": text}


def main() -> None:
    """Answer every request on stdin."""
    say, sys.stdout = sys.stdout, sys.stderr
    import transformers.utils.chat_template_utils  # noqa: F401

    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    say.write("ready\n")
    say.flush()
    for line in sys.stdin.buffer:
        say.write(json.dumps(_render(json.loads(line))) + "\n")
        say.flush()


if __name__ == "__main__":
    main()
