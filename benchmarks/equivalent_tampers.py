"""How many tampers change nothing? Original and tampered functions on the same generated inputs, side by side.

    python benchmarks/equivalent_tampers.py [--tampers 2000] [--inputs 500] [--seed 0] [--show 20] [--differential]

Functions of our own and of the standard library that can be driven: pure ones, with generators of their arguments here.
Each is tampered with once per draw, as `momus tamper` does. Both versions are called with the same inputs, twice in a
row in one process (so that what is kept between calls shows), and compared by what they return, raise (in which words)
and do to their arguments. A tamper under which no input makes a difference counts as one that changes nothing: an
upper estimate, for other inputs might. Tampers with lines that no input reaches are left out and counted. Everything
runs in child processes with limits on processor time and memory, and a limit a call.

With --differential, the tampers are first put through the check of `momus data tampers --differential`, which has no
such generators. What it finds to change nothing is left out. What a call of its own tells apart makes a difference,
whether an input from here tells it apart too or not; how many of those there are is printed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import random
import re
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from momus.data.functions import Size, functions
from momus.stats.bootstrap import SHARE, ratio_interval
from momus.tamper.apply import apply_edits, choose_edits, valid
from momus.tamper.differential import Case, make_a_difference
from momus.tamper.edits import Edit
from momus.tamper.sites import find_edits

Draw = Callable[[random.Random], Any]

# Generators of arguments.
WORDS = [
    "",
    "a",
    "b",
    "ab",
    "ba",
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


def number(low: int = -8, high: int = 12) -> Draw:
    """Draw an integer, both ends included."""
    return lambda rng: rng.randint(low, high)


def edges(*values: int) -> Draw:
    """Draw one of some values, or one between them."""
    return lambda rng: rng.choice([*values, rng.randint(min(values), max(values))])


def real() -> Draw:
    """Draw a float, round ones often."""
    return lambda rng: rng.choice([0.0, 1.0, -1.5, 0.25, rng.uniform(-5, 5)])


def unit() -> Draw:
    """Draw a float from 0 to 1, both ends often."""
    return lambda rng: rng.choice([0.0, 1.0, 0.5, rng.random()])


def text(letters: str = "abcA 01.,-/\n'\"%", most: int = 12) -> Draw:
    """Draw a text of some letters, or one of `WORDS`."""

    def draw(rng: random.Random) -> str:
        return rng.choice(WORDS) if rng.random() < 0.3 else "".join(rng.choices(letters, k=rng.randrange(most)))

    return draw


NAN = float("nan")


def mirrored(item: Draw) -> Draw:
    """Draw a text, or one with its mirror image behind it, the middle letter once or twice."""

    def draw(rng: random.Random) -> str:
        half = item(rng)
        return rng.choice([half, half + half[::-1], half + half[-2::-1]])

    return draw


def fresh(low: int = 0, high: int = 3) -> Draw:
    """Draw a number: one that is no other's object, though it may be equal to others, or a common one."""

    def draw(rng: random.Random) -> float:
        own = [float(rng.randint(low, high)), 1000 + rng.randint(low, high), float("nan")]
        return rng.choice([*own, *own, rng.randint(low, high), NAN])

    return draw


def equal() -> Draw:
    """Draw a number of which there are others that are equal and not the same: `1`, `1.0`, `True`."""
    return one_of(-3, -1, 0, 1, 2, 3, 0.0, 1.0, 2.0, False, True)


def once(items: Draw) -> Draw:
    """Draw a list, or what can be gone through once."""
    return lambda rng: iter(items(rng)) if rng.random() < 0.2 else items(rng)


def indented(most: int = 5) -> Draw:
    """Draw lines that are indented by spaces, tabs or both, a stem of it often shared."""

    def draw(rng: random.Random) -> str:
        stem = rng.choice(["", " ", "\t", "  ", " \t"])
        ends = [rng.choice(["", "a", "b c", "a ", "é"]) for _ in range(rng.randint(0, most))]
        lines = [stem * rng.randint(0, 1) + rng.choice(["", " ", "\t", "  "]) + end for end in ends]
        return "\n".join(lines) + rng.choice(["", "\n"])

    return draw


def many(item: Draw, most: int = 8, least: int = 0) -> Draw:
    """Draw a list."""
    return lambda rng: [item(rng) for _ in range(rng.randint(least, most))]


def ordered(item: Draw, most: int = 8) -> Draw:
    """Draw a sorted list."""
    return lambda rng: sorted(item(rng) for _ in range(rng.randint(0, most)))


def one_of(*values: Any) -> Draw:
    """Draw one of some values, a copy."""
    return lambda rng: copy.deepcopy(rng.choice(values))


def table(key: Draw, value: Draw, most: int = 6) -> Draw:
    """Draw a dictionary."""
    return lambda rng: {key(rng): value(rng) for _ in range(rng.randint(0, most))}


OWN = """
def mean(values, default=0):
    total = 0
    count = 0
    for value in values:
        if value is None:
            continue
        total += value
        count += 1
    if count == 0:
        return default
    return total / count

def runs(values):
    result = []
    start = 0
    for i in range(1, len(values) + 1):
        if i == len(values) or values[i] != values[start]:
            result.append((values[start], i - start))
            start = i
    return result

def merge(first, second):
    merged = []
    i = j = 0
    while i < len(first) and j < len(second):
        if first[i] <= second[j]:
            merged.append(first[i])
            i += 1
        else:
            merged.append(second[j])
            j += 1
    merged.extend(first[i:])
    merged.extend(second[j:])
    return merged

def word_counts(text, stop=()):
    counts = {}
    for word in text.lower().split():
        word = word.strip(".,'\\"")
        if not word or word in stop:
            continue
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

def binary_search(values, target):
    low, high = 0, len(values) - 1
    while low <= high:
        middle = (low + high) // 2
        if values[middle] == target:
            return middle
        if values[middle] < target:
            low = middle + 1
        else:
            high = middle - 1
    return -1

def is_palindrome(text):
    letters = [c for c in text.lower() if c.isalnum()]
    left, right = 0, len(letters) - 1
    while left < right:
        if letters[left] != letters[right]:
            return False
        left += 1
        right -= 1
    return True

def flatten(items, depth=1):
    flat = []
    for item in items:
        if isinstance(item, (list, tuple)) and depth > 0:
            flat.extend(flatten(item, depth - 1))
        else:
            flat.append(item)
    return flat

def longest_common_prefix(words):
    if not words:
        return ""
    shortest = min(words, key=len)
    for i, letter in enumerate(shortest):
        for word in words:
            if word[i] != letter:
                return shortest[:i]
    return shortest

def parse_pairs(text, separator="="):
    pairs = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith(("#", ";")):
            continue
        name, found, value = line.partition(separator)
        if not found:
            raise ValueError(f"no {separator} in {line}")
        pairs[name.rstrip()] = value.lstrip()
    return pairs

def primes(limit):
    sieve = [True] * (limit + 1)
    found = []
    for number in range(2, limit + 1):
        if sieve[number]:
            found.append(number)
            for multiple in range(number * number, limit + 1, number):
                sieve[multiple] = False
    return found

def rotate(matrix):
    rows = len(matrix)
    columns = len(matrix[0]) if rows else 0
    turned = [[None] * rows for _ in range(columns)]
    for i in range(rows):
        for j in range(columns):
            turned[j][rows - 1 - i] = matrix[i][j]
    return turned

def moving_average(values, width):
    if width <= 0:
        raise ValueError("width must be positive")
    averages = []
    total = 0.0
    for i, value in enumerate(values):
        total += value
        if i >= width:
            total -= values[i - width]
        averages.append(total / min(i + 1, width))
    return averages

def balanced(text):
    pairs = {")": "(", "]": "[", "}": "{"}
    stack = []
    for letter in text:
        if letter in pairs.values():
            stack.append(letter)
        elif letter in pairs:
            if not stack or stack.pop() != pairs[letter]:
                return False
    return not stack

def roman(number):
    if not 0 < number < 4000:
        raise ValueError("out of range")
    values = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"),
              (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    parts = []
    for value, letters in values:
        count, number = divmod(number, value)
        parts.append(letters * count)
    return "".join(parts)

def edit_distance(first, second):
    previous = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        current = [i]
        for j, b in enumerate(second, 1):
            cost = 0 if a == b else 1
            current.append(min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost))
        previous = current
    return previous[-1]

def group_by_length(words):
    groups = {}
    for word in words:
        groups.setdefault(len(word), []).append(word)
    for length in sorted(groups):
        groups[length].sort()
    return groups

def clamp_all(values, low, high):
    if low > high:
        low, high = high, low
    return [max(low, min(value, high)) for value in values]

def top(scores, count=3):
    ranked = sorted(scores, key=scores.get, reverse=True)
    best = []
    for name in ranked:
        if scores[name] is None or scores[name] < 0:
            break
        best.append((name, scores[name]))
        if len(best) == count:
            break
    return best

def caesar(text, shift):
    out = ""
    for letter in text:
        if letter.isupper():
            out += chr((ord(letter) - 65 + shift) % 26 + 65)
        elif letter.islower() and letter.isascii():
            out += chr((ord(letter) - 97 + shift) % 26 + 97)
        else:
            out += letter
    return out

def wrap(words, width):
    lines = []
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    if line:
        lines.append(line)
    return lines
"""
"""Functions of our own, in the style of small libraries."""

bits = text("()[]{}ab", 10)
nested = one_of([1, [2, (3, [4])]], [], [[], [1]], (1, [2, [3, [4]]]), ["a", ["b", ("c",)]])
matrices = one_of([], [[1]], [[1, 2], [3, 4]], [[1, 2, 3], [4, 5, 6]], [[1], [2]], [[]])
OWN_ARGUMENTS: dict[str, list[Draw]] = {
    "mean": [many(one_of(None, 0, 1, 2, 3.5, -4)), number()],
    "runs": [many(number(0, 2))],
    "merge": [ordered(equal()), ordered(equal())],
    "word_counts": [text("ab AB.,' \n", 24), one_of((), ("a",), ("b", "ab"))],
    "binary_search": [ordered(number()), number()],
    "is_palindrome": [mirrored(text("abA ,sß", 8))],
    "flatten": [nested, number(0, 3)],
    "longest_common_prefix": [many(text("ab", 5), 4)],
    "parse_pairs": [text("ab=#; \n", 20), one_of("=", ":")],
    "primes": [number(0, 40)],
    "rotate": [matrices],
    "moving_average": [many(number()), number(-1, 4)],
    "balanced": [bits],
    "roman": [edges(-1, 0, 1, 3999, 4000, 4001)],
    "edit_distance": [text("abc", 6), text("abc", 6)],
    "group_by_length": [many(text("abc", 4))],
    "clamp_all": [many(number()), number(), number()],
    "top": [table(text("abc", 3), one_of(3, 1, 4, -1, 0, 2, None)), number(1, 4)],
    "caesar": [text("abzAZ ,", 10), number(-30, 30)],
    "wrap": [many(text("abcdef", 7)), number(1, 12)],
}


def path(rng: random.Random) -> Any:
    """Draw a path as text, as bytes or as an object."""
    written = rng.choice(["", "", "", "//", "c:", "C:", "C:/", "\\\\?\\UNC\\a\\b", "//?/unc/a/b", "//a/b/"]) + text(
        "ab./\\:~$", 12
    )(rng)
    written = written if rng.random() < 0.9 else ""
    return rng.choice([written, written, written.encode(), PurePath(written)])


paths = path
data = ordered(number())
STANDARD: dict[str, list[Draw]] = {
    "calendar.isleap": [lambda rng: rng.choice([rng.randint(1890, 2110), 100 * rng.randint(1, 40)])],
    "calendar.leapdays": [number(1890, 2010), number(1950, 2110)],
    "colorsys.hls_to_rgb": [unit(), unit(), unit()],
    "colorsys.hsv_to_rgb": [unit(), unit(), unit()],
    "colorsys.rgb_to_hls": [unit(), unit(), unit()],
    "colorsys.rgb_to_hsv": [unit(), unit(), unit()],
    "difflib.get_close_matches": [
        text("ab", 5),
        many(text("ab", 5), 12),
        number(0, 3),
        one_of(0.0, 0.3, 0.6, 1.0, -0.1, 1.1),
    ],
    "email.quoprimime.quote": [one_of("a", "=", " ", "~", "!")],
    "fnmatch.translate": [text("ab*?[]!-", 8)],
    "genericpath.commonprefix": [
        many(one_of("ab", "a/b", "aab", "", ("a", "b"), ["a", "c"], (), b"ab", PurePath("a/b")), 4)
    ],
    "heapq.heappushpop": [many(number()), number()],
    "heapq.nlargest": [number(-1, 4), many(equal(), 12), one_of(None, abs)],
    "heapq.nsmallest": [number(-1, 4), many(equal(), 12), one_of(None, abs)],
    "html.escape": [text("<>&\"'a", 8), one_of(True, False)],
    "inspect.cleandoc": [indented()],
    "ntpath.basename": [paths],
    "ntpath.join": [paths, paths, paths],
    "ntpath.normpath": [paths],
    "ntpath.splitdrive": [paths],
    "operator.countOf": [many(fresh()), fresh()],
    "operator.indexOf": [many(fresh()), fresh()],
    "posixpath.basename": [paths],
    "posixpath.commonpath": [many(paths, 4)],
    "posixpath.dirname": [paths],
    "posixpath.isabs": [paths],
    "posixpath.join": [paths, paths, paths],
    "posixpath.normpath": [paths],
    "shlex.quote": [text("ab $'\"", 8)],
    "shlex.join": [many(text("ab $'\"", 5), 4)],
    "statistics.median": [once(many(number()))],
    "statistics.median_high": [once(many(number()))],
    "statistics.median_low": [once(many(number()))],
    "statistics.multimode": [once(many(number(0, 4)))],
    "statistics.mode": [once(many(number(0, 4)))],
    "string.capwords": [text("ab A,", 14), one_of(None, ",", "a")],
    "textwrap.dedent": [indented()],
    "textwrap.indent": [indented(), one_of("> ", "  "), one_of(None, str.isspace, str.isascii)],
    "urllib.parse.unquote_to_bytes": [
        one_of("%41", b"%41%zz", "a%", b"%4", "", b"", "%C3%A9é", "ab", b"%42b", "%41%4a")
    ],
    "urllib.parse.urldefrag": [text("ab#/:?", 12)],
    "wsgiref.util.guess_scheme": [table(one_of("HTTPS", "A"), one_of("yes", "on", "1", "no"), 2)],
}
"""Pure functions of the standard library, written in Python, with generators of their arguments."""


def subjects() -> Iterator[tuple[str, str, str, list[Draw]]]:
    """Yield name, source without docstring, module whose names it needs, and generators of its arguments."""
    own = {function.name: function.answer for function in functions(OWN, Size(1, 60, 4000))}
    for name, arguments in OWN_ARGUMENTS.items():
        yield name, own[name], "", arguments
    for name, arguments in STANDARD.items():
        module_name, _, function = name.rpartition(".")
        module = importlib.import_module(module_name)
        defined_there = functions(Path(str(module.__file__)).read_text(encoding="utf-8"), Size(1, 80, 6000))
        taken = [each.answer for each in defined_there if each.name == function]
        if taken:
            yield name, taken[0], module_name, arguments


def lines_of(edit: Edit, source: str) -> list[int]:
    """Return the lines that an edit changes, from 1; of what is put in, the line before and the line after."""
    first = 1 + source.count("\n", 0, edit.start)
    last = 1 + source.count("\n", 0, max(edit.start, edit.stop - 1))
    return list(range(first, last + 1)) if edit.stop > edit.start else [first - 1, first, first + 1]


def draws(source: str, edits: list[Edit], rng: random.Random) -> tuple[Edit, str] | None:
    """Draw one tamper as `momus tamper` does: a kind, then a place, until the result is a fair bug."""
    fair = list(edits)
    while fair:
        (edit,) = choose_edits(fair, 1, rng, source)
        text = apply_edits(source, [edit])[0]
        if valid(source, text):
            return edit, text
        fair.remove(edit)
    return None


# The child: a JSON list of cases on stdin, a list of verdicts on stdout.
SECONDS, MEMORY = 0.5, 2 << 30


class _TooLongError(BaseException):
    pass


def _too_long(*_: object) -> None:
    raise _TooLongError


def without_places(shown: str) -> str:
    """Take the places in memory out of a text, which no two calls share."""
    return re.sub(r" at 0x[0-9a-f]+", "", shown)


def called(function: Any, arguments: list[Any]) -> str:
    """Return what a call does, in words that two equal calls share."""
    arguments = copy.deepcopy(arguments)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        result = function(*arguments)
        if hasattr(result, "__next__"):
            result = [item for item, _ in zip(result, range(100))]  # noqa: B905
        return without_places(f"{type(result).__name__} {result!r} {arguments!r}")
    except _TooLongError:
        return "too long"
    except Exception as error:
        return without_places(f"raises {type(error).__name__} {error} {arguments!r}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def defined(source: str, module: str) -> Any:
    """Run the source of one function where its module's names are known; return the function."""
    names = dict(vars(importlib.import_module(module))) if module else {"__name__": "subject"}
    name = next(node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    exec(compile(source, "<subject>", "exec"), names)
    return names[name]


def lines_reached(function: Any, inputs: list[list[Any]]) -> set[int]:
    """Return the lines of a function's source, from 1, that some input reaches."""
    reached: set[int] = set()

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename == "<subject>":
            reached.add(frame.f_lineno)
            return trace
        return None

    for given in inputs:
        sys.settrace(trace)
        try:
            called(function, given)
        finally:
            sys.settrace(None)
    return reached


def child() -> None:
    """Compare one function with its tampers; every limit is this process's own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (900, 900))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    signal.signal(signal.SIGALRM, _too_long)
    sys.setrecursionlimit(400)
    request = json.load(sys.stdin)
    arguments = {name: generators for name, _, _, generators in subjects()}[request["name"]]
    rng = random.Random(request["seed"])
    original = defined(request["source"], request["module"])
    least = len(arguments) - len(original.__defaults__ or ())
    inputs = [[generator(rng) for generator in arguments] for _ in range(request["inputs"])]
    inputs = [given[: rng.randint(min(least, len(given)), len(given))] for given in inputs]
    reached = lines_reached(original, inputs)
    expected = [called(original, given) for given in inputs for _ in (1, 2)]
    if all(each.startswith("raises") for each in expected):
        sys.exit("it raises whatever it is given: it is not defined for this system")
    verdicts: list[bool | None] = []
    for tampered, lines in request["tampers"]:
        if not reached & set(lines):
            verdicts.append(None)
            continue
        try:
            function = defined(tampered, request["module"])
        except Exception:
            verdicts.append(True)
            continue
        results = (called(function, given) for given in inputs for _ in (1, 2))
        verdicts.append(any(a != b for a, b in zip(expected, results, strict=True)))
    json.dump(verdicts, sys.stdout)


def main() -> None:
    """Draw, compare, and print the share that changes nothing, with its interval by function."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tampers", type=int, default=2000)
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=20)
    parser.add_argument("--differential", action="store_true")
    arguments = parser.parse_args()
    chosen = list(subjects())
    checked = Counter[bool | None]()
    each = -(-arguments.tampers // len(chosen))
    same, drawn, examples, unreached, told = [], [], Counter[str](), 0, 0
    kinds, same_kinds = Counter[str](), Counter[str]()
    for number_of, (name, source, module, _) in enumerate(chosen):
        rng = random.Random(f"{arguments.seed} {name}")
        edits = find_edits(source)
        tampers = [made for made in (draws(source, edits, rng) for _ in range(each)) if made is not None]
        seen: set[str] = set()  # what a call of the check tells apart
        if arguments.differential:
            case = Case(source, tuple(text for _, text in tampers), module, "" if module else OWN)
            (found,) = make_a_difference([case])
            checked.update(found)
            seen = {text for (_, text), differs in zip(tampers, found, strict=True) if differs}
            tampers = [made for made, differs in zip(tampers, found, strict=True) if differs is not False]
        request = {
            "name": name,
            "module": module,
            "source": source,
            "seed": f"{arguments.seed} {name}",
            "inputs": arguments.inputs,
            "tampers": [(text, lines_of(edit, source)) for edit, text in tampers],
        }
        done = subprocess.run(
            [sys.executable, __file__, "--child"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{name}: left out: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            continue
        verdicts = json.loads(done.stdout)
        unreached += verdicts.count(None)
        tampers = [made for made, changed in zip(tampers, verdicts, strict=True) if changed is not None]
        verdicts = [changed for changed in verdicts if changed is not None]
        kinds.update(edit.kind for edit, _ in tampers)
        unchanged = [made for made, changed in zip(tampers, verdicts, strict=True) if not changed]
        told += sum(text in seen for _, text in unchanged)
        unchanged = [(edit, text) for edit, text in unchanged if text not in seen]
        same_kinds.update(edit.kind for edit, _ in unchanged)
        same.append(len(unchanged))
        drawn.append(len(tampers))
        lines = source.split("\n")
        for edit, _ in unchanged:
            line = lines[source.count("\n", 0, edit.start)].strip()
            examples[f"{edit.kind:22} {name:26} {edit.description}  [{line}]"] += 1
        print(f"{number_of + 1}/{len(chosen)} {name}: {len(unchanged)} of {len(tampers)}", file=sys.stderr)
    print(f"{sum(drawn)} tampers of {len(drawn)} functions, {arguments.inputs} inputs each")
    if arguments.differential:
        print(f"--differential: {checked[True]} differ, {checked[None]} not known, {checked[False]} left out")
        print(f"told apart by its calls alone, by no input from here: {told}")
    print(f"left out, on lines that no input reaches: {unreached}")
    for title, part in (
        ("our own", slice(None, len(OWN_ARGUMENTS))),
        ("standard library", slice(len(OWN_ARGUMENTS), None)),
    ):
        nothing, all_of_them = np.array(same[part], float), np.array(drawn[part], float)
        share = ratio_interval(nothing, all_of_them, bounds=SHARE)
        numbers = f"{nothing.sum():.0f} of {all_of_them.sum():.0f}, {share.value:.2%}"
        print(f"change nothing, {title}: {numbers} (95% {share.low:.2%}-{share.high:.2%}, by function)")
    for kind, count in same_kinds.most_common():
        print(f"    {kind:22} {count} of {kinds[kind]}")
    for example in sorted(examples)[: arguments.show]:
        print(f"   {examples[example]}x {example}")


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
