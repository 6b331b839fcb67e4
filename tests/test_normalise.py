"""Texts are compared in one form, whatever form they were typed in; places in the text as it is stay right."""

import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.critique import anchor, parse_critique
from momus.data.dedup import Deduplicator
from momus.data.prompts import Contamination, PromptRules, choose
from momus.match.extract import find_quote
from momus.match.text import features
from momus.normalise import _SECOND, _folded, find, find_all, fold, letters, normalise
from momus.records import Prompt

CURLY = {'"': "“”„«»", "'": "‘’‚′", "-": "–—‑−", " ": "\u00a0\u3000\u2003\u202f\n\t"}
UNSEEN = "\u00ad\u200b\u200d\u2060\ufeff\ufe0f"
TEXT = st.text(
    st.sampled_from("ab XY12.,-'\"() \n가각힣한글éüñÅﬁｶﾞ²½中ς") | st.characters(exclude_categories=("Cs",)), max_size=40
)


@st.composite
def typed_otherwise(draw, text):
    """The same text as somebody else may have typed it."""
    form = draw(st.sampled_from(["", "NFC", "NFD"]))
    text = unicodedata.normalize(form, text) if form else text
    made = ""
    for character in text:
        way = draw(st.integers(0, 5))
        if way == 1 and character in CURLY:
            made += draw(st.sampled_from(CURLY[character]))
        elif way == 2 and "!" <= character <= "~":
            made += chr(ord(character) + 0xFEE0)
        elif way == 3:
            made += character + draw(st.sampled_from(UNSEEN))
        else:
            made += character
    return made


SAME = TEXT.flatmap(lambda text: st.tuples(st.just(text), typed_otherwise(text)))


@settings(max_examples=300)
@given(SAME)
def test_normalise_is_invariant_under_how_a_text_was_typed(texts):
    one, other = texts
    assert normalise(one) == normalise(other) and normalise(one, case=True) == normalise(other, case=True)
    assert letters(one) == letters(other)


@settings(max_examples=300)
@given(TEXT)
def test_normalise_is_idempotent_and_ignores_case_and_spaces(text):
    once = normalise(text)
    assert normalise(once) == once
    assert normalise("\n " + text.replace(" ", " \u00a0\n") + "\t") == once
    assert normalise(unicodedata.normalize("NFD", text.casefold())) == once


@settings(max_examples=300)
@given(TEXT, st.booleans())
def test_fold_gives_the_normal_form_and_every_place_in_order(text, case):
    assert fold(text, case, False).text.strip() == normalise(text, case=case)
    folded = fold(text, case, True)
    assert folded.text == _folded(text, case)
    assert list(folded.starts) == sorted(folded.starts) and list(folded.ends) == sorted(folded.ends)
    for start, end, character in zip(folded.starts, folded.ends, folded.text, strict=True):
        assert 0 <= start < end <= len(text) and character in _folded(text[start:end], case)


@settings(max_examples=300)
@given(TEXT, SAME, TEXT)
def test_find_finds_a_quote_however_it_was_typed_at_its_place(before, quotes, after):
    quote, typed = quotes
    text = f"{before} {quote} {after}"
    place = find(typed, text)
    if not normalise(quote):
        assert place is None
        return
    start, end = place
    assert normalise(text[start:end]) == normalise(quote)
    assert start <= len(before) + 1 + len(quote) - len(quote.lstrip())
    assert all(normalise(text[slice(*other)]) == normalise(quote) for other in find_all(typed, text))


@given(TEXT, TEXT)
def test_find_finds_what_a_search_in_the_normal_forms_finds(quote, text):
    place = find(quote, text)
    assert (place is not None) == (normalise(quote) != "" and normalise(quote) in normalise(text))


@pytest.mark.parametrize(
    ("quote", "text", "passage"),
    [
        ("don't", "We don’t know", "don’t"),
        ("resume", "a résumé", None),  # letters without their accents are others
        ("résumé", "a re\u0301sume\u0301 here", "re\u0301sume\u0301"),
        ("한글", "이 한글 문장", "한글"),
        ("한글", "이 \u1112\u1161\u11ab\u1100\u1173\u11af 문장", "\u1112\u1161\u11ab\u1100\u1173\u11af"),
        ("in formation", "the in\u00ad\u00a0for\u200bmation", "in\u00ad\u00a0for\u200bmation"),
        ("ABC 12", "ａｂｃ　１２", "ａｂｃ　１２"),
        ("find", "to ﬁnd", "ﬁnd"),
        ("i", "to ﬁnd", "ﬁ"),
        ("x2", "x²", None),
        ("51/2", "5½", None),
        ("a - b", "a − b", "a − b"),
        ("STRASSE", "die Straße", "Straße"),
        ("", "text", None),
        ("\u200b ", "text", None),
    ],
)
def test_quotes_by_hand(quote, text, passage):
    place = find(quote, text)
    assert (None if place is None else text[slice(*place)]) == passage


def test_characters_that_compose_with_the_one_before_are_known():
    seconds = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}  # Hangul composes by rule
    for code in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<") and unicodedata.is_normalized("NFC", chr(code)):
            seconds.add(chr(int(parts[1], 16)))
    assert {second for second in seconds if not unicodedata.combining(second)} == _SECOND


def test_case_is_kept_where_it_means_something():
    assert normalise("Total", case=True) != normalise("total", case=True)
    assert list(find_all("total", "Total total", case=True)) == [(6, 11)]
    assert list(find_all("a\nb", "a b a\nb", case=True, spaces=True)) == [(4, 7)]


WORDS = st.lists(
    st.sampled_from(["The", "café", "'opens'", '"late"', "–", "한글", "문장", "is", "naïve,", "x²", "ﬁne", "Ångström"]),
    min_size=3,
    max_size=12,
)
TYPED = WORDS.map(" ".join).flatmap(lambda text: st.tuples(st.just(text), typed_otherwise(text)))


@settings(max_examples=100)
@given(TYPED)
def test_every_comparison_of_texts_is_invariant_under_how_they_were_typed(texts):
    one, other = texts
    passage = find_quote(other, f"Before this: {one} And after.")
    assert passage is not None and normalise(passage).strip(" \"'") == normalise(one).strip(" \"'")
    assert sorted(features(one)) == sorted(features(other))
    assert [prompt.prompt for prompt in _chosen([one, other])] == [one]  # kept as it was typed
    deduplicator = Deduplicator()
    assert deduplicator.add(one) and not deduplicator.add(other)
    assert Contamination([one]).touches(other)
    answer = f"x = 1\n{one}\ny = 2"
    assert anchor(other.replace("\n", " ").strip(), answer) == anchor(one, answer) or "\n" in other or "\t" in other
    critique = parse_critique(f"```\n{one}\n```\nOdd.", answer)
    assert critique.comments[0].highlight == one


def _chosen(texts):
    return list(choose([Prompt(prompt=text) for text in texts], PromptRules(), None, Counter()))
