import numpy as np
import pytest

from momus.critique import Comment, Critique, Span, anchor, format_critique
from momus.errors import UserError
from momus.raters.contractor import (
    SimulatedContractor,
    Taste,
    assign,
    calibrate_noise,
    compare_critiques,
    merit,
    panel,
)
from momus.records import Bug, Tamper, Task
from momus.tamper.truth import judge


def make_tamper(number, bugs=1):
    names = ["alpha", "beta", "gamma", "delta", "omega"]
    answer = "def f(x):\n" + "\n".join(f"    {name} = x + {number}" for name in names)
    made = []
    for name in names[:bugs]:
        start = answer.index(f"{name} =")
        text = f"{name} = x + {number}"
        made.append(
            Bug(
                kind="number",
                spans=(Span(start, start + len(text)),),
                description=f"Should be `{name} = x - {number}`.",
                original=f"{name} = x - {number}",
                replacement=text,
            )
        )
    return Tamper(task=Task(id=f"t{number}", question="", answer=answer), answer=answer, bugs=tuple(made))


def remark(tamper, name, text="Looks off."):
    quote = f"{name} = x"
    return Comment(highlight=quote, text=text, span=anchor(quote, tamper.answer))


def four(tamper):
    """A critique that names, one that locates, one that is wrong, and silence."""
    return {
        "named": tamper.gold_critique(),
        "located": Critique(comments=(remark(tamper, "alpha"),)),
        "fake": Critique(comments=(remark(tamper, "omega"),)),
        "quiet": Critique(),
    }


def test_merit_orders_critiques_as_the_form_would():
    tamper = make_tamper(1)
    merits = {k: merit(judge(c, tamper), format_critique(c), Taste()) for k, c in four(tamper).items()}
    assert merits["named"] > merits["located"] > merits["quiet"] > merits["fake"]
    clean = make_tamper(1, bugs=0)
    on_clean = {k: merit(judge(c, clean), format_critique(c), Taste()) for k, c in four(tamper).items()}
    assert max(on_clean, key=on_clean.get) == "quiet"


def test_noiseless_ratings_equal_the_truth():
    tamper = make_tamper(2)
    texts = [format_critique(c) for c in four(tamper).values()]
    # Averaged over contractors, bias and the odd "unsure" vanish.
    ratings = [contractor.rate(tamper, texts) for contractor in panel(60, 0.0)]
    mean = {
        field: np.mean([[getattr(r, field) for r in row] for row in ratings], axis=0)
        for field in ("comprehensive", "fake_problem", "overall", "concise")
    }
    cbi = np.mean([[r.cbi[0] for r in row] for row in ratings], axis=0)
    assert cbi[0] > 6.4 and 4.9 < cbi[1] < 6.1 and (cbi[2:] < 1.5).all()
    assert mean["comprehensive"][0] > mean["comprehensive"][1] > mean["comprehensive"][2] + 3
    assert mean["fake_problem"][2] > 5 and (np.delete(mean["fake_problem"], 2) < 1.5).all()
    assert mean["overall"].argsort().tolist() == [2, 3, 1, 0]
    assert mean["concise"][3] == max(mean["concise"])


def test_clean_code_has_no_cbi_and_silence_is_comprehensive():
    clean = make_tamper(1, bugs=0)
    rating = SimulatedContractor("c", 0.0).rate(clean, [format_critique(Critique())] * 2)[0]
    assert rating.cbi == ()
    assert rating.comprehensive >= 6


def test_ratings_do_not_depend_on_slots_or_on_what_was_rated_before():
    tamper = make_tamper(3)
    texts = [format_critique(c) for c in four(tamper).values()]
    contractor = SimulatedContractor("c", 2.0)
    straight = contractor.rate(tamper, texts)
    contractor.rate(make_tamper(4), texts)
    assert contractor.rate(tamper, texts[::-1]) == straight[::-1]
    assert SimulatedContractor("d", 2.0).rate(tamper, texts) != straight
    assert SimulatedContractor("c", 2.0, seed=1).rate(tamper, texts) != straight


def comparisons(count=60, noise=0.0):
    made = []
    for number in range(count):
        tamper = make_tamper(number, bugs=number % 3)
        written = four(make_tamper(number)) if not tamper.bugs else four(tamper)
        rng = np.random.default_rng(number)
        rater = SimulatedContractor("c", noise)
        made.append(compare_critiques(tamper, list(written.values()), list(written), rater, rng))
    return made


def test_compare_is_blind_seeded_and_marked_simulated():
    made = comparisons(200)
    assert made == comparisons(200)
    assert all(c.simulated and c.labeler == "c" for c in made)
    slots = np.array([[c.sources.index(s) for s in ("named", "located", "fake", "quiet")] for c in made])
    for column in slots.T:
        counts = np.bincount(column, minlength=4)
        # 200 draws over four slots: mean 50, standard deviation 6.1.
        assert (abs(counts - 50) < 22).all()
    for comparison in made[:5]:
        for text, source in zip(comparison.critiques, comparison.sources, strict=True):
            number = int(comparison.tamper.task.id[1:])
            expected = four(comparison.tamper if comparison.tamper.bugs else make_tamper(number))
            assert text == format_critique(expected[source])


def test_calibration_reaches_the_target_and_is_deterministic():
    made = comparisons(120)
    result = calibrate_noise(made, 0.73)
    assert result.reached
    assert result.agreement == pytest.approx(0.73, abs=0.005)
    assert result.noise > 0.3
    assert calibrate_noise(made[::-1], 0.73) == result


def test_agreement_of_fresh_contractors_is_the_calibrated_one():
    made = comparisons(200)
    noise = calibrate_noise(made, 0.73).noise
    agreed = []
    for seed in range(1, 4):
        first, second = panel(2, noise, seed=seed)
        rng = np.random.default_rng(seed)
        for comparison in made:
            a = [r.overall for r in first.rate(comparison.tamper, comparison.critiques)]
            b = [r.overall for r in second.rate(comparison.tamper, comparison.critiques)]
            for i in range(4):
                for j in range(i):
                    one = a[i] - a[j] or rng.choice([-1, 1])
                    two = b[i] - b[j] or rng.choice([-1, 1])
                    agreed.append((one > 0) == (two > 0))
    # 3600 pairs: standard error below 0.015 even with the pairs of a comparison dependent.
    assert np.mean(agreed) == pytest.approx(0.73, abs=0.04)


def test_an_agreement_out_of_reach_is_reported():
    tamper = make_tamper(0)
    same = [Critique(comments=(remark(tamper, name),)) for name in ("beta", "gamma", "delta", "omega")]
    made = [compare_critiques(tamper, same, list("abcd"), SimulatedContractor("c", 0), np.random.default_rng(0))]
    result = calibrate_noise(made, 0.95)
    assert not result.reached and result.noise == 0 and result.agreement < 0.95
    with pytest.raises(UserError, match="between"):
        calibrate_noise(made, 1.0)
    with pytest.raises(UserError, match="different critiques"):
        calibrate_noise([], 0.73)


def test_contractors_never_rate_what_they_wrote():
    contractors = panel(3, 1.0)
    rng = np.random.default_rng(0)
    drawn = {assign(contractors, rng, authors={"contractor-2"}).name for _ in range(60)}
    assert drawn == {"contractor-1", "contractor-3"}
    with pytest.raises(UserError, match="add one"):
        assign(contractors[:1], rng, authors={"contractor-1"})
    tamper = make_tamper(0)
    with pytest.raises(UserError, match="may not rate"):
        compare_critiques(tamper, ["a", "b"], ["x", "y"], contractors[0], rng, authors=["contractor-1"])
    with pytest.raises(ValueError, match="sources"):
        compare_critiques(tamper, ["a", "b"], ["x"], contractors[0], rng)
