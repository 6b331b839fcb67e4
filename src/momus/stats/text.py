"""Estimates and intervals in words: what the data do not determine is never written as a number."""

from __future__ import annotations

import math

from momus.stats.bootstrap import Interval

NOT_DETERMINED = "not determined"
NO_INTERVAL = "no interval"


def value_text(value: float, spec: str = ".2f", *, scale: float = 1.0, unit: str = "") -> str:
    """Write an estimate times `scale`, with its unit behind it; "not determined" if it is not finite."""
    return f"{_number(scale * value, spec)}{unit}" if math.isfinite(value) else NOT_DETERMINED


def percent_text(value: float, digits: int = 0) -> str:
    """Write a share in percent; "not determined" if it is not finite."""
    return value_text(value, f".{digits}f", scale=100, unit="%")


def range_text(interval: Interval, spec: str = ".2f", *, scale: float = 1.0) -> str:
    """Write the ends of an interval as "LOW to HIGH".

    Without ends it is "no interval", around an infinite estimate "LOW or more" or "HIGH or less". It is empty if that
    end is not known either, or there is no estimate at all.
    """
    value, low, high = (scale * number for number in (interval.value, interval.low, interval.high))
    if math.isnan(value):
        return ""
    if math.isinf(value):
        end, words = (low, "or more") if value > 0 else (high, "or less")
        return f"{_number(end, spec)} {words}" if math.isfinite(end) else ""
    if not interval.has_ends:
        return NO_INTERVAL
    return " to ".join(_number(end, spec).replace("inf", "∞") for end in (low, high))


def interval_text(interval: Interval, spec: str = ".2f", *, scale: float = 1.0, unit: str = "") -> str:
    """Write an estimate with its interval: "12.0 (9.1 to 15.3)", "12.0 (no interval)" or "not determined"."""
    ends = range_text(interval, spec, scale=scale)
    value = value_text(interval.value, spec, scale=scale, unit=unit)
    return f"{value} ({ends})" if ends else value


def _number(value: float, spec: str) -> str:
    """Write a number; what rounds to 0 is not written as "-0"."""
    sign = spec[:1] if spec[:1] in "+- " else ""
    return f"{value:{sign}z{spec.removeprefix(sign)}}"
