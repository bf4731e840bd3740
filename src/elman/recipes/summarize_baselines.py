"""ROUGE-L, and what simpler methods reach by it: a text's first words, and the summary of the nearest text."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from elman.errors import UserError
from elman.recipes.measures import Measures, scikit_learn
from elman.recipes.summarize_parts import Rows

MOST_TUNED = 1000  # rows of the validation part that choose how many first words are taken
_AT_ONCE = 256  # texts whose distances to all others are held
_WORD = re.compile(r"\w+")


class _Words:
    """The words of a text in any script, in the place of the tokenizer of rouge-score, which knows a-z and 0-9."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


def rouge() -> Any:
    """The module `rouge_scorer` of rouge-score.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("rouge_score.rouge_scorer")
    except ImportError as error:
        fix = "pip install 'elman[summarize]'"
        raise UserError("ROUGE-L needs rouge-score, which is not installed", fix=fix) from error


def scorer_for(references: Sequence[str]) -> Callable[[str, str], float]:
    """ROUGE-L of one written text, given its reference; of other scripts than the Latin by words.

    Args:
        references: what is to be written; where most of it has no letter a-z, the tokenizer of rouge-score would
            see nothing.
    """
    foreign = sum(re.search("[a-z0-9]", text.lower()) is None for text in references)
    words = _Words() if 2 * foreign > len(references) else None
    scorer = rouge().RougeScorer(["rougeL"], tokenizer=words)
    return lambda reference, written: float(scorer.score(reference, written)["rougeL"].fmeasure)


def measure_summaries(references: Sequence[str], written: Sequence[str]) -> Measures:
    """The mean ROUGE-L, and how many words are written in the mean.

    rouge_l = 2 p r / (p + r), where p and r are the length of the longest common subsequence of the words of both
    texts, divided by the number of words of the written and of the reference.

    Source: C.-Y. Lin, ROUGE, ACL workshop Text Summarization Branches Out (2004); the package rouge-score, its
    own tokenizer, no stemming.

    Example:
        >>> round(measure_summaries(["Return the file."], ["Return a new file."])["rouge_l"], 3)
        0.571
    """
    score = scorer_for(references)
    scores = [score(reference, text) for reference, text in zip(references, written, strict=True)]
    return {
        "rouge_l": float(np.mean(scores)),
        "words": float(np.mean([len(text.split()) for text in written])),
        "rows": len(scores),
    }


def measure_beside(train: Rows, validation: Rows, test: Rows, longest: int) -> dict[str, Measures]:
    """What needs no network, by name.

    lead_words: the first N words of a text, N by the validation part. nearest_summary: that of the training text
    with the greatest cosine of tf-idf vectors.

    Args:
        train: the training part.
        validation: the validation part.
        test: the test part, on which both are measured.
        longest: words of a summary, at most.
    """
    count = best_lead(Rows(validation.texts[:MOST_TUNED], validation.summaries[:MOST_TUNED]), longest)
    leads = [lead(text, count) for text in test.texts]
    near = [lead(train.summaries[row], longest) for row in nearest(train.texts, test.texts)]
    return {
        "lead_words": measure_summaries(test.summaries, leads) | {"first": count},
        "nearest_summary": measure_summaries(test.summaries, near),
    }


def lead(text: str, count: int) -> str:
    """The first words of a text."""
    return " ".join(text.split(maxsplit=count)[:count])


def best_lead(rows: Rows, longest: int) -> int:
    """How many first words make the best summaries, by ROUGE-L."""
    scores = [
        measure_summaries(rows.summaries, [lead(text, count) for text in rows.texts])["rouge_l"]
        for count in range(1, longest + 1)
    ]
    return 1 + int(np.argmax(scores))


def nearest(known: Sequence[str], texts: Sequence[str]) -> list[int]:
    """For each text the row of the known one whose tf-idf vector has the greatest cosine with its own."""
    vectorizer = scikit_learn("feature_extraction.text").TfidfVectorizer(analyzer=_pieces, sublinear_tf=True)
    vectors = vectorizer.fit_transform(known)
    rows: list[int] = []
    for start in range(0, len(texts), _AT_ONCE):
        cosines = vectorizer.transform(texts[start : start + _AT_ONCE]) @ vectors.T
        rows += cosines.toarray().argmax(1).tolist()
    return rows


def _pieces(text: str) -> list[str]:
    return _WORD.findall(text.lower()) or [text]
