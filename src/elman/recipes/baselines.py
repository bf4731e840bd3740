"""What simpler methods reach on the same rows: the figures a model is read against."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elman.data import Labels
from elman.errors import UserError
from elman.recipes.measures import Measures, measure, scikit_learn

Predict = Callable[["Rows", Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class Rows:
    """Texts and their encoded labels."""

    texts: Sequence[str]
    targets: Sequence[float]


def majority(train: Rows, texts: Sequence[str]) -> Sequence[float]:
    """The most frequent class, for every text."""
    classes, counts = np.unique(np.asarray(train.targets), return_counts=True)
    return [int(classes[counts.argmax()])] * len(texts)


def mean(train: Rows, texts: Sequence[str]) -> Sequence[float]:
    """The mean of the training part, for every text."""
    return [float(np.mean(train.targets))] * len(texts)


def naive_bayes(train: Rows, texts: Sequence[str]) -> Sequence[float]:
    """Multinomial naive Bayes over word counts."""
    counts = scikit_learn("feature_extraction.text").CountVectorizer()
    return _fitted(scikit_learn("naive_bayes").MultinomialNB(), counts, train, texts)


def logistic_regression(train: Rows, texts: Sequence[str]) -> Sequence[float]:
    """Logistic regression over tf-idf of words."""
    model = scikit_learn("linear_model").LogisticRegression(max_iter=1000)
    return _fitted(model, scikit_learn("feature_extraction.text").TfidfVectorizer(), train, texts)


def character_ngrams(train: Rows, texts: Sequence[str]) -> Sequence[float]:
    """Logistic regression over tf-idf of runs of 1 to 4 characters, with the borders of words among them."""
    model = scikit_learn("linear_model").LogisticRegression(C=30, max_iter=1000)
    runs = scikit_learn("feature_extraction.text").TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    return _fitted(model, runs, train, texts)


def ridge_regression(train: Rows, texts: Sequence[str]) -> Sequence[float]:
    """Ridge regression over tf-idf of words."""
    tfidf = scikit_learn("feature_extraction.text").TfidfVectorizer()
    return _fitted(scikit_learn("linear_model").Ridge(), tfidf, train, texts)


def vader(train: Rows, texts: Sequence[str]) -> Sequence[float]:
    """VADER's rules (Hutto & Gilbert 2014) with its authors' thresholds: compound <= -0.05, >= 0.05.

    Learns nothing; for the classes negative 0, neutral 1, positive 2. Its lexicon was rated by the people who
    collected these texts, which is to its advantage.
    """
    try:
        module = importlib.import_module("vaderSentiment.vaderSentiment")
    except ImportError as error:
        fix = "pip install 'elman[sentiment]'"
        raise UserError("this baseline needs vaderSentiment, which is not installed", fix=fix) from error
    rules = module.SentimentIntensityAnalyzer()
    scores = [rules.polarity_scores(text)["compound"] for text in texts]
    return [0 if score <= -0.05 else 2 if score >= 0.05 else 1 for score in scores]


CLASSES: Mapping[str, Predict] = {
    "majority": majority,
    "naive_bayes": naive_bayes,
    "logistic_regression": logistic_regression,
}
NUMBERS: Mapping[str, Predict] = {"mean": mean, "ridge_regression": ridge_regression}


def measure_baselines(labels: Labels, train: Rows, test: Rows, more: Mapping[str, Predict]) -> dict[str, Measures]:
    """Each baseline that fits the labels, fitted on the training part and measured on the test part.

    A baseline that cannot be fitted, such as one over words where there are none, is left out; its entry says why.
    """
    chosen = {**(CLASSES if labels.kind == "classes" else NUMBERS), **more}
    return {name: _measured(labels, train, test, predict) for name, predict in chosen.items()}


def _measured(labels: Labels, train: Rows, test: Rows, predict: Predict) -> Measures:
    try:
        return measure(labels, test.targets, predict(train, test.texts))
    except ValueError as error:
        # Said in its place: a baseline that cannot be fitted must not cost the model that was.
        empty = "empty vocabulary" in str(error)
        return {"left_out": "the texts hold no word of two letters" if empty else str(error)}


def _fitted(model: Any, vectorizer: Any, train: Rows, texts: Sequence[str]) -> Sequence[float]:
    pipeline = scikit_learn("pipeline").make_pipeline(vectorizer, model)
    predicted: Sequence[float] = pipeline.fit(train.texts, train.targets).predict(texts).tolist()
    return predicted
