"""Personal data out of the prompts that are trained on (InstructGPT, arXiv 2203.02155, section 3.2).

The paper says that it filtered the training split, not how. Here what has a form becomes a typed placeholder, as
`[EMAIL]`, in the training split only: e-mail addresses, telephone numbers (found by Google's library, as the
`phonenumbers` package), bank accounts and cards with the right check digits, IP addresses that can be somebody's,
social security numbers of the United States and resident registration numbers of Korea. Names and street addresses have
no form: to find them takes a model, and none is used. Nothing is downloaded.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, tee
from typing import NamedTuple

from momus.data.pool import in_order
from momus.errors import UserError
from momus.records import Message, Prompt

REGIONS = ("US", "GB", "KR")
"""Where a telephone number without a country code is looked for. One with `+` and its code is found whatever it is."""

# What a text must have to hold something of a kind: a quick look that spares most texts the slow ones. No country has
# telephone numbers of fewer than four digits.
_AT, _COLONS, _DIGIT, _DIGITS = (re.compile(form) for form in ("@", r":[^:]{0,4}:", r"\d", r"(?:\d\D*){4}"))


class Finding(NamedTuple):
    """Personal data in a text: its kind and where."""

    kind: str
    start: int
    end: int


def _always(text: str) -> bool:
    return True


def _is_address(text: str) -> bool:
    """Whether an IP address can be somebody's: not this machine's, nor never given out, as the slice `1::2` reads."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_reserved or address.is_multicast)


def _is_card(text: str) -> bool:
    """Whether the check digit of a card number is right: Luhn's sum, ISO/IEC 7812."""
    digits = [int(sign) for sign in reversed(text) if sign.isdigit()]
    twice = (2 * digit - 9 * (digit > 4) for digit in digits[1::2])
    return 13 <= len(digits) <= 19 and (sum(digits[::2]) + sum(twice)) % 10 == 0


def _is_account(text: str) -> bool:
    """Whether the two check digits of a bank account are right: ISO 13616, modulo 97."""
    signs = text.replace(" ", "")
    return int("".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])) % 97 == 1


_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_EMAIL = r"(?<![\w.+-])[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:\w[\w-]{0,62}\.)+[^\W\d_]{2,24}\b"
_IPV4 = rf"(?<![\w.])(?:{_BYTE}\.){{3}}{_BYTE}(?!\.?\w)"
_IPV6 = r"(?<![\w:.])(?:[\da-fA-F]{0,4}:){2,7}[\da-fA-F]{0,4}(?![\w:])"
_IBAN = r"\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b"
_CARD = r"(?<![\w-])[3-6](?:[ -]?\d){12,18}(?!-|\w| \d)"
_KR_RESIDENT = r"(?<![\d-])\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-[1-8]\d{6}(?![\d-])"
_US_SSN = r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\d-])"

_KINDS: tuple[tuple[str, re.Pattern[str], re.Pattern[str], Callable[[str], bool]], ...] = (
    ("EMAIL", _AT, re.compile(_EMAIL), _always),
    ("IP_ADDRESS", _DIGITS, re.compile(_IPV4, re.ASCII), _is_address),
    ("IP_ADDRESS", _COLONS, re.compile(_IPV6, re.ASCII), _is_address),
    ("IBAN", _DIGIT, re.compile(_IBAN, re.ASCII), _is_account),
    ("CARD", _DIGITS, re.compile(_CARD, re.ASCII), _is_card),
    ("KR_RESIDENT", _DIGITS, re.compile(_KR_RESIDENT, re.ASCII), _always),
    ("US_SSN", _DIGITS, re.compile(_US_SSN, re.ASCII), _always),
)
"""Kind, what a text needs to hold one, its form, and what must be true of what has the form. Of findings that overlap
the one further up counts."""


class Redactor:
    """Puts placeholders where personal data is.

    Raises:
        UserError: One of the regions is not the code of a country that has telephone numbers.
    """

    def __init__(self, regions: Sequence[str] = REGIONS) -> None:
        from phonenumbers import SUPPORTED_REGIONS

        for region in regions:
            if region not in SUPPORTED_REGIONS:
                raise UserError(f"no country {region!r}: name it by the two capital letters of ISO 3166, as US")
        # Without a region only numbers with a country code are found.
        self._regions = tuple(regions) or (None,)

    def find(self, text: str) -> list[Finding]:
        """Return what is found, in order, without overlaps."""
        taken: list[Finding] = []
        for candidate in (*_formed(text), *self._telephones(text)):
            if all(candidate.end <= other.start or other.end <= candidate.start for other in taken):
                taken.append(candidate)
        return sorted(taken, key=lambda item: item.start)

    def _telephones(self, text: str) -> Iterator[Finding]:
        from phonenumbers import PhoneNumberMatcher

        if _DIGITS.search(text):
            for region in self._regions:
                for match in PhoneNumberMatcher(text, region):
                    yield Finding("PHONE", match.start, match.end)

    def redact(self, text: str) -> tuple[str, Counter[str]]:
        """Return a text in which nothing is found any more, and how many of each kind were replaced."""
        counts: Counter[str] = Counter()
        # Again, for what a finding that overlapped another leaves behind may be personal data itself.
        while matches := self.find(text):
            counts.update(item.kind for item in matches)
            for kind, start, end in reversed(matches):
                text = f"{text[:start]}[{kind}]{text[end:]}"
        return text, counts

    def __call__(self, texts: tuple[str, ...]) -> tuple[tuple[str, ...], Counter[str]] | None:
        """Redact texts together; None where nothing is found in any."""
        pairs = [self.redact(text) for text in texts]
        counts = sum((kinds for _, kinds in pairs), Counter[str]())
        return (tuple(text for text, _ in pairs), counts) if counts else None


def _formed(text: str) -> Iterator[Finding]:
    for kind, needed, form, holds in _KINDS:
        if needed.search(text):
            yield from (Finding(kind, *match.span()) for match in form.finditer(text) if holds(match[0]))


def redact_training(
    prompts: Iterable[Prompt], regions: Sequence[str] = REGIONS, workers: int = 1
) -> Iterator[tuple[Prompt, Counter[str]]]:
    """Yield every prompt in order, those of the training split redacted, and what was replaced in it.

    Memory is that of some thousand prompts.
    """
    ahead, kept = tee(prompts)
    results = in_order(partial(Redactor, regions), map(_texts, ahead), workers)
    for prompt, result in zip(kept, results, strict=True):
        if result is None:
            yield prompt, Counter()
        else:
            texts, counts = result
            yield prompt.model_copy(update={"prompt": _with_texts(prompt, texts)}), counts


def _texts(prompt: Prompt) -> tuple[str, ...]:
    """Return the texts to be looked at: none of a prompt that is held out."""
    if prompt.split != "train":
        return ()
    return (
        (prompt.prompt,)
        if isinstance(prompt.prompt, str)
        else tuple(text for turn in prompt.prompt for text in turn.texts())
    )


def _with_texts(prompt: Prompt, texts: tuple[str, ...]) -> str | tuple[Message, ...]:
    if isinstance(prompt.prompt, str):
        return texts[0]
    rest = iter(texts)
    return tuple(turn.with_texts(list(islice(rest, len(turn.texts())))) for turn in prompt.prompt)
