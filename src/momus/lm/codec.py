"""Text to tokens and back with a model's own tokenizer, and which tokens a server means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from momus.errors import UserError
from momus.files import check_model_folder
from momus.lm.constraint import Vocabulary
from momus.lm.end_tokens import end_tokens
from momus.lm.gguf import pretrained
from momus.lm.local.adapter_base import base_name, is_adapter
from momus.lm.remote.wire import ServerToken
from momus.lm.text.encode import Encoder


class Codec:
    """A fast tokenizer: text to tokens and back, and the bytes behind tokens.

    Raises:
        UserError: It is not a fast one.

    Attributes:
        tokenizer: The tokenizer itself.
        encoder: Counts and cuts texts by the tokenizer.
        vocabulary: The bytes every token stands for; what constraints are made from.
        context_length: Most tokens that the model reads, None for any number or where that is not known.
    """

    context_length: int | None = None

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.encoder = tokenizer, Encoder(tokenizer)
        self.vocabulary = Vocabulary.from_tokenizer(tokenizer)

    def encode(self, text: str, bos: bool) -> list[int]:
        """Turn text into tokens; special tokens spelled out in the text stay text.

        Raises:
            TooLongError: It certainly has more than the model reads.
            UserError: A beginning-of-text token is asked for and the tokenizer has none.
        """
        tokens = self.encoder.encode(text, self.context_length)
        if not bos:
            return tokens
        if self.tokenizer.bos_token_id is None:
            raise UserError("this tokenizer has no beginning-of-text token")
        return [int(self.tokenizer.bos_token_id), *tokens]

    def decode(self, tokens: Sequence[int]) -> str:
        """Turn tokens into text, without special tokens."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))


class ServerCodec(Codec):
    """The tokenizer of a model on a server, or the one of that name or in that folder.

    Raises:
        UserError: It cannot be loaded, is not a fast one or has no end-of-text token.
    """

    def __init__(self, source: Any) -> None:
        super().__init__(read_tokenizer(source) if isinstance(source, str | Path) else source)
        if self.tokenizer.eos_token_id is None:
            raise UserError("this tokenizer has no end-of-text token")
        self.end = int(self.tokenizer.eos_token_id)
        self.ends = end_tokens(self.tokenizer)

    def is_special(self, token: int) -> bool:
        """Whether a token stands for no text."""
        return self.vocabulary.pieces[token] is None

    def as_text(self, prompt: Sequence[int]) -> str | None:
        """Return a prompt as text for a server that puts its own beginning-of-text token before it.

        None if there are other special tokens in it, which text cannot say without being mistaken for a user's.
        """
        inner = prompt[1:] if prompt[0] == self.tokenizer.bos_token_id else prompt
        return None if any(self.is_special(token) for token in inner) else self.decode(inner)

    def identify(self, pieces: Sequence[ServerToken]) -> list[int] | None:
        """Return the tokens that a server's pieces are, or None where that cannot be told.

        They go by their number; else they must be the usual way to cut their text; else each must have a text that
        no other token has.

        Raises:
            UserError: A number is not in the vocabulary.
        """
        usual = self.encode("".join(piece.text for piece in pieces), bos=False)
        if len(usual) == len(pieces) and all(
            piece.token is None and piece.data in (None, self.vocabulary.pieces[token])
            for piece, token in zip(pieces, usual, strict=True)
        ):
            return usual
        known = [self.token_of(piece) for piece in pieces]
        return [token for token in known if token is not None] if None not in known else None

    def has(self, piece: ServerToken) -> bool:
        """Whether any token could be this piece; False means that the tokenizer is not the server's."""
        if piece.token is not None:
            return 0 <= piece.token < len(self.vocabulary)
        special = not piece.text or piece.text in self.tokenizer.all_special_tokens
        return special or piece.data is None or piece.data in self.vocabulary.by_piece

    def token_of(self, piece: ServerToken) -> int | None:
        """Return the token that one piece is by itself, or None where that cannot be told.

        Raises:
            UserError: Its number is not in the vocabulary.
        """
        if piece.token is not None:
            if not 0 <= piece.token < len(self.vocabulary):
                raise UserError(f"the tokenizer is not the server's: it has no token {piece.token}")
            return piece.token
        found = self.vocabulary.by_piece.get(piece.data or b"", [])
        if not found and piece.text in self.tokenizer.all_special_tokens:
            return int(self.tokenizer.convert_tokens_to_ids(piece.text))
        return found[0] if len(found) == 1 else None


def read_tokenizer(source: str | Path) -> Any:
    """Load a tokenizer from a local directory, the hub or a GGUF file; of an adapter without one, its base's.

    Raises:
        UserError: There is none.
    """
    from transformers import AutoTokenizer

    revision = None
    if is_adapter(source) and not (Path(source) / "tokenizer_config.json").is_file():
        source, revision = base_name(Path(source))
    if not Path(source).exists() and (str(source).startswith(("/", ".", "~")) or str(source).count("/") > 1):
        raise UserError(f"{source}: there is no such folder or file, and no model on the hub is called so")
    name, options = pretrained(source)
    if revision is not None:
        options["revision"] = revision
    if Path(source).is_dir():
        if not (Path(source) / "tokenizer_config.json").is_file():
            refuse_run(source)
        check_model_folder(Path(source), weights=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)
        if not isinstance(tokenizer.model_max_length, int | float):
            raise TypeError(f"its model_max_length is {tokenizer.model_max_length!r}, which is no number")
        if not isinstance(tokenizer.chat_template, str | dict | None):
            raise TypeError("its chat_template is no text")
        return tokenizer
    except BaseException as error:  # the library's core, in Rust, ends in a panic of its own on what it does not expect
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        refuse_run(source)
        line = " ".join(str(error).split())[:300]
        raise UserError(f"cannot load a tokenizer from {source}: {line}") from error


def read_server_tokenizer(model: str, url: str) -> Any:
    """Load the tokenizer of a model on a server from what this machine has: its folder, or an earlier download.

    A model's name on a server is the server's affair, so it is not looked up on the hub.

    Raises:
        UserError: It is not here.
    """
    from transformers import AutoTokenizer

    if Path(model).exists():
        return read_tokenizer(model)
    try:
        return AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise UserError(
            f"to continue texts, {url} needs the tokenizer of {' '.join(model.split())[:80]!r}, which is not on this "
            "machine: name a folder or a name on the hub as the tokenizer, or download it once"
        ) from error


def refuse_run(source: str | Path) -> None:
    """Refuse a run directory where the model in it is meant.

    Raises:
        UserError: It is one.
    """
    model = Path(source) / "model"
    if (model / "config.json").is_file():
        raise UserError(f"{source} is a run directory: name the model in it, {model}")
