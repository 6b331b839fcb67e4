"""Which critic reviews in an editor: what the command says, or else the table [tool.momus] of the project."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from momus.critics.critic import Critic, innermost
from momus.critics.open import Precision, open_at_setting
from momus.critics.prompted import PromptedConfig, PromptedCritic
from momus.errors import UserError
from momus.lm.chats.asking import Asking
from momus.lm.chats.cache import AnswerCache, default_path
from momus.review import configuration
from momus.review.cache import Kept, KeptCritic
from momus.search.result import RewardSource


@dataclass(frozen=True)
class Settings:
    """A critic and its dial; see `momus review`."""

    model: str | None = None
    url: str | None = None
    rules: str | None = None
    samples: int | None = None
    confidence: float | None = None
    false_alarms: float | None = None
    device: str | None = None
    precision: Precision | None = None
    calibration: str | None = None

    @classmethod
    def of_project(cls, project: configuration.Settings) -> Settings:
        """Return the critic that a project names, and its dial."""
        names = {field.name for field in fields(cls)} & {field.name for field in fields(project)}
        return cls(**{name: getattr(project, name) for name in names})

    def open(self, folder: Path) -> tuple[Critic, float]:
        """Open the critic; paths are from `folder`.

        Raises:
            UserError: It cannot be opened.
        """
        prompted = None
        if self.rules is not None or self.samples is not None:
            text = read_text(folder / self.rules) if self.rules else ""
            prompted = PromptedConfig(rules=text, samples=self.samples or 1)
        model = self.model
        if model is not None and self.url is None and (folder / model).exists():
            model = str(folder / model)
        critic, setting, _ = open_at_setting(
            model,
            RewardSource(),
            self.confidence,
            self.false_alarms,
            folder / self.calibration if self.calibration and self.false_alarms is not None else None,
            url=self.url,
            prompted=prompted,
            device=self.device,
            precision=self.precision,
            asking=Asking(True, None, None),
        )
        if isinstance(innermost(critic), PromptedCritic):  # which keeps its answers by itself
            return critic, setting
        return KeptCritic(critic, Kept(AnswerCache(default_path()))), setting


def read_settings(folder: Path) -> configuration.Settings:
    """Read [tool.momus] of a folder's pyproject.toml; the shipped critic where there is none.

    A project comes from anybody, and its file is read before anyone looked at it: so it may name a server of this
    machine only, for the code is sent there.

    Raises:
        UserError: The file or a value is not as it should be.
    """
    path = folder / configuration.FILE
    if not path.is_file():
        return configuration.Settings()
    settings = configuration.parse_settings(read_text(path).encode(), str(path))
    if settings.url is not None and not _is_here(settings.url):
        shown = settings.url[:80]
        raise UserError(f"{path}: tool.momus.url: {shown} is another machine: name it in the editor (--url)")
    return settings


def _is_here(url: str) -> bool:
    try:
        return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:  # such as http://[
        return False


def read_text(path: Path) -> str:
    """Read a text.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error
