"""CIDEr-D, as captions are scored: 1.0 where papers print 100.

Source: Vedantam et al. 2015 (arXiv:1411.5726); numbers as pycocoevalcap's `Cider` gives
them. N-grams of one to four words are weighted by how rare they are: how many examples
of the evaluated set have one in their references. So an example's score depends on
what else is evaluated, and a subset has other scores. Intervals draw the examples, but
keep the document frequencies of the whole set. All references of a single example have
every n-gram, so a set of one example scores 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from keras_pg2.metrics.captions.bleu import bleu_counts, corpus_bleu
from keras_pg2.metrics.captions.rouge import rouge_l
from keras_pg2.metrics.captions.texts import tokenized_case
from keras_pg2.metrics.metric import (
    Answer,
    Figures,
    Kinds,
    PreparedMetric,
    Statistics,
    Truth,
    column,
    mean,
    with_kinds,
)

_ORDERS = 4
_SIGMA = 6.0
"""Standard deviation of lengths, by which an answer of another length is worth less."""


class _Terms(NamedTuple):
    """Which text has which n-grams of one order, by text and n-gram.

    Attributes:
        texts: int64[T], index of the text.
        ngrams: int64[T], number of the n-gram.
        counts: int64[T], how often the text has it.
        num_ngrams: How many different n-grams there are.
    """

    texts: np.ndarray
    ngrams: np.ndarray
    counts: np.ndarray
    num_ngrams: int


def cider_scores(
    answers: Sequence[str], references: Sequence[Sequence[str]]
) -> np.ndarray:
    """Return float64[N], CIDEr-D of each answer among all of them.

    Args:
        answers: Tokens of N answers, joined by blanks.
        references: Tokens of each answer's references, at least one.
    """
    num_examples = len(answers)
    nums_references = np.array([len(texts) for texts in references])
    owners = np.repeat(np.arange(num_examples), nums_references)
    words = [text.split() for text in answers]
    words += [text.split() for texts in references for text in texts]
    nums_bigrams = np.maximum([len(text) - 1 for text in words], 0)
    deltas = nums_bigrams[:num_examples][owners] - nums_bigrams[num_examples:]
    similarities = np.zeros(len(owners))
    for terms in _terms_by_order(words):
        similarities += _similarities(terms, owners, num_examples)
    similarities *= np.exp(-(deltas**2) / (2 * _SIGMA**2))
    totals = np.bincount(owners, similarities, num_examples)
    return np.asarray(10 / _ORDERS * totals / nums_references)


def _terms_by_order(words: Sequence[Sequence[str]]) -> Iterator[_Terms]:
    """Yield the n-grams of one to four words."""
    numbers: dict[str, int] = {}
    first = np.array(
        [numbers.setdefault(word, len(numbers)) for text in words for word in text],
        np.int64,
    )
    texts = np.repeat(np.arange(len(words)), [len(text) for text in words])
    starts, ngrams, num_ngrams = np.arange(len(first)), first, len(numbers)
    for order in range(_ORDERS):
        if order:
            starts, ngrams = _kept(starts + order < len(first), starts, ngrams)
            inside = texts[starts] == texts[starts + order]
            starts, ngrams = _kept(inside, starts, ngrams)
            longer = ngrams * len(numbers) + first[starts + order]
            different, ngrams = np.unique(longer, return_inverse=True)
            num_ngrams = len(different)
        keys, counts = np.unique(
            texts[starts] * num_ngrams + ngrams, return_counts=True
        )
        size = max(num_ngrams, 1)
        yield _Terms(keys // size, keys % size, counts, num_ngrams)


def _kept(mask: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(array[mask] for array in arrays)


def _similarities(terms: _Terms, owners: np.ndarray, num_examples: int) -> np.ndarray:
    """Return float64[R], of each reference with its answer, lengths left out.

    Args:
        terms: N-grams of one order, in N answers and then in R references.
        owners: int64[R], index of each reference's example.
        num_examples: N.
    """
    size = max(terms.num_ngrams, 1)
    is_reference = terms.texts >= num_examples
    examples = np.where(
        is_reference,
        owners[np.maximum(terms.texts - num_examples, 0)],
        terms.texts,
    )
    keys = examples * size + terms.ngrams
    documents = np.unique(keys[is_reference]) % size
    frequencies = np.bincount(documents, minlength=size)
    rarity = np.log(num_examples) - np.log(np.maximum(frequencies, 1))
    weights = rarity[terms.ngrams]
    num_texts = num_examples + len(owners)
    squares = np.bincount(terms.texts, (terms.counts * weights) ** 2, num_texts)
    norms = np.sqrt(squares)
    # An answer's counts of the n-grams that its references have.
    answer_keys = keys[~is_reference]
    wanted = keys[is_reference]
    found = np.searchsorted(answer_keys, wanted)
    found = np.minimum(found, max(len(answer_keys) - 1, 0))
    answer_counts = np.zeros(len(wanted))
    if len(answer_keys):
        counts = terms.counts[~is_reference][found]
        answer_counts = np.where(answer_keys[found] == wanted, counts, 0)
    own = terms.counts[is_reference]
    products = np.minimum(answer_counts, own) * own * weights[is_reference] ** 2
    sums = np.bincount(terms.texts[is_reference] - num_examples, products, len(owners))
    lengths = norms[:num_examples][owners] * norms[num_examples:]
    return np.divide(sums, lengths, out=np.zeros(len(owners)), where=lengths > 0)


class Cider(PreparedMetric):
    """CIDEr-D of all examples; BLEU and ROUGE-L beside it, and CIDEr-D by kind."""

    name = "cider"
    meaning = "CIDEr-D, weighted by the references of all that is evaluated"
    source = "pycocoevalcap 1.2, `cider/cider_scorer.py` (arXiv:1411.5726)"
    is_higher_better = True

    def check(self) -> None:
        """Need no package."""

    def statistics(self, answer: Answer, truth: Truth) -> Statistics:
        """Return tokens of answer and references, and what BLEU and ROUGE-L need.

        Raises:
            ValueError: if there is no reference.
        """
        text, references = tokenized_case(answer, truth)
        return {
            "answer": text,
            "references": references,
            "bleu": bleu_counts(text, references),
            "rouge_l": rouge_l(text, references),
            "kind": truth.kind,
        }

    def scores(self, rows: Sequence[Statistics]) -> np.ndarray:
        """Return float64[N], CIDEr-D of each among these rows."""
        return cider_scores(
            [row["answer"] for row in rows], [row["references"] for row in rows]
        )

    def prepare(self, rows: Sequence[Statistics]) -> Figures:
        """Return a function of counts to CIDEr-D, BLEU, ROUGE-L, and CIDEr-D of kinds.

        Document frequencies are those of the rows, whatever the counts.
        """
        scores, rouge = self.scores(rows), column(rows, "rouge_l")
        bleu_of, kinds = corpus_bleu(rows), Kinds(row["kind"] for row in rows)

        def figures(counts: np.ndarray | None = None) -> dict[str, float]:
            means = {self.name: mean(scores, counts), **bleu_of(counts)}
            means["rouge_l"] = mean(rouge, counts)
            return with_kinds(means, kinds.means(scores, counts))

        return figures


METRICS = (Cider(),)
