"""The options of commands that prompt a model to be a critic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from momus.critics.prompted import PromptedConfig


def read_prompting(rules: Path | None, samples: int | None, bare: bool = False) -> PromptedConfig | None:
    """Return how a model is asked; None where no option says.

    Raises:
        UserError: The rules cannot be read, or a value is out of range.
    """
    from momus.critics.prompted import PromptedConfig
    from momus.errors import UserError

    if rules is None and samples is None and not bare:
        return None
    try:
        text = rules.read_text(encoding="utf-8") if rules else ""
    except OSError as error:
        raise UserError(f"--rules {rules}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--rules {rules}: not UTF-8 text") from error
    return PromptedConfig(rules=text, samples=1 if samples is None else samples, bare=bare)
