"""Equations of Word (OMML) on one line: E = mc^(2), (a)/(b), sqrt(x). Every letter of an equation is in its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from momus.documents.readers.archive import local_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element


def linear(element: Element) -> str:
    """Return an equation, or a part of one, as text on one line."""
    form = _FORMS.get(local_name(element))
    return form(element) if form else _inside(element)


def _inside(element: Element) -> str:
    if local_name(element) == "t":
        return element.text or ""
    return "".join(linear(child) for child in element)


def _part(element: Element, name: str) -> str:
    return "".join(linear(child) for child in element if local_name(child) == name)


def _value(element: Element, properties: str, name: str, default: str) -> str:
    """Return the `val` of a property, which may be empty; `default` where there is none."""
    for child in element:
        if local_name(child) == properties:
            for grandchild in child:
                if local_name(grandchild) == name:
                    return next(
                        (value for key, value in grandchild.items() if key.rpartition("}")[2] == "val"), default
                    )
    return default


def _grouped(text: str) -> str:
    return text if len(text) <= 1 else f"({text})"


def _raised(text: str) -> str:
    return f"^{_grouped(text)}" if text else ""


def _lowered(text: str) -> str:
    return f"_{_grouped(text)}" if text else ""


def _fraction(element: Element) -> str:
    return f"{_grouped(_part(element, 'num'))}/{_grouped(_part(element, 'den'))}"


def _radical(element: Element) -> str:
    degree = _part(element, "deg")
    return f"{f'root_{_grouped(degree)}' if degree else 'sqrt'}({_part(element, 'e')})"


def _script(element: Element) -> str:
    before = f"{_lowered(_part(element, 'sub'))}{_raised(_part(element, 'sup'))}"
    base = _part(element, "e")
    return f"{before}{base}" if local_name(element) == "sPre" else f"{base}{before}"


def _n_ary(element: Element) -> str:
    sign = _value(element, "naryPr", "chr", "∫")
    limits = f"{_lowered(_part(element, 'sub'))}{_raised(_part(element, 'sup'))}"
    return f"{sign}{limits} {_part(element, 'e')}"


def _delimited(element: Element) -> str:
    begin, end = _value(element, "dPr", "begChr", "("), _value(element, "dPr", "endChr", ")")
    between = _value(element, "dPr", "sepChr", "|")
    return begin + between.join(linear(child) for child in element if local_name(child) == "e") + end


def _matrix(element: Element) -> str:
    rows = [[linear(cell) for cell in row if local_name(cell) == "e"] for row in element if local_name(row) == "mr"]
    return "[" + "; ".join(", ".join(row) for row in rows) + "]"


def _lines(element: Element) -> str:
    return "; ".join(linear(child) for child in element if local_name(child) == "e")


def _limit(element: Element) -> str:
    lower = local_name(element) == "limLow"
    return f"{_part(element, 'e')}{(_lowered if lower else _raised)(_part(element, 'lim'))}"


def _function(element: Element) -> str:
    return f"{_part(element, 'fName')} {_part(element, 'e')}"


_FORMS: dict[str, Callable[[Element], str]] = {
    "f": _fraction,
    "rad": _radical,
    "sSup": _script,
    "sSub": _script,
    "sSubSup": _script,
    "sPre": _script,
    "nary": _n_ary,
    "d": _delimited,
    "m": _matrix,
    "eqArr": _lines,
    "limLow": _limit,
    "limUpp": _limit,
    "func": _function,
}
