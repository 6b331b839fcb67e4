"""Evaluations as tables in a terminal: every number with its 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from momus.evaluate.instruct.metadata import FORM, OVERALL
from momus.stats.bootstrap import Interval
from momus.stats.text import interval_text, value_text
from momus.terminal import visible

if TYPE_CHECKING:  # reward models bring torch, which a table does without
    from momus.evaluate.critics.measure import CriticRow
    from momus.evaluate.instruct.preferences import PreferenceRow, ScaleRow
    from momus.evaluate.instruct.results import TaskResult
    from momus.evaluate.instruct.reward_models import Accuracy, CrossValidation
    from momus.evaluate.instruct.tax import TaxReport
    from momus.stats.elo import EloResult


def preference_table(rows: Sequence[PreferenceRow], elo: EloResult, baseline: str | None) -> Table:
    """Show win rates, the best first."""
    against = f"against {baseline}" if baseline else "against all others"
    table = _table(f"Win rate {against}, ties counting half", "system", "won %", "tied %", "games", "prompts", "Elo")
    level = any(row.equal_length for row in rows)
    if level:
        table.add_column("won % at equal length", justify="right")
    for row in rows:
        cells = [percent(row.won.rate), percent(row.won.ties), str(row.won.games), str(row.won.prompts)]
        cells.append(estimate_text(elo.interval(row.system), 1, 0))
        if level and row.equal_length:
            cells.append(percent(row.equal_length))
        table.add_row(_name(row.system), *cells)
    return table


def scale_table(rows: Sequence[ScaleRow]) -> Table:
    """Show the means of every scale, a column for each author: Likert scores as they are, yes-or-no as percentages."""
    authors = list(dict.fromkeys(author for row in rows for author in row.means))
    table = _table("Judgements by author", "scale", *(author or "not stated" for author in authors), "judged")
    for row in rows:
        asked = FORM[row.scale].question if row.scale in FORM else ""
        yes_or_no = row.scale in FORM and row.scale != OVERALL.name
        cells = [
            (percent(row.means[author]) if yes_or_no else estimate_text(row.means[author], 1, 2))
            if author in row.means
            else "–"
            for author in authors
        ]
        name = f"{row.scale}{' %' if yes_or_no else ''}"
        table.add_row(_name(name, asked), *cells, str(sum(row.judged.values())))
    return table


def critic_table(rows: Sequence[CriticRow]) -> Table:
    """Show what critics catch and claim, a row each."""
    table = _table(
        f"Critics on {rows[0].answers} answers with {rows[0].bugs} bugs, {rows[0].clean} answers without",
        "critic", "bugs caught %", "repair named %", "fake problems", "nitpicks", "false on a clean answer", "comments",
        "quotes verbatim %",
    )  # fmt: skip
    for row in rows:
        each = (row.fakes, row.nitpicks, row.clean_false, row.comments)
        cells = [
            percent(row.catch),
            percent(row.named),
            *(estimate_text(count, 1, 2) for count in each),
            percent(row.verbatim),
        ]
        table.add_row(_name(row.source), *cells)
    return table


def accuracy_table(title: str, rows: Mapping[str, Accuracy]) -> Table:
    """Show how often pairs are ordered as the labeler did."""
    table = _table(title, "group", "accuracy %", "pairs", "prompts")
    for name, accuracy in rows.items():
        table.add_row(_name(name), percent(accuracy.share), str(accuracy.pairs), str(accuracy.prompts))
    return table


def folds_table(folds: CrossValidation) -> Table:
    """Show cross-validation by labeler group: each fold, and all together."""
    table = _table(
        "Accuracy % on prompts not trained on", "fold", "rankings", "labelers trained on", "held-out labelers"
    )
    for number, fold in enumerate(folds.folds, 1):
        shares = (value_text(share, ".1f", scale=100) for share in (fold.in_group, fold.held_out))
        table.add_row(str(number), str(fold.trained), *shares)
    table.add_section()
    table.add_row("all", "", percent(folds.in_group.share), percent(folds.held_out.share))
    table.add_row("pairs", "", str(folds.in_group.pairs), str(folds.held_out.pairs))
    table.add_row("difference", "", percent(folds.difference), "")
    return table


def results_table(results: Sequence[TaskResult]) -> Table:
    """Show a system's results on public tasks."""
    table = _table("Public tasks", "task", "value", "items", "better")
    words = {"high": "higher", "low": "lower", "": "–"}
    for result in results:
        table.add_row(
            _name(result.name), estimate_text(result.mean(), 1, 3), str(len(result.items)), words[result.better]
        )
    return table


def systems_table(results: Mapping[str, Sequence[TaskResult]]) -> Table:
    """Show what several systems scored: a section for each task, a row for each system."""
    table = _table("Given answers", "task", "system", "value", "items", "better")
    words = {"high": "higher", "low": "lower", "": "–"}
    for name in dict.fromkeys(result.name for each in results.values() for result in each):
        for system, each in results.items():
            for result in each:
                if result.name == name:
                    mean = estimate_text(result.mean(), *((1, 1) if result.counts else (1, 3)))
                    table.add_row(_name(name), _name(system), mean, str(len(result.items)), words[result.better])
        table.add_section()
    return table


def tax_table(report: TaxReport) -> Table:
    """Show what changed on every task."""
    names = [f"{system} − {against}" for system, against in report.pairs]
    table = _table("Changes in points, paired by item", "task", "items", report.systems[0], *names)
    colors = {"better": "green", "worse": "red", "changed": "yellow"}
    for row in report.rows:
        cells: list[Text] = []
        for change in row.changes:
            text = estimate_text(change.difference, row.scale, row.digits, sign=True)
            color = colors.get(change.verdict)
            enough = f", {items_text(change.enough)} would show it" if change.enough and not color else ""
            back = f", {interval_text(change.recovered, '.0f', scale=100)} % won back" if change.recovered else ""
            cells.append(Text(f"{text} {change.verdict}{back}", color) if color else Text(text + enough + back))
        before = estimate_text(row.means[report.systems[0]], row.scale, row.digits)
        table.add_row(_name(row.name), str(row.items), before, *cells)
    return table


def items_text(number: int) -> str:
    """Write about how many items there have to be, two digits of it."""
    return f"about {float(f'{number:.2g}'):,.0f} items" if number <= 100_000 else "over 100,000 items"


def percent(interval: Interval) -> str:
    """Write a share in percent."""
    return estimate_text(interval, 100, 1)


def estimate_text(interval: Interval, scale: float, digits: int, sign: bool = False) -> str:
    """Write a value with its interval."""
    return interval_text(interval, f"{'+' if sign else ''}.{digits}f", scale=scale)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(_name(column), justify="right")
    return table


def _name(name: str, more: str = "") -> Text:
    """Return a name from somebody's data as it is, control characters spelled out; `more` dim below it."""
    return Text.assemble(visible(name), (f"\n{more}" if more else "", "dim"))
