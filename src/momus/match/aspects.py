"""The eleven aspects of LLM scientific feedback (arXiv 2310.01783): what a point is about, several to a point.

A tagger gives each point a set of aspects. The lexical one has a pattern of words for each aspect, in English and in
Korean, and misses aspects expressed in other words (docs/experiments/matching.md). The model tagger is in
`momus.match.model`. The names are the paper's, the patterns ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from momus.normalise import normalise

ASPECTS = (
    "Clarity and Presentation",
    "Comparison to Previous Studies",
    "Theoretical Soundness",
    "Novelty",
    "Reproducibility",
    "Add ablation experiments",
    "Implications of the Research",
    "Ethical Aspects",
    "Add experiments on more datasets",
    "Algorithm Efficiency",
    "Missing Citations",
)

_PATTERNS = {
    "Clarity and Presentation": (
        r"\bunclear|\bclear(?:er|ly|ity)?\b|\bclarif|\bconfus|\bwriting\b|\bwritten\b|\breadab|\bpresentation",
        r"\b(?:hard|difficult) to (?:follow|read|understand|parse)|\btypos?\b|\bgramma|\bnotations?\b|\bambigu",
        r"\bexposition|불분명|명확|모호|이해하기 어렵|오타|문법|표현|설명이 부족|읽기 (?:어렵|힘들)",
    ),
    "Comparison to Previous Studies": (
        r"\bbaselines?\b|\bcompar(?:e[ds]?|ing|isons?|ative)\b|\bstate[- ]of[- ]the[- ]art\b|\bsota\b",
        r"\b(?:existing|prior|previous|competing|alternative|other) (?:methods?|approaches|works?|models?)\b",
        r"비교|선행 ?연구|기존 (?:연구|방법|모델)|베이스라인",
    ),
    "Theoretical Soundness": (
        r"\btheor(?:y|ies|ems?|etical(?:ly)?)\b|\bproofs?\b|\bprov(?:e[dns]?|ing|able)\b|\bconvergence\b|\blemma",
        r"\bassum(?:e[ds]?|ptions?|ing)\b|\brigou?r|\bguarantees?\b|\b(?:lower|upper|error) bounds?\b|\bderiv",
        r"이론|증명|수렴|가정|엄밀|정리\b",
    ),
    "Novelty": (
        r"\bnovel(?:ty)?\b|\boriginality\b|\bincremental|\binnovat|\bnot new\b|\blimited contribution",
        r"\balready (?:been )?(?:known|studied|proposed)",
        r"\b(?:straightforward|simple|trivial|minor) (?:extension|combination|application|modification)",
        r"새로움|새롭|참신|독창|신규성|점진적",
    ),
    "Reproducibility": (
        r"\breproduc|\breplicat|\bimplementation details?\b|\bopen[- ]sourc|\brandom seeds?\b|\bhyper-?parameters?\b",
        r"\b(?:source|release|share|provide|publish)[^.]{0,20} code\b|\bcode (?:is|was|are)? ?not\b",
        r"재현|코드 ?(?:공개|제공)|구현 세부|하이퍼 ?파라미터|난수",
    ),
    "Add ablation experiments": (
        r"\bablat|\beach component|\bwithout the (?:component|module)|\bsensitivity (?:analysis|study|to)\b",
        r"\b(?:contribution|effect|impact|influence|role) of (?:each|the (?:different|individual|various))",
        r"절제|소거 ?(?:실험|연구)|구성 ?요소(?:별|의 (?:영향|기여|효과))|민감도",
    ),
    "Implications of the Research": (
        r"\bimplications?\b|\bbroader\b|\bsocietal impact|\breal[- ]world\b|\bapplicab",
        r"\bpractical (?:use|relevance|applications?|value|significance)",
        r"\bsignificance of (?:the|this|these)|\bpotential (?:impact|applications?)",
        r"시사점|함의|파급|실용|실제 (?:적용|활용|응용)|의의",
    ),
    "Ethical Aspects": (
        r"\bethic|\bprivacy\b|\bfairness\b(?! of (?:the |this |such )?comparison)|\bmisuse\b|\bconsent\b",
        r"\bharm(?:s|ful)?\b",
        r"\b(?:social|gender|racial|harmful|algorithmic) bias",
        r"윤리|개인정보|프라이버시|공정성|편향|악용|동의를",
    ),
    "Add experiments on more datasets": (
        r"\b(?:more|other|additional|different|larger|diverse|various|multiple|real|several|single|one|only|few|small"
        r"|toy|two|three)[\w\s,-]{0,30} (?:data ?sets?|benchmarks?|domains|corpora)\b",
        r"\blarge[- ]scale (?:data|experiments?|benchmarks?)",
        r"(?:더 많은|다른|추가|다양한|하나의|소규모) ?(?:데이터|벤치마크|자료)|데이터셋",
    ),
    "Algorithm Efficiency": (
        r"\bcomputation(?:al|ally)? (?:cost|complex|effic|expens|overhead|burden|time|resource|requirement|demand)",
        r"\b(?:time|space|memory) complexity|\brun(?:ning)?[- ]?times?\b|\b(?:training|inference) (?:time|speed|cost)",
        r"\bscalab|\bspeed-?ups?\b|\bmemory (?:usage|cost|footprint|consumption)|\befficien(?:t|cy)\b|\bslow(?:er)?\b",
        r"계산 ?(?:비용|량|복잡)|연산량|실행 ?시간|학습 ?시간|메모리|효율|속도",
    ),
    "Missing Citations": (
        r"\bcit(?:e[ds]?|ing|ations?)\b|\bmissing (?:related|references?|relevant|discussion of)|\brelated works?\b",
        r"\breferences? (?:to|are|is)\b|\brelevant literature|인용|참고 ?문헌|관련 ?연구",
    ),
}
_COMPILED = {aspect: re.compile("|".join(_PATTERNS[aspect])) for aspect in ASPECTS}

Aspects = frozenset[str]


class Tagger(Protocol):
    """Assigns aspects to points."""

    def tag(self, points: Sequence[str]) -> list[Aspects | None]:
        """Return the set of aspects of each point, maybe empty; None without a usable answer."""

    def identity(self) -> Mapping[str, Any]:
        """Return everything that determines the tags, as JSON values."""


class LexicalTagger:
    """Tags points by patterns of words."""

    def tag(self, points: Sequence[str]) -> list[Aspects | None]:
        """Return the set of aspects of each point, maybe empty."""
        return [_tagged(normalise(point)) for point in points]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of tagger."""
        return {"kind": "lexical"}


def _tagged(text: str) -> Aspects:
    return frozenset(aspect for aspect, pattern in _COMPILED.items() if pattern.search(text))
