"""What the Transformer has to beat: linear models on TF-IDF, and on the mean of word vectors."""

import hashlib

import numpy as np
import torch
from torch.nn import functional as F

from common import metrics, own_texts, text
from common.checkpoints import cached
from common.text import WordVectors
from transformer_textcls import data
from transformer_textcls.data import News


def evaluate(
    news: News, vectors: WordVectors | None
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """For each baseline its test metrics, and the class that it predicts for each test row.

    Nothing is tuned, so validation needs no rows of its own: the baselines are fitted on training
    and validation rows. Predictions are cached: they cost half a minute and never change.
    """
    makers = [data, own_texts, text]
    labels = torch.cat([news.labels["train"], news.labels["val"]]).numpy()
    key = dict(news.key)
    predictions = cached(news.cache, "baselines", key, lambda: count_words(news, labels), makers)
    if vectors is not None:
        seen = [vectors.matrix.numpy().tobytes(), news.tokens["train"].tokens.numpy().tobytes()]
        key["tokens and vectors"] = hashlib.sha256(b"".join(seen)).hexdigest()
        predictions |= cached(
            news.cache, "mean-vectors", key, lambda: mean_of_vectors(news, vectors, labels), makers
        )
    return {name: score(rows, news) for name, rows in predictions.items()}, predictions


def count_words(news: News, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Linear models on the frequencies of words and word pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import LinearSVC

    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
    fitted = tfidf.fit_transform(news.texts["train"] + news.texts["val"])
    test = tfidf.transform(news.texts["test"])
    models = {
        "linear SVM on TF-IDF": LinearSVC(C=0.5),
        # liblinear, one class against the rest: lbfgs stops early on features this small.
        "logistic regression on TF-IDF": OneVsRestClassifier(
            LogisticRegression(C=10, solver="liblinear", dual=True, tol=1e-3)
        ),
    }
    return {name: model.fit(fitted, labels).predict(test) for name, model in models.items()}


def mean_of_vectors(news: News, vectors: WordVectors, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Logistic regression on the mean of the word vectors of a text."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    means = {
        split: F.embedding_bag(tokens.tokens.long(), vectors.matrix, tokens.offsets[:-1]).numpy()
        for split, tokens in news.tokens.items()
    }  # (texts, dimensions) each
    scale = StandardScaler().fit(means["train"])
    model = LogisticRegression(max_iter=300)
    model.fit(scale.transform(np.concatenate([means["train"], means["val"]])), labels)
    return {"mean of word vectors, linear": model.predict(scale.transform(means["test"]))}


def score(predicted: np.ndarray, news: News) -> dict[str, float]:
    """Accuracy and macro F1 of predicted classes of the test rows."""
    one_hot = np.eye(len(news.classes))[predicted]
    report = metrics.classification(news.labels["test"], one_hot, news.classes)
    return {"test_accuracy": report["accuracy"], "macro_f1": report["macro_f1"]}
