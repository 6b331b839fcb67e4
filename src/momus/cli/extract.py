"""`momus extract`: the key points of reviews, each with the words it stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, ChatOptions
from momus.cli.shared.seed import Seed

_NO_MODEL = ChatOptions()

_SHOWN = 5


def command(
    reviews: Positional[Path],
    out: Path,
    by: Literal["rules", "model"] = "rules",
    chat: Annotated[ChatOptions, FLAT] = _NO_MODEL,
    seed: Seed = 0,
) -> int:
    """Find the key points of reviews; a point whose quote is not in its review is rejected and counted.

    Interrupted and started again, it continues where it was: what is done is kept in OUT with the ending .ledger.

    Args:
        reviews: Reviews with a text and without points: JSON Lines, a .txt or .md file, or a folder of them, named
            DOCUMENT.REVIEWER.txt. Reviews that have points stay as they are.
        out: Where the reviews go, with their points.
        by: Rules take list items and sentences that voice a concern, offline; a model reads the review.
        chat: The model to ask.
        seed: Everything random follows from it.
    """
    from momus.cli.shared.costs import print_cost
    from momus.cli.shared.output import bar, say
    from momus.errors import UserError
    from momus.evaluate.documents.extraction import extract_reviews
    from momus.files import Ledger
    from momus.match.open import open_extractor
    from momus.match.reviews import read_reviews
    from momus.records import write_jsonl

    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: there is no directory {out.parent}")
    given = read_reviews(reviews)
    model = chat.named(seed).used_by(by)
    extractor = open_extractor(by, model)
    ledger = Ledger(out.with_name(out.name + ".ledger"), {**extractor.identity(), "seed": seed})
    with ledger, bar("Reviews") as progress:
        done = extract_reviews(given, extractor, ledger, progress)
        if done.reviews or not done.failed:
            write_jsonl(out, done.reviews)
        ledger.remove()
    print_cost(model.asking)
    if done.failed and not done.reviews and done.problem:
        raise UserError(f"the model gave no answer to any of {len(done.failed)} reviews: {done.problem}")
    if done.failed and not done.reviews:
        raise UserError(f"the model gave no answer that can be read to any of {len(done.failed)} reviews: try another")
    say(f"{done.points} points were extracted; {len(done.reviews)} reviews are in {out}")
    if done.rejected:
        say(f"{len(done.rejected)} points rejected: their quotes are not in the review, such as")
    for review, quote in done.rejected[:_SHOWN]:
        say(f"  {review.document}, {review.reviewer}: {quote!r}")
    if done.failed:
        first = done.failed[0]
        say(
            f"{len(done.failed)} reviews left out: {done.problem or 'no answer that can be read'}, the first that of "
            f"{first.document!r} by {first.reviewer!r}"
        )
    return 0
