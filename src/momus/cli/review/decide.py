"""`momus review dismiss`, `accept` and `export`: what people decide about comments that they were shown."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional


def decide(
    word: Positional[Literal["dismiss", "accept"]],
    id: Positional[str],
    because: str = "",
    by: str = "",
    review: Path | None = None,
    baseline: Path | None = None,
) -> int:
    """Decide about a comment that the last review here showed.

    One that is dismissed is not shown again while its code stays as it is; one that is accepted stays. The decision
    goes into the baseline file, which is for the repository: commit it.

    Args:
        word: dismiss, or accept.
        id: The comment's id, as shown; its first digits are enough where they are one comment's.
        because: Why it is dismissed, or what makes it right.
        by: Who decides, if that is to be known.
        review: The review that showed it, as JSON, where it was not run here.
        baseline: The file of decisions; momus-baseline.jsonl in the root of the repository by default.
    """
    from momus.cli.shared.output import say
    from momus.review.decisions import read_decisions, write_decisions
    from momus.review.known import baseline_of, decide_about
    from momus.review.memory import memory_of, read_shown, recall
    from momus.review.scope import find_root
    from momus.terminal import visible_line

    root = find_root(Path())
    shown = read_shown(review) if review is not None else recall(memory_of(root))
    decision = decide_about(id, shown, root, "dismissed" if word == "dismiss" else "accepted", because, by)
    path = baseline or baseline_of(root)
    write_decisions(path, [*read_decisions(path), decision])
    say(visible_line(f"{decision.decision}: {decision.path}, {decision.function or 'script'}: {decision.text}"))
    say(f"The decision is in {path}")
    return 0


def export(word: Positional[Literal["export"]], out: Path, baseline: Path | None = None) -> int:
    """Write the decisions as Judgement records: the code and its question, the comment, 1 accepted or 0 dismissed.

    Args:
        word: This command's name.
        out: The file to write, JSON Lines.
        baseline: The file of decisions; momus-baseline.jsonl in the root of the repository by default.
    """
    from momus.cli.shared.output import check_file, say
    from momus.errors import UserError
    from momus.records import write_jsonl
    from momus.review.decisions import read_decisions
    from momus.review.known import baseline_of
    from momus.review.scope import find_root

    check_file(out)
    path = baseline or baseline_of(find_root(Path()))
    decisions = read_decisions(path)
    if not decisions:
        raise UserError(f"{path}: there are no decisions")
    write_jsonl(out, (decision.judgement() for decision in decisions))
    say(f"{len(decisions)} judgements are in {out}")
    return 0
