"""What the LSTMs have to beat: linear models on words and word pairs, on the same tokens."""

from typing import Any

import numpy as np
import torch

from common.text import Ragged
from lstm_sentiment.data import Reviews


def decisions(reviews: Reviews) -> dict[str, np.ndarray]:
    """Decision values (test reviews,) of each baseline, positive above 0.

    Their few settings were chosen on validation, after fitting on training alone; then they are
    fitted on both, and on every token of each review.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    words = len(reviews.vocabulary)
    fitted = [reviews.whole["train"], reviews.whole["val"]]
    keys = frequent_grams(fitted, words)
    train = vstack([gram_counts(tokens, words, keys) for tokens in fitted], format="csr")
    test = gram_counts(reviews.whole["test"], words, keys)
    labels = torch.cat([reviews.labels["train"], reviews.labels["val"]]).numpy()

    tfidf = TfidfTransformer(sublinear_tf=True).fit(train)
    # lbfgs stops early on features this small: 2.4 points less on validation.
    logistic = LogisticRegression(C=10, solver="liblinear", dual=True, tol=1e-3)
    logistic.fit(tfidf.transform(train), labels)
    scaled, scaled_test = scaled_by_ratio(train, labels, test)
    return {
        "NB-SVM on bigrams": nb_svm(scaled, labels, scaled_test),
        "NB and logistic regression on bigrams": nb_logistic(scaled, labels, scaled_test),
        "logistic regression on TF-IDF": logistic.decision_function(tfidf.transform(test)),
    }


def nb_svm(train, labels: np.ndarray, test) -> np.ndarray:
    """Decision values of NB-SVM (Wang & Manning 2012, section 2.3), without interpolation.

    train, test: from `scaled_by_ratio`. The paper's C = 1 with weights interpolated with their mean
    size was 0.4 points worse on validation.
    """
    from sklearn.svm import LinearSVC

    return LinearSVC(C=0.1, tol=1e-3).fit(train, labels).decision_function(test)


def nb_logistic(train, labels: np.ndarray, test) -> np.ndarray:
    """Log-odds of a logistic regression on the same features."""
    from sklearn.linear_model import LogisticRegression

    logistic = LogisticRegression(solver="liblinear", dual=True, tol=1e-3).fit(train, labels)
    return logistic.decision_function(test)


def scaled_by_ratio(train, labels: np.ndarray, test) -> tuple[Any, Any]:
    """Binary features, each times its naive Bayes log-count ratio in training."""
    train, test = train.sign(), test.sign()
    positive = 1 + np.asarray(train[labels == 1].sum(axis=0)).ravel()
    negative = 1 + np.asarray(train[labels == 0].sum(axis=0)).ravel()
    ratio = np.log((positive / positive.sum()) / (negative / negative.sum())).astype(np.float32)
    return train.multiply(ratio).tocsr(), test.multiply(ratio).tocsr()


def grams(tokens: Ragged, words: int) -> tuple[np.ndarray, np.ndarray]:
    """The number of every word and word pair of each row, and the row that it stands in."""
    ids = tokens.tokens.numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(tokens)), tokens.lengths.numpy())
    inside = rows[1:] == rows[:-1]
    pairs = (words + ids[:-1] * words + ids[1:])[inside]
    return np.concatenate([ids, pairs]), np.concatenate([rows, rows[1:][inside]])


def frequent_grams(parts: list[Ragged], words: int) -> np.ndarray:
    """The sorted numbers of the words and pairs that occur twice or more."""
    keys, counts = np.unique(
        np.concatenate([grams(tokens, words)[0] for tokens in parts]), return_counts=True
    )
    return keys[counts > 1]


def gram_counts(tokens: Ragged, words: int, keys: np.ndarray):
    """A sparse matrix (rows, keys): how often each of `keys` occurs in each row."""
    from scipy.sparse import csr_array

    numbers, rows = grams(tokens, words)
    columns = np.searchsorted(keys, numbers).clip(max=len(keys) - 1)
    known = keys[columns] == numbers
    places = (rows[known].astype(np.int32), columns[known].astype(np.int32))
    ones = np.ones(int(known.sum()), np.float32)
    return csr_array((ones, places), shape=(len(tokens), len(keys)))
