"""Two evaluations compared: tests beside SciPy's, figures by hand, what is refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from typer.testing import CliRunner

from keras_pg2 import evaluation, metrics
from keras_pg2.cli.app import app
from keras_pg2.evaluation.comparison_text import comparison_markdown, comparison_record
from keras_pg2.evaluation.paired_tests import mcnemar_p_value, sign_flip_p_value
from keras_pg2.evaluation.results import Evaluation, Failure, Outcome
from keras_pg2.metrics.metric import Answer, Truth

RIGHT = {"q1": ("cat",), "q2": ("dog", "hound"), "q3": ("7",), "q4": ("red",)}


def evaluate(said, metric="exact_match", model="a", right=RIGHT, **settings):
    """Return an evaluation of answers by id."""
    outcomes = [
        Outcome(
            id=key,
            image=f"{key}.png",
            prompt=f"answer en {key}?",
            answer=Answer(text),
            truth=Truth(answers=right[key], kind="animal" if key < "q3" else "other"),
            score=float("nan"),
        )
        for key, text in said.items()
    ]
    rows = [metrics.get(metric).statistics(one.answer, one.truth) for one in outcomes]
    return Evaluation(
        model=model,
        data_set="questions",
        split="val",
        recipe=None,
        metric=metric,
        figures=metrics.get(metric).result(rows),
        intervals={},
        outcomes=outcomes,
        failures=(),
        settings={"seed": 0, **settings},
        published=None,
        seconds=1.0,
    )


A = evaluate({"q1": "cat", "q2": "cow", "q3": "8", "q4": "blue"}, prompt="x")
B = evaluate(
    {"q1": "cow", "q2": "dog", "q3": "7", "q4": "green"}, model="b", prompt="y"
)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemars_p_value_is_scipys_binomial_test(better, worse):
    expected = stats.binomtest(better, better + worse).pvalue if better + worse else 1
    assert mcnemar_p_value(better, worse) == pytest.approx(expected, rel=1e-9)


def test_mcnemars_p_value_of_many_examples():
    assert mcnemar_p_value(10_400, 10_000) == pytest.approx(
        stats.binomtest(10_400, 20_400).pvalue, rel=1e-7
    )
    assert mcnemar_p_value(50_000, 0) == 0.0


# Sums of these are exact: for SciPy 1 - 1 + 0.6 - 0.3 - 0.3 is not 0.
@given(st.lists(st.sampled_from([-1, -0.5, 0, 0.25, 0.75, 1]), min_size=2, max_size=9))
def test_few_differences_are_gone_through_exactly(values):
    differences = np.array(values)
    expected = stats.permutation_test(
        (differences,),
        np.sum,
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip_p_value(differences) == pytest.approx(expected.pvalue)


def test_many_differences_are_near_the_normal_distribution():
    differences = np.random.default_rng(3).normal(0.06, 1, 1500)
    found = sign_flip_p_value(differences, 4000)
    assert found == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert found == sign_flip_p_value(differences, 4000)
    assert sign_flip_p_value(differences + 1, 999) == 1 / 1000


def test_figures_and_counts_by_hand():
    found = evaluation.compare(A, B)
    figures = {one.name: (one.a, one.b, one.difference) for one in found.differences}
    assert figures == {
        "exact_match": (0.25, 0.5, 0.25),
        "animal": (0.5, 0.5, 0.0),
        "other": (0.0, 0.5, 0.5),
    }
    assert (found.better, found.worse, found.equal) == (2, 1, 1)
    # Two against one: the ways of 3 coins that are as far from even or farther are all.
    assert found.p_value == 1
    assert found.test == "McNemar's exact test"
    assert [pair.a.id for pair in found.pairs] == ["q1", "q2", "q3", "q4"]
    assert [pair.difference for pair in found.pairs] == [-1, 1, 1, 0]
    assert found.settings == {"prompt": ("x", "y")}


def test_intervals_are_of_the_same_draws_for_both():
    random = np.random.default_rng(0)
    right = {f"q{i:03}": ("1",) for i in range(200)}
    said = {key: str(int(random.uniform() < 0.7)) for key in right}
    first = evaluate(said, right=right)
    same = evaluation.compare(first, replace(first, model="b"))
    assert same.differences[0].interval == (0, 0)
    assert same.p_value == 1
    better = {key: "1" if i < 60 else said[key] for i, key in enumerate(right)}
    low, high = (
        evaluation.compare(first, evaluate(better, right=right)).differences[0].interval
    )
    gained = sum(said[key] == "0" for key in list(right)[:60]) / 200
    assert 0 < low < gained < high
    # Wilson's interval of the share of examples that were gained.
    expected = stats.binomtest(round(gained * 200), 200).proportion_ci(method="wilson")
    np.testing.assert_allclose((low, high), expected, atol=0.015)


def test_errors_are_better_where_they_are_lower():
    worse = [
        replace(one, answer=Answer(one.truth.answers[0], -2.0, 2)) for one in A.outcomes
    ]
    better = [
        replace(one, answer=replace(one.answer, log_probability=-1.0)) for one in worse
    ]
    found = evaluation.compare(
        replace(A, outcomes=worse), replace(B, outcomes=better), "perplexity"
    )
    assert not found.is_higher_better
    assert found.differences[0].difference == -0.5
    assert (found.better, found.worse) == (4, 0)
    assert found.test == "sign-flip test of the mean"
    assert found.p_value == 2 / 16
    assert "lower is better" in comparison_markdown(found)


def test_what_both_have_is_compared_if_told_so():
    part = replace(
        B, outcomes=B.outcomes[1:], failures=[Failure(id="q1", image=None, error="x")]
    )
    with pytest.raises(ValueError, match="1 that only the first has and 0"):
        evaluation.compare(A, part)
    found = evaluation.compare(A, part, only_common=True)
    assert (found.num_examples, found.left_out) == (3, (1, 0))
    assert "Left out: 1 that only A has, 0 that only B has." in comparison_markdown(
        found
    )


OTHER_IDS = evaluate({"p1": "x"}, right={"p1": ("x",)})
OTHER_TRUTH = evaluate(dict.fromkeys(RIGHT, "x"), right=RIGHT | {"q3": ("eight",)})


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (
            replace(B, metric="anls"),
            "received exact_match of a and anls of b.*--metric",
        ),
        (OTHER_IDS, "none that both have: questions val .first. and questions val"),
        (OTHER_TRUTH, r"another truth of the example 'q3'.*\('7',\) and \('eight',\)"),
    ],
)
def test_what_does_not_belong_together_is_refused(other, expected):
    with pytest.raises(ValueError, match=expected):
        evaluation.compare(A, other)


def test_a_metric_to_score_both_by():
    found = evaluation.compare(A, replace(B, metric="anls"), "exact_match_lower")
    assert found.differences[0].name == "exact_match_lower"


def test_what_is_written_holds_no_markup_of_answers():
    said = {"q1": "a | b\n<b>[x](y)", "q2": "dog", "q3": "7", "q4": "x" * 200}
    text = comparison_markdown(evaluation.compare(A, evaluate(said, model="m|*")))
    assert r"a \| b\\n\<b\>\[x\](y)" in text
    assert "x" * 81 not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables}
    assert widths == {6, 4, 8}


def test_record_is_json():
    record = json.loads(json.dumps(comparison_record(evaluation.compare(A, B), 2)))
    assert record["figures"]["exact_match"]["difference"] == 0.25
    assert [one["id"] for one in record["examples"]] == ["q1", "q2"]
    assert record["examples"][0]["answer_b"] == {"text": "cow"}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    for name, one in (("a", A), ("b", B)):
        evaluation.write_evaluation(one, folder / name)
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_command_compares_directories(reports, tmp_path):
    result = run(reports / "a", reports / "b", "--output", tmp_path / "found.md")
    assert result.exit_code == 0, result.output
    assert (
        "B is better at 2 examples, worse at 1, equal at 1. p = 1.0000" in result.stdout
    )
    assert "| exact_match | 0.2500 | 0.5000 | +0.2500 | " in result.stdout
    written = (tmp_path / "found.md").read_text()
    assert written.startswith("# b against a\n")
    assert r"| exact\_match | 0.2500 | 0.5000 | +0.2500 | " in written


def test_command_prints_and_writes_json(reports, tmp_path):
    target = tmp_path / "found.json"
    result = run(reports / "a", reports / "b", "--json", "-o", target, "--examples", 1)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed == json.loads(target.read_text())
    assert printed == comparison_record(evaluation.compare(A, B), 1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("a", "nowhere"), "Expected a directory that an evaluation was written to"),
        (("a", "b", "--output", "x.txt"), "file that ends in .json or .md"),
        (("a", "b", "--metric", "exakt"), "Expected the name of a metric"),
        (("a", "b", "--level", "1"), "Expected level between 0 and 1"),
    ],
)
def test_command_refuses_in_a_line(reports, monkeypatch, arguments, expected):
    monkeypatch.chdir(reports)
    result = run(*arguments)
    assert result.exit_code == 2
    assert expected in " ".join(result.output.split())


@pytest.fixture
def answered(tmp_path):
    """Rows of one's own, and two files of answers to them."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [
        {"id": key, "image": "a.png", "question": f"{key}?", "answers": list(right)}
        for key, right in RIGHT.items()
    ]
    files = {"rows": rows}
    for name, one in (("a", A), ("b", B)):
        files[name] = [{"id": o.id, "text": o.answer.text} for o in one.outcomes]
    for name, lines in files.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def test_command_compares_files_of_answers(answered):
    files = answered / "a.jsonl", answered / "b.jsonl"
    result = run(
        *files, "--data", answered / "rows.jsonl", "--metric", "exact_match", "--json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["figures"]["exact_match"]["difference"] == 0.25
    assert (found["better"], found["worse"], found["equal"]) == (2, 1, 1)
    result = run(*files)
    assert "For files of answers name what was asked" in " ".join(result.output.split())


def test_command_refuses_data_that_nothing_needs(reports):
    result = run(reports / "a", reports / "b", "--data", "x")
    assert "Expected --data with files of answers" in " ".join(result.output.split())
    result = run(reports / "a", reports / "b", "--split", "val")
    assert "Expected --data together with --split" in " ".join(result.output.split())
