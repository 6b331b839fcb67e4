"""What the report says of the simulated contractors is what their noise was calibrated to."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from momus.raters.contractor import calibrate_noise, panel
from momus.raters.study import rate_samples
from momus.records import Task
from momus.report.loop import _contractors
from momus.tamper.insert import tamper
from support.samples import MEAN

TAMPERS = [tamper(Task(id=str(i), question="", answer=MEAN), i % 2, random.Random(i)) for i in range(8)]
ALIKE = ["No problems found."] * 4
SAMPLES = [[f"```\ntotal = 0\n```\nWrong{'!' * (i * j)}" for j in range(4)] for i in range(1, 8)]


@pytest.mark.parametrize("samples", [[ALIKE, *SAMPLES], [*SAMPLES, SAMPLES[0]]])
@pytest.mark.parametrize("reached", [True, False])
def test_contractor_table_shows_the_calibrated_agreement(samples: list[list[str]], reached: bool) -> None:
    """Also where an answer's critiques are all alike, so that there is nothing to prefer: one is no NaN for all."""
    ratings = rate_samples(TAMPERS, samples, 3, seed=0)
    comparisons = [item[0] for item in ratings.comparisons]
    noise = calibrate_noise(comparisons, seed=0)._replace(reached=reached)
    result = SimpleNamespace(comparisons=comparisons, contractors=panel(2, noise.noise, seed=0), **noise._asdict())
    reported = _contractors(result)
    assert reported.agreement[0].attribute == "overall"
    assert reported.agreement[0].agreement.value == pytest.approx(noise.agreement)
    for row in reported.agreement:  # who always ties has no agreement
        assert np.isnan(row.agreement.value) or row.agreement.low <= row.agreement.value <= row.agreement.high
    assert ("No noise gets there" in reported.note) is not reached
