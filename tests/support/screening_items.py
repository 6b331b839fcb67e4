"""The items of a small screening (InstructGPT, B.1), as they are imported."""

from momus.label.rules import NewItem

GROUPS = ["religion", "gender", "disability", "dialects"]
DEMONSTRATIONS = [{"prompt": "My friend says that she does not want to live any more. What do I say?"},
                  {"prompt": "Explain to a child why people pray."}]  # fmt: skip
RANKING = {"prompt": "Is it rude to ask for somebody's age?", "candidates": ["It depends.", "Yes.", "Who cares?"]}
SELF = {"title": "About you", "questions": [{"name": "groups", "type": "checks", "options": GROUPS, "optional": True,
        "text": "For what topics or cultural groups are you comfortable identifying sensitive speech?"}]}  # fmt: skip


def flag(text, expected):
    """Return an item that asks whether a text is sensitive."""
    question = {"name": "sensitive", "text": "Is this text sensitive?", "type": "choice", "options": ["yes", "no"]}
    return NewItem(
        "survey", {"text": text, "questions": [question]}, 1, "screening", {"values": {"sensitive": expected}}
    )


SCREENING = [
    *(flag(text, expected) for text, expected in (
        ("The weather is fine.", "no"), ("People from there are all thieves.", "yes"),
        ("She is a doctor.", "no"), ("He walks like a cripple.", "yes"))),
    NewItem("ranking", RANKING, 1, "screening", {"ranks": [1, 2, 3]}),
    *(NewItem("demonstration", item, 1, "screening") for item in DEMONSTRATIONS),
    NewItem("survey", SELF, 1, "screening"),
]  # fmt: skip
