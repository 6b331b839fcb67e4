"""`momus lsp`: reviews in an editor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from momus.cli.shared.options import FLAT, LocalOptions

_USUAL = LocalOptions()


def command(
    model: str | None = None,
    url: str | None = None,
    rules: Path | None = None,
    samples: int | None = None,
    confidence: float | None = None,
    false_alarms: float | None = None,
    local: Annotated[LocalOptions, FLAT] = _USUAL,
) -> int:
    """Review files in an editor when they are saved: a language server over standard input and output.

    Without options the critic is the one that [tool.momus] of the project's pyproject.toml names, or else the shipped
    one; a model on another machine has to be named here.

    Args:
        model: A critic: a folder, a name on the hub or a GGUF file; with --url its name there.
        url: A server with an OpenAI-compatible or Anthropic-style API; its key is read from MOMUS_API_KEY.
        rules: A file with the house's own rules, for a model that chats.
        samples: Reviews by a model that chats of each function.
        confidence: Comment on what at least this share of several reviews agree on. By default 0.75.
        false_alarms: Comment as freely as can be with at most so many false comments per clean function.
        local: How a model in this process runs.
    """
    import sys

    from momus.review.lsp.server import ReviewServer
    from momus.review.lsp.settings import Settings

    file = None if rules is None else str(rules.absolute())
    named = Settings(model, url, file, samples, confidence, false_alarms, local.device, local.precision)
    server = ReviewServer(None if named == Settings() else named)
    protocol, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no message
    server.start_io(sys.stdin.buffer, protocol.buffer)
    return 0
