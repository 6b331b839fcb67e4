"""What an adapter's folder says of its base."""

import json
from pathlib import Path

import pytest

from momus.critics.open import is_prompted
from momus.errors import UserError
from momus.lm.codec import read_tokenizer
from momus.lm.local.adapter_base import CONFIG_FILE, base_name, base_path
from momus.lm.tiny import TINY


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_revision_is_one_of_a_name_on_the_hub_alone(tmp_path: Path, is_folder: bool) -> None:
    base = str(tmp_path) if is_folder else "org/model"
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / CONFIG_FILE).write_text(json.dumps({"base_model_name_or_path": base, "revision": "abc"}))
    assert base_name(adapter) == (base, None if is_folder else "abc")
    assert base_path(adapter) == base and base_path(tmp_path) == str(tmp_path)


def test_an_adapter_over_an_adapter_is_refused(tmp_path: Path) -> None:
    for name, base in (("inner", "org/model"), ("outer", str(tmp_path / "inner"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / CONFIG_FILE).write_text(json.dumps({"base_model_name_or_path": base}))
    with pytest.raises(UserError, match="is itself an adapter: merge that first"):
        base_name(tmp_path / "outer")


def test_an_adapter_without_a_tokenizer_has_its_base_s(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"base_model_name_or_path": str(TINY)}))
    assert read_tokenizer(tmp_path).get_vocab() == read_tokenizer(TINY).get_vocab()
    (tmp_path / "tokenizer_config.json").write_text("{}")  # one of its own, and broken
    with pytest.raises(UserError, match="cannot load a tokenizer from"):
        read_tokenizer(tmp_path)


def test_an_adapter_without_a_tokenizer_chats_where_its_base_does(tmp_path: Path) -> None:
    for name, template in (("chats", "{{ messages }}"), ("mute", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
        (tmp_path / f"over {name}").mkdir()
        base = json.dumps({"base_model_name_or_path": str(tmp_path / name)})
        (tmp_path / f"over {name}" / CONFIG_FILE).write_text(base)
    assert is_prompted(tmp_path / "over chats") and not is_prompted(tmp_path / "over mute")
