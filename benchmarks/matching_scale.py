"""Can the paper's whole collection be matched on two cores, in minutes and bounded memory?

    python benchmarks/matching_scale.py [--documents 3096] [--reviews 8745] [--json FILE] [--quick]

As many documents and reviews as the Nature journals of LLM scientific feedback (arXiv 2310.01783): each document with
a model's 10 points and its share of the reviews, 2 to 12 points each, 15 to 60 words a point; the shuffled null within
15 journals. The text is synthetic: words from a Zipf law over 30,000 made-up ones, a topic of 40 words for each
document, and one point in three said again in other order by somebody else. So the numbers of overlap mean nothing,
and only time and memory are measured: reading and fitting, matching everything once, and all statistics.

One process does it all.
"""

from __future__ import annotations

import json
import resource
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from common import Goal, Report, parser

from momus.evaluate.documents.matched import documents_of, match_documents
from momus.evaluate.documents.overlap import analyse
from momus.match.lexical import LexicalMatcher
from momus.match.reviews import read_reviews

VOCABULARY = 30_000
MINUTES = 10.0
GIBIBYTES = 2.0


def write_collection(path: Path, documents: int, reviews: int, seed: int = 0) -> None:
    """Write a synthetic collection as JSON Lines; see the module."""
    rng = np.random.default_rng(seed)
    letters = rng.integers(97, 123, (VOCABULARY, 9))
    lengths = rng.integers(3, 10, VOCABULARY)
    vocabulary = ["".join(map(chr, row[:length])) for row, length in zip(letters, lengths, strict=True)]
    weights = 1 / np.arange(1, VOCABULARY + 1)
    weights /= weights.sum()
    per = np.full(documents, reviews // documents) + (np.arange(documents) < reviews % documents)

    def point(topic: np.ndarray, said: list[list[str]]) -> str:
        if said and rng.random() < 1 / 3:
            words = list(said[rng.integers(len(said))])
            rng.shuffle(words)
        else:
            size = int(rng.integers(15, 61))
            numbers = np.where(rng.random(size) < 0.2, rng.choice(topic, size), rng.choice(VOCABULARY, size, p=weights))
            words = [vocabulary[number] for number in numbers]
            said.append(words)
        return " ".join(words)

    with path.open("w", encoding="utf-8") as file:
        for number in range(documents):
            topic, said = rng.integers(1000, VOCABULARY, 40), list[list[str]]()
            for reviewer in range(per[number] + 1):
                size = int(rng.integers(2, 13)) if reviewer else 10
                record = {
                    "document": f"d{number}",
                    "reviewer": f"r{reviewer}" if reviewer else "model",
                    "kind": "person" if reviewer else "model",
                    "points": [{"text": point(topic, said)} for _ in range(size)],
                    "strata": {"journal": f"j{number % 15}"},
                }
                file.write(json.dumps(record) + "\n")


def main() -> None:
    """Write the collection, match it, measure it."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--documents", type=int, default=3096, help="documents (3096)")
    options.add_argument("--reviews", type=int, default=8745, help="reviews by people (8745)")
    arguments = options.parse_args()
    if arguments.quick:
        arguments.documents, arguments.reviews = 60, 170
    report = Report(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.jsonl"
        write_collection(path, arguments.documents, arguments.reviews)
        seconds: dict[str, list[float]] = {}
        start = perf_counter()
        documents = documents_of(read_reviews(path))
        seconds["read"] = [perf_counter() - start]
    points = [p for own in documents for side in (own.models, own.people) for points in side.values() for p in points]
    start = perf_counter()
    matcher = LexicalMatcher().fit(dict.fromkeys(points))
    seconds["fit"] = [perf_counter() - start]
    start = perf_counter()
    matched = list(match_documents(documents, matcher, within=("journal",), shuffles=1))
    seconds["match"] = [perf_counter() - start]
    start = perf_counter()
    analyse(matched, "model")
    seconds["analyse"] = [perf_counter() - start]
    lists = sum(len(own.scores) + sum(map(len, own.shuffled)) for own in matched)
    pairs = sum(scores.size for own in matched for part in (own.scores, *own.shuffled) for scores in part.values())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report.case("the paper's size", seconds, documents=len(documents), lists=lists, pairs=pairs, gibibytes=memory)
    report.table(
        f"{len(documents)} documents, {arguments.reviews} reviews, {len(points)} points",
        ("", "seconds"),
        [(name, f"{own[0]:.1f}") for name, own in seconds.items()],
    )
    report.console.print(f"{lists} pairs of lists, {pairs} pairs of points; at most {memory:.2f} GiB of memory.")
    total = sum(own[0] for own in seconds.values()) / 60
    report.finish(
        [
            Goal("minutes in all", total, MINUTES, at_least=False),
            Goal("GiB of memory", memory, GIBIBYTES, at_least=False),
        ]
    )


if __name__ == "__main__":
    main()
