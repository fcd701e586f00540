"""Metrics of short answers beside the programs that define them."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from keras_pg2 import metrics
from keras_pg2.metrics.metric import Answer, Truth
from scripts.metric_checks.check import Check
from scripts.metric_checks.sources import load_source, read_source
from tests.support.metric_cases import draw_cases

Cases = Sequence[tuple[Answer, Truth]]
_BIG_VISION = "big_vision/big_vision/evaluators/proj/paligemma/transfers/"


def compare(
    name: str,
    oracle: Callable[[Cases], Mapping[str, float]],
    random: np.random.Generator,
    count: int,
    adapt: Callable[[Answer, Truth], tuple[Answer, Truth]] = lambda a, t: (a, t),
) -> float:
    """Return the largest difference of a metric's figures from an oracle's.

    Args:
        name: Name of the metric.
        oracle: Returns figures by the metric's names; those of single examples too, by
            their indices as texts.
        random: Draws the cases.
        count: Number of cases.
        adapt: Changes a drawn case into one that the oracle takes.
    """
    cases = [adapt(*case) for case in draw_cases(name, random, count)]
    metric = metrics.get(name)
    rows = [metric.statistics(answer, truth) for answer, truth in cases]
    found = metric.result(rows) | {
        str(i): score for i, score in enumerate(metric.scores(rows).tolist())
    }
    expected = oracle(cases)
    if not expected:
        raise ValueError(f"Expected figures of the oracle for {name}, received none.")
    return max(abs(found[key] - value) for key, value in expected.items())


def stripped(answer: Answer, truth: Truth) -> tuple[Answer, Truth]:
    """Return a case without blanks around texts, as a tokenizer's are."""
    right = tuple(text.strip() for text in truth.answers)
    return Answer(answer.text.strip()), Truth(answers=right, kind=truth.kind)


def by_index(scores: Sequence[float]) -> dict[str, float]:
    """Return scores of examples by their indices."""
    return {str(i): float(score) for i, score in enumerate(scores)}


# big_vision: the whole `run` of an evaluator, whose model says what the cases say.


def _stand_ins() -> dict[str, ModuleType]:
    """Return modules that the evaluators import, with the few functions they call."""
    from rapidfuzz.distance import Levenshtein

    names = "big_vision", "evaluators.common", "pp.tokenizer", "utils", "pp.builder"
    names += "evaluators", "pp", "datasets", "datasets.core", "input_pipeline"
    found = {}
    for name in names:
        full = name if name == "big_vision" else f"big_vision.{name}"
        found[full] = ModuleType(full)
    for full, module in found.items():
        parent, _, child = full.rpartition(".")
        if parent:
            setattr(found[parent], child, module)
    common = found["big_vision.evaluators.common"]
    vars(common).update(
        process_sum=lambda x: x, multiprocess_write_json=lambda file, out: None
    )
    found["big_vision.utils"].get_local_slice_from_fsarray = lambda x: x  # type: ignore[attr-defined]
    found["editdistance"] = ModuleType("editdistance")
    found["editdistance"].eval = Levenshtein.distance  # type: ignore[attr-defined]
    return found


def big_vision(
    file: str,
    names: Mapping[str, str],
    batch_of: Callable[[Truth], Mapping[str, Any]],
    cases: Cases,
    postproc: Callable[[str], str] | None = None,
) -> dict[str, float]:
    """Return an evaluator's figures by our names.

    Args:
        file: Name of the evaluator's file.
        names: Ours by its own.
        batch_of: Returns the fields of an example, which its batch has.
        cases: The examples.
        postproc: What the evaluator makes of texts, where it has a choice.
    """
    module = load_source(f"{_BIG_VISION}{file}.py", _stand_ins())
    evaluator = object.__new__(module.Evaluator)
    fields = [batch_of(truth) for _, truth in cases]
    batch: dict[str, Any] = {
        key: np.array([row[key] for row in fields], object)
        if key != "answers"
        else [np.array(row[key], object) for row in fields]
        for key in fields[0]
    }
    batch["_mask"] = np.ones(len(cases))
    batch["question_id"] = np.arange(len(cases))
    said = [answer.text for answer, _ in cases]
    vars(evaluator).update(
        steps=1,
        get_data_iter=lambda: iter([batch]),
        data_iter=iter([batch]),
        decode=lambda state, batch: said,
        tok=SimpleNamespace(to_str=lambda text, stop_at_eos: text),
        outfile="",
        out_question_key="question_id",
        out_answer_key="answer",
    )
    if postproc is not None:
        evaluator.postproc = postproc
    figures = dict(evaluator.run(None))
    return {ours: figures[theirs] for theirs, ours in names.items()}


def _one(truth: Truth) -> dict[str, Any]:
    return {"answer": truth.answers[0]}


def _all(truth: Truth) -> dict[str, Any]:
    return {"answers": list(truth.answers)}


def _vqav2_batch(truth: Truth) -> dict[str, Any]:
    return {"answers": list(truth.answers), "answer_type": truth.kind}


def _first_only(answer: Answer, truth: Truth) -> tuple[Answer, Truth]:
    answer, truth = stripped(answer, truth)
    return answer, Truth(answers=truth.answers[:1], kind=truth.kind)


def _many(answer: Answer, truth: Truth) -> tuple[Answer, Truth]:
    """Return a case with the right answers of at least three people."""
    answer, truth = stripped(answer, truth)
    return answer, Truth(answers=truth.answers + 2 * truth.answers[:1], kind=truth.kind)


def _relaxed(cases: Cases, figures: Callable[[Cases], float]) -> dict[str, float]:
    kinds = {
        kind: figures([case for case in cases if case[1].kind == kind])
        for kind in ("human", "augmented")
    }
    return kinds | {"relaxed_accuracy": float(np.mean(list(kinds.values())))}


def _chartqa(cases: Cases) -> dict[str, float]:
    def relaxed(some: Cases) -> float:
        names = {"relaxed_acc": "all"}
        return big_vision("chartqa", names, _one, some, str.lower)["all"]

    return _relaxed(cases, relaxed)


# GT-Vision-Lab/VQA, the official program.


def vqa_api(cases: Cases) -> dict[str, float]:
    """Return VQAv2's official figures; the program is Python 2."""
    path = "VQA/PythonEvaluationTools/vqaEvaluation/vqaEval.py"
    source = re.sub(r'print ("[^"]*")', r"print(\1)", read_source(path))
    # Rows have ids, as in the files, so none of them is taken for another.
    truths = {
        i: {
            "answers": [
                {"answer": text, "answer_id": j} for j, text in enumerate(truth.answers)
            ],
            "answer_type": truth.kind,
            "question_type": "",
        }
        for i, (_, truth) in enumerate(cases)
    }
    said = {i: {"answer": answer.text} for i, (answer, _) in enumerate(cases)}
    with contextlib.redirect_stdout(io.StringIO()), _without_warnings():
        module = load_source(path, {}, source)
        scorer = module.VQAEval(
            SimpleNamespace(qa=truths, getQuesIds=lambda: list(truths)),
            SimpleNamespace(qa=said),
            n=12,
        )
        scorer.evaluate()
    accuracy = scorer.accuracy
    return (
        {"vqav2_accuracy": accuracy["overall"] / 100}
        | {kind: value / 100 for kind, value in accuracy["perAnswerType"].items()}
        | {str(i): value / 100 for i, value in scorer.evalQA.items()}
    )


@contextlib.contextmanager
def _without_warnings():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# lmms-eval and pix2struct: functions of one example.


def _function(path: str, name: str, imports: str = "") -> Callable[..., Any]:
    """Return a function of a file with those of the file that it calls."""
    import ast

    wanted, names = [], {name}
    tree = ast.parse(read_source(path))
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    while names:
        node = functions[names.pop()]
        node.decorator_list = []
        wanted.append(node)
        called = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        names |= called & set(functions) - {n.name for n in wanted}
    source = ast.unparse(ast.Module(wanted, []))
    header = f"from __future__ import annotations\n{imports}\n"
    module = load_source(path, {}, header + source)
    return getattr(module, name)


def lmms_eval_anls(cases: Cases) -> dict[str, float]:
    """Return lmms-eval's ANLS of each example."""
    anls = _function("lmms-eval/lmms_eval/api/metrics.py", "anls")
    return by_index([anls(list(t.answers), [a.text])["anls"] for a, t in cases])


def lmms_eval_relaxed(cases: Cases) -> dict[str, float]:
    """Return lmms-eval's relaxed correctness of each example."""
    path = "lmms-eval/lmms_eval/tasks/chartqa/utils.py"
    is_right = _function(path, "relaxed_correctness")
    return by_index([is_right(answer.text, t.answers[0]) for answer, t in cases])


def pix2struct_relaxed(cases: Cases) -> dict[str, float]:
    """Return pix2struct's relaxed correctness of each example."""
    is_right = _function("pix2struct/pix2struct/metrics.py", "relaxed_correctness")
    return by_index([is_right(t.answers[0], answer.text) for answer, t in cases])


def lmms_eval_pope(cases: Cases) -> dict[str, float]:
    """Return lmms-eval's figures of POPE; its recall leaves other answers out."""
    path = "lmms-eval/lmms_eval/tasks/pope/utils.py"
    rows = [
        {
            "prediction": (said := answer.text.lower().strip()),
            "ground_truth": truth.answers[0],
            "score": float(said == truth.answers[0]),
        }
        for answer, truth in cases
    ]
    return {
        "pope": _function(path, "pope_aggregate_accuracy")(rows),
        "precision": _function(path, "pope_aggregate_precision")(rows),
    }


# POPE's own program, which reads two files.


def pope_program(cases: Cases) -> dict[str, float]:
    """Return what the program of POPE's authors prints."""
    files = {
        "answers": [{"answer": answer.text} for answer, _ in cases],
        "labels": [{"label": truth.answers[0]} for _, truth in cases],
    }

    def opened(name: str, mode: str) -> io.StringIO:
        return io.StringIO("\n".join(map(json.dumps, files[name])))

    path = "POPE/evaluate.py"
    source = read_source(path)
    for name, key in (("ans_file", "answers"), ("label_file", "labels")):
        source = source.replace(f"{name} = ''", f"{name} = '{key}'")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, path, "exec"), {"open": opened})
    figures = dict(re.findall(r"(\w[\w ]+): ([\d.e-]+)", printed.getvalue()))
    ours = {
        "Accuracy": "pope_words",
        "Precision": "precision",
        "Recall": "recall",
        "F1 score": "f1",
        "Yes ratio": "yes_share",
    }
    return {name: float(figures[theirs]) for theirs, name in ours.items()}


def sklearn_pope(cases: Cases) -> dict[str, float]:
    """Return scikit-learn's figures of yes against all else."""
    from sklearn.metrics import precision_recall_fscore_support

    right = [truth.answers[0] == "yes" for _, truth in cases]
    said = [answer.text.strip().lower() == "yes" for answer, _ in cases]
    precision, recall, f1, _ = precision_recall_fscore_support(
        right, said, average="binary", zero_division=0.0
    )
    found = {"precision": precision, "recall": recall, "f1": f1}
    for kind in ("random", "popular", "adversarial"):
        chosen = [truth.kind == kind for _, truth in cases]
        some = [np.array(x)[chosen] for x in (right, said)]
        found[f"{kind} f1"] = precision_recall_fscore_support(
            *some, average="binary", zero_division=0.0
        )[2]
    return {name: float(value) for name, value in found.items()}


def sklearn_calibration(cases: Cases) -> dict[str, float]:
    """Return ECE from scikit-learn's calibration curves, and its Brier score."""
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss

    right = np.array([answer.text.lower() == "cat" for answer, _ in cases], int)
    given = np.array(
        [
            np.exp(answer.log_probability)
            if answer.probability is None
            else answer.probability
            for answer, _ in cases
        ]
    )

    def error(strategy: str, edges: np.ndarray) -> float:
        true, said = calibration_curve(right, given, n_bins=15, strategy=strategy)
        sizes = np.bincount(np.searchsorted(edges[1:-1], given), minlength=15)
        weights = sizes[sizes > 0] / len(given)
        return float(np.sum(weights * np.abs(true - said)))

    even = np.linspace(0, 1, 16)
    return {
        "ece": error("uniform", even),
        "ece_equal_mass": error("quantile", np.percentile(given, even * 100)),
        "brier": float(brier_score_loss(right, given)),
    }


def big_vision_perplexity(random: np.random.Generator, count: int) -> float:
    """Return the difference of perplexity from big_vision's, of logits of tokens."""
    import jax
    import jax.numpy as jnp

    stand_ins = _stand_ins()
    mean = ModuleType("big_vision.evaluators.mean")
    mean.Evaluator = object  # type: ignore[attr-defined]
    stand_ins["big_vision.evaluators"].mean = mean  # type: ignore[attr-defined]
    stand_ins["big_vision.utils"].weighted_softmax_xent = _function(  # type: ignore[attr-defined]
        "big_vision/big_vision/utils.py",
        "weighted_softmax_xent",
        "import jax\nimport jax.numpy as jnp\nimport numpy as np",
    )
    path = "big_vision/big_vision/evaluators/proj/paligemma/perplexity.py"
    module = load_source(path, stand_ins)
    logits = random.normal(0, 3, (count, 12, 40))
    labels = random.integers(0, 40, (count, 12))
    mask = np.arange(12) < random.integers(1, 13, (count, 1))
    with jax.enable_x64(True):
        run = module.perplexity(
            lambda state, batch: (batch["logits"], None), shift_labels=False
        )
        batch = {"logits": logits, "labels": labels, "mask_loss": mask.astype(float)}
        expected = run(None, {key: jnp.asarray(value) for key, value in batch.items()})
        sums, means = (np.asarray(expected[key]) for key in ("sum", "avg"))
    # The probability of an answer is the product of its tokens'.
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    chosen = np.take_along_axis(odds, labels[..., None], -1)[..., 0] / odds.sum(-1)
    metric, truth = metrics.get("perplexity"), Truth(answers=("a",))
    rows = [
        metric.statistics(
            Answer("a", float(np.log(tokens[own]).sum()), int(own.sum())), truth
        )
        for tokens, own in zip(chosen, mask)
    ]
    found = metric.result(rows)
    return max(
        np.abs(metric.scores(rows) - means).max(),
        abs(found["perplexity_of_examples"] - means.mean()),
        abs(found["nll_of_examples"] - sums.mean()),
        abs(found["perplexity"] - sums.sum() / mask.sum()),
    )


def rapidfuzz_anls(prepare: Callable[[str], str], cases: Cases) -> dict[str, float]:
    """Return scores from rapidfuzz's normalized similarity."""
    from rapidfuzz.distance import Levenshtein

    def similarity(said: str, right: str) -> float:
        close = Levenshtein.normalized_similarity(prepare(said), prepare(right))
        # Half of the letters wrong is too much; rapidfuzz's own cutoff keeps it.
        wrong = Levenshtein.normalized_distance(prepare(said), prepare(right))
        return close if wrong < 0.5 else 0.0

    return by_index(
        [max(similarity(a.text, right) for right in t.answers) for a, t in cases]
    )


def _check(metric: str, oracle: str, function: Any, adapt: Any = stripped) -> Check:
    run = partial(compare, metric, function)
    return Check(
        metric=metric,
        oracle=oracle,
        compare=lambda random, count: run(random, count, adapt=adapt),
    )


def as_drawn(answer: Answer, truth: Truth) -> tuple[Answer, Truth]:
    """Return a case as it is."""
    return answer, truth


def _run(file: str, names: Mapping[str, str], batch: Any, postproc: Any = None) -> Any:
    return partial(_big_vision, file, names, batch, postproc)


def _big_vision(
    file: str, names: Mapping[str, str], batch: Any, postproc: Any, cases: Cases
) -> dict[str, float]:
    return big_vision(file, names, batch, cases, postproc)


_VQAV2 = {"acc/yesno": "yes/no", "acc/number": "number", "acc/other": "other"}
_RSVQA = {f"acc_{kind}": kind for kind in ("comp", "count", "presence", "area")}

CHECKS = (
    _check(
        "exact_match",
        "big_vision vqa.py, acc_any",
        _run("vqa", {"acc_any": "exact_match"}, _all, str),
    ),
    _check(
        "exact_match_lower",
        "big_vision vqa.py, acc with to_lower",
        _run("vqa", {"acc": "exact_match_lower"}, _one, str.lower),
        _first_only,
    ),
    _check(
        "vqa_accuracy",
        "big_vision vqa.py, acc of answers",
        _run("vqa", {"acc": "vqa_accuracy"}, _all, str),
        _many,
    ),
    _check(
        "vqa_accuracy",
        "big_vision vqa.py, acc of one answer",
        _run("vqa", {"acc": "vqa_accuracy"}, _one, str),
        _first_only,
    ),
    _check("vqav2_accuracy", "GT-Vision-Lab/VQA vqaEval.py", vqa_api, as_drawn),
    _check(
        "vqav2_accuracy",
        "big_vision vqav2.py",
        _run("vqav2", {"acc": "vqav2_accuracy"} | _VQAV2, _vqav2_batch),
        as_drawn,
    ),
    _check(
        "anls",
        "big_vision vqa.py, anls with to_lower",
        _run("vqa", {"anls": "anls"}, _all, str.lower),
    ),
    _check("anls", "rapidfuzz, lower case", partial(rapidfuzz_anls, str.lower)),
    _check(
        "anls_case_sensitive",
        "big_vision vqa.py, anls",
        _run("vqa", {"anls": "anls_case_sensitive"}, _all, str),
    ),
    _check("anls_case_sensitive", "rapidfuzz", partial(rapidfuzz_anls, str)),
    _check("anls_rrc", "lmms-eval api/metrics.py, anls", lmms_eval_anls, as_drawn),
    _check("relaxed_accuracy", "big_vision chartqa.py with to_lower", _chartqa),
    _check("relaxed_accuracy", "lmms-eval chartqa/utils.py", lmms_eval_relaxed),
    _check("relaxed_accuracy", "pix2struct metrics.py", pix2struct_relaxed),
    _check(
        "rsvqa_accuracy",
        "big_vision rsvqa.py with to_lower",
        _run(
            "rsvqa",
            _RSVQA
            | {"acc_rural_urban": "rural_urban", "acc_any": "overall"}
            | {"acc_avg": "rsvqa_accuracy"},
            lambda truth: _all(truth) | {"question_type": truth.kind},
            str.lower,
        ),
    ),
    _check(
        "science_qa_accuracy",
        "big_vision science_qa.py",
        _run(
            "science_qa",
            {"acc": "science_qa_accuracy", "parsefail": "unreadable"},
            _one,
        ),
    ),
    _check(
        "tallyqa_accuracy",
        "big_vision tallyqa.py",
        _run(
            "tallyqa",
            {
                "acc": "tallyqa_accuracy",
                "acc/simple": "simple",
                "acc/complex": "complex",
            },
            lambda truth: _one(truth) | {"issimple": int(truth.kind == "simple")},
        ),
    ),
    _check(
        "pope",
        "big_vision pope.py",
        _run("pope", {"acc": "pope", "valid_percent": "valid_percent"}, _one),
    ),
    _check("pope", "scikit-learn, yes against all else", sklearn_pope),
    _check("pope", "lmms-eval pope/utils.py, accuracy, precision", lmms_eval_pope),
    _check("pope_words", "AoiDragon/POPE evaluate.py", pope_program, as_drawn),
    _check("ece", "scikit-learn", sklearn_calibration, as_drawn),
    Check(
        metric="perplexity",
        oracle="big_vision perplexity.py, avg and sum",
        compare=big_vision_perplexity,
    ),
)
