"""An item of every kind of task, with `PLANTED` wherever a labeler must not look, and a judgement that fits it."""

TASK = {
    "id": "PLANTED-task",
    "question": "Write `add(a, b)`.",
    "answer": "def add(a, b):\n    if a is None:\n        return b\n    return a + b\n",
    "module": "PLANTED.module",
}
TAMPERED = TASK["answer"].replace("a + b", "a - b")
TAMPER = {
    "task": TASK,
    "answer": TAMPERED,
    "bugs": [
        {
            "kind": "PLANTED-kind",
            "spans": [[TAMPERED.index("return a"), len(TAMPERED) - 1]],
            "description": "Subtracts where it should add.",
            "original": "a + b",
            "replacement": "a - b",
        }
    ],
}
CRITIQUES = [
    "```\nreturn a - b\n```\nThis subtracts.",
    "```\nif a is None:\n```\nNo test for `b`.\n\nElse fine.",
    "No problems found.",
    "```\nreturn a - b\n```\nWrong operator: use `+`.",
]
ORIGIN = {"format": "PLANTED", "place": "PLANTED", "dataset": "PLANTED", "user": "PLANTED"}

ITEMS = {
    "demonstration": {"prompt": "Why is the **sky** blue?", "origin": ORIGIN},
    "prompt": {"style": "few-shot", "about": "Cooking"},
    "ranking": {
        "prompt": [{"role": "user", "content": "Name a prime."}],
        "candidates": ["2", "4", "Seven is a prime.", "I will not say."],
        "authors": ["PLANTED1", "PLANTED2", "PLANTED3", "PLANTED4"],
        "origin": ORIGIN,
    },
    "edit": {"prompt": "Spell *cat*.", "answer": "k-a-t", "author": "PLANTED", "origin": ORIGIN},
    "break": {"about": "Dates"},
    "tamper": {"task": TASK},
    "found": {"task": {**TASK, "answer": TAMPERED}, "reason": "It gave me 1 for 3 and 2.", "rating": 2},
    "critique": {
        "task": {**TASK, "answer": TAMPERED},
        "prefill": CRITIQUES[0] + "\n\n" + CRITIQUES[1],
        "prefill_source": "PLANTED",
    },
    "comparison": {
        "tamper": TAMPER,
        "critiques": CRITIQUES,
        "sources": ["PLANTED1", "PLANTED2", "PLANTED3", "PLANTED4"],
    },
    "review": {
        "submission": "PLANTED",
        "kind": "demonstration",
        "payload": {"prompt": "Why is the sky blue?", "origin": ORIGIN},
        "arrangement": {},
        "content": {"answer": "Because it scatters blue light most."},
    },
    "survey": {
        "title": "Feedback on your paper",
        "text": "The feedback said: *more baselines*.",
        "questions": [
            {"name": "useful", "text": "How helpful was it?", "low": "not at all", "high": "very"},
            {"name": "who", "text": "Who are you?", "type": "choice", "options": ["author", "reader"]},
            {"name": "again", "text": "What is missing?", "type": "text"},
            {"name": "topics", "text": "Which topics?", "type": "checks", "options": ["method", "writing"],
             "optional": True},
        ],
    },
}  # fmt: skip

_PIECES = [
    {"kind": "title", "text": "Why salt water freezes late"},
    {"kind": "heading", "text": "What we did", "level": 1},
    {"kind": "paragraph", "text": "We put two cups of water in the freezer, one with a spoon of salt. "
                                  "After two hours the water was ice."},
    {"kind": "heading", "text": "What it means", "level": 1},
    {"kind": "paragraph", "text": "Salt gets in between, so the water cannot freeze so fast."},
]  # fmt: skip
_DRAFT = [
    {"key": "question", "title": "Your question", "points": [{"text": "You ask a question that can be tried out."}]},
    {"key": "evidence", "title": "Your evidence",
     "points": [{"text": "You never say how often you measured.", "quote": "two cups of water in the freezer"}]},
    {"key": "explanation", "title": "Your explanation", "points": [{"text": "Say how salt does it."}]},
    {"key": "structure", "title": "How it is built", "points": [{"text": "Your report is easy to follow."}]},
    {"key": "next_step", "title": "Your next step", "points": [{"text": "Try it with twice the salt."}]},
]  # fmt: skip
ITEMS["feedback"] = {
    "document": {
        "name": "report.md", "format": "PLANTED", "sha256": "PLANTED", "language": "en", "pages": 0, "pieces": _PIECES,
    },
    "feedback": {
        "document": "report.md", "sha256": "PLANTED", "title": "Why salt water freezes late", "rubric": "PLANTED",
        "language": "en", "author": "PLANTED", "kind": "model", "needs_approval": True, "sections": _DRAFT,
        "written": _DRAFT, "struck": [{"point": "PLANTED", "quote": "PLANTED", "dropped": False}],
    },
    "rubric": "pupil",
}  # fmt: skip

_RATING = {"cbi": [7], "comprehensive": 6, "nitpick": 1, "fake_problem": 1, "concise": 5, "overall": 6}
_BUG = {"first": 4, "last": 4, "description": "Subtracts where it should add.", "severity": "major"}

GOOD = {
    "demonstration": {"answer": "Air scatters blue light most."},
    "prompt": {"prompt": "Convert to grams.", "examples": [{"query": "1 kg", "response": "1000 g"}]},
    "ranking": {
        "cards": [{"overall": 7, "flags": {"opinion": False}}, {"overall": 2, "flags": {"fails_task": True}},
                  {"overall": 7}, {"overall": 1}],
        "ranks": [1, 3, 1, 4],
        "rationale": "Two are right.",
    },
    "edit": {"answer": "c-a-t", "why": "Spelling."},
    "break": {"prompt": "What day was 31 February?", "answer": "A Monday.", "why": "There is none."},
    "tamper": {"answer": TAMPERED, "bugs": [_BUG]},
    "found": {"bugs": [_BUG]},
    "critique": {"comments": [{"id": "", "highlight": "return a - b", "text": "Subtracts."}]},
    "comparison": {"ratings": [_RATING] * 4, "rationale": "Clear."},
    "review": {"verdict": "approved"},
    "survey": {"values": {"useful": 6, "who": "author", "again": "Ablations.", "topics": ["method"]}},
    "feedback": {
        "sections": [{"key": section["key"], "points": section["points"]} for section in _DRAFT],
        "verdict": "approved",
        "grade": 5,
    },
}  # fmt: skip
