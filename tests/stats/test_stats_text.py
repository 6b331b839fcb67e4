"""Estimates in words."""

import re

from hypothesis import given
from hypothesis import strategies as st

from momus.stats.bootstrap import Interval
from momus.stats.text import interval_text


@given(st.floats(-2, 2), st.sampled_from([".0f", ".1f", "+.1f", ".3f"]), st.sampled_from([1, 100]))
def test_what_rounds_to_0_has_no_minus_and_all_else_keeps_its_own(value, spec, scale):
    text = interval_text(Interval(value, value, value), spec, scale=scale)
    numbers = re.findall(r"[-+\d.]+", text)
    assert len(numbers) == 3
    for number in numbers:
        assert float(number) == float(f"{scale * value:{spec}}") and number.startswith("-") == (float(number) < 0)
