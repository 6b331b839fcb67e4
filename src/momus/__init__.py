"""Momus aligns language models with feedback, and measures how good that feedback is.

What a Python user needs is named here and loaded when it is first used: `import momus` by itself loads nothing. The
names are those of the commands, with their object where the package `momus.NAME` has the bare verb: `momus review` is
`review_code`, `momus tamper` `tamper_code`, `momus feedback` `give_feedback`, `momus match` `find_matches`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from momus.critics.open import open_critic as open_critic
    from momus.critique import Comment as Comment
    from momus.critique import Critique as Critique
    from momus.critique import parse_critique as parse_critique
    from momus.documents.giving import give_feedback as give_feedback
    from momus.documents.reading import read_document as read_document
    from momus.errors import UserError as UserError
    from momus.lm.chats.open import open_chat as open_chat
    from momus.lm.chats.protocol import Question as Question
    from momus.lm.local.engine import LocalEngine as LocalEngine
    from momus.lm.local.load import load_local_engine as load_local_engine
    from momus.lm.pointers.reward import load_reward as load_reward
    from momus.lm.remote.engine import RemoteEngine as RemoteEngine
    from momus.lm.tiny import TINY as TINY
    from momus.match.matcher import find_matches as find_matches
    from momus.match.open import NamedModel as NamedModel
    from momus.match.open import open_matcher as open_matcher
    from momus.records import Demonstration as Demonstration
    from momus.records import Prompt as Prompt
    from momus.records import Ranking as Ranking
    from momus.records import Tamper as Tamper
    from momus.records import Task as Task
    from momus.review.reviewer import review_code as review_code
    from momus.search.best_of_n import best_of_n as best_of_n
    from momus.search.candidates import encode_tasks as encode_tasks
    from momus.search.fsbs import FSBSConfig as FSBSConfig
    from momus.search.fsbs import choose_best as choose_best
    from momus.search.fsbs import force_sampling_beam_search as force_sampling_beam_search
    from momus.search.rain.dataset import Rain as Rain
    from momus.search.rain.tasks import RAIN_TASKS as RAIN_TASKS
    from momus.search.reward import reward_function as reward_function
    from momus.stats.elo import bootstrap_elo as bootstrap_elo
    from momus.stats.elo import fit_elo as fit_elo
    from momus.stats.elo import wins_by_task as wins_by_task
    from momus.stats.overlap import overlap as overlap
    from momus.tamper.insert import tamper_code as tamper_code
    from momus.train.from_files import train_dpo as train_dpo
    from momus.train.from_files import train_ppo as train_ppo
    from momus.train.from_files import train_reward as train_reward
    from momus.train.from_files import train_sft as train_sft
    from momus.train.settings import DPOConfig as DPOConfig
    from momus.train.settings import PPOConfig as PPOConfig
    from momus.train.settings import RewardConfig as RewardConfig
    from momus.train.settings import SFTConfig as SFTConfig
    from momus.train.settings import TextConfig as TextConfig

__version__ = "0.1.0"

_MODULES = {
    "momus.critics.open": ("open_critic",),
    "momus.critique": ("Comment", "Critique", "parse_critique"),
    "momus.documents.giving": ("give_feedback",),
    "momus.documents.reading": ("read_document",),
    "momus.errors": ("UserError",),
    "momus.lm.chats.open": ("open_chat",),
    "momus.lm.chats.protocol": ("Question",),
    "momus.lm.local.engine": ("LocalEngine",),
    "momus.lm.local.load": ("load_local_engine",),
    "momus.lm.pointers.reward": ("load_reward",),
    "momus.lm.remote.engine": ("RemoteEngine",),
    "momus.lm.tiny": ("TINY",),
    "momus.match.matcher": ("find_matches",),
    "momus.match.open": ("NamedModel", "open_matcher"),
    "momus.records": ("Demonstration", "Prompt", "Ranking", "Tamper", "Task"),
    "momus.review.reviewer": ("review_code",),
    "momus.search.best_of_n": ("best_of_n",),
    "momus.search.candidates": ("encode_tasks",),
    "momus.search.fsbs": ("FSBSConfig", "choose_best", "force_sampling_beam_search"),
    "momus.search.rain.dataset": ("Rain",),
    "momus.search.rain.tasks": ("RAIN_TASKS",),
    "momus.search.reward": ("reward_function",),
    "momus.stats.elo": ("bootstrap_elo", "fit_elo", "wins_by_task"),
    "momus.stats.overlap": ("overlap",),
    "momus.tamper.insert": ("tamper_code",),
    "momus.train.from_files": ("train_dpo", "train_ppo", "train_reward", "train_sft"),
    "momus.train.settings": ("DPOConfig", "PPOConfig", "RewardConfig", "SFTConfig", "TextConfig"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*_MODULE_OF, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a name of the front door when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'momus' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the front door."""
    return sorted({*globals(), *_MODULE_OF})
