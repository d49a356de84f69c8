"""What the Transformer has to beat: linear models on TF-IDF, and on the mean of word vectors."""

from common import metrics
from common.cache import cached
from common.vectors import WordVectors

import numpy as np
import torch
from torch.nn import functional as F

from transformer_textcls.data import News


def evaluate(news: News, found: WordVectors | None) -> dict[str, dict[str, float]]:
    """Test figures of each baseline, fitted on the training and the validation rows.

    Nothing is tuned, so validation needs no rows of its own: the baselines see all of them.
    """
    labels = torch.cat([news.labels["train"], news.labels["val"]]).numpy()
    truth = news.labels["test"].numpy()
    # Every run of a sweep has the same: half a minute is saved by counting words once.
    counted = cached(news.cache, "baselines", news.key, lambda: _count_words(news, labels))
    guesses = dict(counted)
    if found is not None:
        guesses["mean of word vectors, linear"] = _mean_of_vectors(news, found, labels)
    return {name: _score(guessed, truth, news.classes) for name, guessed in guesses.items()}


def _count_words(news: News, labels: np.ndarray) -> dict[str, np.ndarray]:
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


def _mean_of_vectors(news: News, found: WordVectors, labels: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    means = {split: _mean_vectors(news, split, found) for split in news.tokens}
    scale = StandardScaler().fit(means["train"])
    model = LogisticRegression(max_iter=300)
    model.fit(scale.transform(np.concatenate([means["train"], means["val"]])), labels)
    return model.predict(scale.transform(means["test"]))


def _mean_vectors(news: News, split: str, found: WordVectors) -> np.ndarray:
    tokens = news.tokens[split]
    return F.embedding_bag(tokens.tokens.long(), found.matrix, tokens.offsets[:-1]).numpy()


def _score(guessed: np.ndarray, truth: np.ndarray, classes: tuple[str, ...]) -> dict[str, float]:
    report = metrics.classification(truth, np.eye(len(classes))[guessed], classes)
    return {"test_accuracy": report["accuracy"], "macro_f1": report["macro_f1"]}
