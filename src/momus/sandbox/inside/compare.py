"""Call functions and their tampered versions with the same made-up arguments, inside the cage: does any call differ?

stdin holds, as JSON, `cases`, the number of `calls`, the `seconds` of processor time for each case, and a `token` that
begins every line of results. A case has the `original` text and the texts of its `versions`, each with the `lines` of
the original that it changes; the `name` of the function to call; and where the names that it uses come from, `module`
or `file`. A line of results holds true for a version that some call tells from the original, false for one that none
does, null where it is not known: the function cannot be driven, does not do the same twice, shows nothing of what it
does, or too few calls reach the lines.
"""

import contextlib
import copy
import importlib
import inspect
import io
import json
import os
import random
import re
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

SECONDS_A_CALL = 0.2
"""Processor time: how busy the machine is must not decide what is known of a function."""
SECONDS_ASLEEP = 0.6
"""Time by the clock, after which a call is ended as well: it may wait for something."""
TOO_LONG = "too long"
"""What a call did that was ended."""
TRIALS = 800
"""Combinations of kinds of arguments that are tried, to see which a function takes."""
WAITS = 20
"""Calls that take too long among them, after which no more are tried: 800 would take minutes."""
ENOUGH = 10
"""Calls that return and reach the changed lines: with fewer, nothing is said."""
WORDS = [
    "",
    "a",
    "b",
    "ab",
    "A",
    "aB c",
    "  x ",
    "0",
    "12",
    "-3",
    "3.5",
    "a,b",
    "a b  c",
    "\n",
    "x=1",
    "é",
    "/a//b",
    ".",
]
LETTERS = "abcA 01.,-/\n'\"%<&=:;#\\*?[]()"
Draw = Callable[[random.Random], Any]


class TooLongError(BaseException):
    """A call took too long."""


def text(rng: random.Random) -> str:
    """Draw a text: a word, some characters, or a few lines."""
    if rng.random() < 0.4:
        return rng.choice(WORDS)
    letters = rng.choice([LETTERS, "ab", "ab \n", " \t\nab", "01", "ab/.", "()[]{}", "=#;\na "])
    return "".join(rng.choices(letters, k=rng.randrange(1, 16)))


def number(rng: random.Random) -> int:
    """Draw an integer, a small one mostly."""
    return rng.choice([0, 1, 2, 3, -1, rng.randint(-8, 12), rng.randint(0, 300)])


def real(rng: random.Random) -> float:
    """Draw a float, round ones often."""
    return rng.choice([0.0, 1.0, -1.5, 0.25, 0.5, rng.uniform(-5, 5), rng.random()])


def many(item: Draw) -> Draw:
    """Draw a list."""
    return lambda rng: [item(rng) for _ in range(rng.randrange(7))]


KINDS: dict[str, Draw] = {
    "int": number,
    "float": real,
    "str": text,
    "bool": lambda rng: rng.random() < 0.5,
    "bytes": lambda rng: text(rng).encode(),
    "ints": many(number),
    "floats": many(real),
    "strs": many(text),
    "tuple": lambda rng: tuple(many(number)(rng)),
    "pairs": many(lambda rng: (text(rng), number(rng))),
    "mixed": many(lambda rng: rng.choice([None, True, number(rng), text(rng)])),
    "nested": many(lambda rng: rng.choice([number(rng), many(number)(rng), (text(rng),)])),
    "rows": many(lambda rng: [number(rng) for _ in range(2)]),
    "dict": lambda rng: {text(rng): rng.choice([number, text])(rng) for _ in range(rng.randrange(5))},
    "set": lambda rng: set(many(number)(rng)),
    "None": lambda rng: None,
    "file": lambda rng: io.StringIO(text(rng)),
    "function": lambda rng: rng.choice([len, str, bool, repr, abs]),
}
COMMON = [*(KINDS[kind] for kind in ("str", "str", "str", "int", "int", "strs", "ints")), *KINDS.values()]
"""What is drawn from for an argument of which nothing is known."""


def shown(value: Any) -> str:
    """Return a value as text that equal values share."""
    if isinstance(value, io.StringIO):
        return f"file {'closed' if value.closed else value.getvalue()!r} {vars(value)}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({', '.join(sorted(map(shown, value)))})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(shown, value))})"
    return re.sub(r"0x[0-9a-fA-F]+", "0x", f"{type(value).__name__} {value!r}")


def called(function: Any, arguments: list[Any]) -> tuple[bool, str]:
    """Call a function with copies of arguments; returns whether it returned, and all that it did."""
    arguments, before = copy.deepcopy(arguments), shown(arguments)
    printed = io.StringIO()
    signal.setitimer(signal.ITIMER_PROF, SECONDS_A_CALL)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_ASLEEP)
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            result = function(*arguments)
            if hasattr(result, "__next__"):
                result = [item for item, _ in zip(result, range(100), strict=False)]
            after = shown(arguments)
            return True, f"{shown(result)} {'' if after == before else after} {printed.getvalue()!r}"
    except TooLongError:
        return False, TOO_LONG
    except BaseException as error:
        return False, f"raises {type(error).__name__} {shown(arguments)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def defined(source: str, case: dict[str, Any]) -> Any:
    """Run a text where the names that it uses are known; returns the function to call."""
    names: dict[str, Any] = {"__name__": "subject"}
    with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
        if case["module"]:
            names = dict(vars(importlib.import_module(case["module"])))
        elif case["file"]:
            exec(compile(case["file"], "<file>", "exec"), names)
    exec(compile(source, "<subject>", "exec"), names)
    return names[case["name"]]


def drawers(function: Any) -> list[list[Draw]]:
    """Return, for each argument by position, what may be drawn for it; one with a default has its default's kind."""
    known: list[list[Draw]] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            break
        kind = type(parameter.default).__name__
        if parameter.default is parameter.empty or kind not in KINDS:
            known.append(COMMON)
        else:
            known.append([KINDS[kind], lambda _, value=parameter.default: copy.deepcopy(value)])  # type: ignore[misc]
    return known


def arguments_of(function: Any, calls: int, rng: random.Random) -> list[list[Any]]:
    """Return arguments for so many calls, of kinds with which the function was seen to return; none if it never was."""
    known = drawers(function)
    least = sum(p.default is p.empty for p in list(inspect.signature(function).parameters.values())[: len(known)])
    taken: list[list[Draw]] = []
    waits = 0
    for _ in range(TRIALS if known else 0):
        kinds = [rng.choice(draws) for draws in known[: rng.randint(least, len(known))]]
        returned, outcome = called(function, [draw(rng) for draw in kinds])
        if returned:
            taken.append(kinds)
        waits += outcome == TOO_LONG
        if waits == WAITS:
            break
    return [[draw(rng) for draw in rng.choice(taken)] for _ in range(calls)] if taken else []


def lines_reached(function: Any, arguments: list[Any]) -> set[int]:
    """Return the lines of a text, from 1, that a call reaches."""
    reached: set[int] = set()

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != "<subject>":
            return None
        reached.add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        called(function, arguments)
    finally:
        sys.settrace(None)
    return reached


def compare(case: dict[str, Any], calls: int) -> list[bool | None]:
    """Say of each version whether some call tells it from the original."""
    unknown: list[bool | None] = [None] * len(case["versions"])
    function = defined(case["original"], case)
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        return unknown
    if next(iter(inspect.signature(function).parameters), "") in ("self", "cls"):
        return unknown  # what a method does is in its object
    inputs = arguments_of(function, calls, random.Random(case["name"]))
    first, second = ([called(function, given) for given in inputs for _ in (1, 2)] for _ in (1, 2))
    if first != second or len({outcome for returned, outcome in first if returned}) < 2:
        return unknown  # what it does does not show in what it returns
    reached = [lines_reached(function, given) if first[2 * i][0] else set() for i, given in enumerate(inputs)]
    verdicts: list[bool | None] = []
    for version in case["versions"]:
        if sum(bool(lines & set(version["lines"])) for lines in reached) < ENOUGH:
            verdicts.append(None)
            continue
        try:
            other = defined(version["text"], case)
        except Exception:
            verdicts.append(True)
            continue
        results = (called(other, given) for given in inputs for _ in (1, 2))
        verdicts.append(any(a != b for a, b in zip(first, results, strict=True)))
    return verdicts


def too_long(*_: object) -> None:
    """End a call."""
    raise TooLongError


def in_a_process(case: dict[str, Any], job: dict[str, Any]) -> list[bool | None]:
    """Compare in a process of its own, which may end as it likes."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            null = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            resource.setrlimit(resource.RLIMIT_CPU, (job["seconds"], job["seconds"]))
            sys.setrecursionlimit(400)
            for alarm in (signal.SIGPROF, signal.SIGALRM):
                signal.signal(alarm, too_long)
            os.write(writer, json.dumps(compare(case, job["calls"])).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        written = answer.read()
    os.waitpid(child, 0)
    return json.loads(written) if written else [None] * len(case["versions"])


if __name__ == "__main__":
    job = json.load(sys.stdin)
    for case in job["cases"]:
        print(job["token"] + json.dumps(in_a_process(case, job)), flush=True)
