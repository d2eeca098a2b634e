"""Where the performance of somebody else's training is found, and what is refused instead of guessed."""

import itertools
import json
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pepr.errors import InputError
from pepr.study.performance import Source, as_performance, output_of, source_of


def heard(pattern, *chunks):
    search = output_of(pattern)
    for chunk in chunks:
        search.listen(chunk)
    return search


def test_the_last_match_in_the_output_counts():
    assert heard(r"acc=([\d.]+)", b"acc=0.1\nacc=0.5 acc=0.7\nnothing\n").value() == 0.7


def test_a_pattern_without_a_group_is_the_number_itself():
    assert heard(r"0\.\d+", b"test 0.25\n").value() == 0.25


def test_a_progress_bar_that_rewrites_its_line_is_read():
    assert heard(r"acc: ([\d.]+)", b"10% acc: 0.2\r50% acc: 0.4\r100% acc: 0.6").value() == 0.6


@given(cuts=st.lists(st.integers(0, 40), max_size=8))
def test_how_output_is_cut_into_chunks_does_not_matter(cuts):
    text = b"epoch 1: accuracy 0.125\nepoch 2: accuracy 0.875\n"
    edges = [0, *sorted(cuts), len(text)]
    chunks = [text[low:high] for low, high in itertools.pairwise(edges)]
    assert heard(r"accuracy (0\.\d+)", *chunks).value() == 0.875


def test_an_endless_line_is_not_kept():
    search = heard(r"acc=([\d.]+)", *[b"x" * 60_000] * 50, b"acc=0.5")
    assert len(search._line) < 200_000 and search.value() == 0.5


def test_output_without_a_match_is_named():
    with pytest.raises(InputError, match=r"no line of the output matches 'acc=\(\.\)'"):
        heard("acc=(.)", b"loss 1\n").value()


def test_a_pattern_that_cannot_be_read_is_named():
    with pytest.raises(InputError, match="not a regular expression"):
        output_of("acc=(")


@pytest.mark.parametrize(
    ("name", "content", "key", "expected"),
    [
        ("a.json", json.dumps({"test": {"accuracy": 0.5}}), "test.accuracy", 0.5),
        ("a.json", json.dumps({"eval_accuracy": "0.5"}), "eval_accuracy", 0.5),
        ("a.json", json.dumps({"test.acc": 0.5}), "test.acc", 0.5),
        ("a.json", json.dumps({"log_history": [{"acc": 0.1}, {"acc": 0.5}]}), "log_history.-1.acc", 0.5),
        ("a.jsonl", '{"acc": 0.1}\n{"acc": 0.5}\n{"loss": 2}\n', "acc", 0.5),
        ("metrics.csv", "epoch,train_loss,val_acc\n0,2.1,\n0,,0.4\n1,1.9,\n1,,0.5\n", "val_acc", 0.5),
        ("log.tsv", "epoch\tacc\n0\t0.4\n1\t50%\n", "acc", 0.5),
        ("log.csv", "\ufeffacc,epoch\n0.5,1\n", "acc", 0.5),
        ("a.json", '\ufeff{"acc": 0.5}', "acc", 0.5),
    ],
)
def test_the_performance_is_found_in_what_trainings_write(tmp_path, name, content, key, expected):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert source_of(f"{path}:{key}").value(time.time() - 1) == expected


def test_of_several_files_the_newest_counts(tmp_path):
    for version, accuracy in enumerate((0.3, 0.4)):
        path = tmp_path / "logs" / f"version_{version}" / "metrics.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"acc\n{accuracy}\n")
        os.utime(path, (time.time() + version - 5, time.time() + version - 5))
    assert Source(f"{tmp_path}/logs/**/metrics.csv", "acc").value(time.time() - 60) == 0.4


def test_brackets_in_the_name_of_a_folder_are_no_pattern(tmp_path, monkeypatch):
    folder = tmp_path / "runs [1]" / "a"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text('{"accuracy": 0.5}')
    assert Source(f"{tmp_path}/runs [1]/*/metrics.json", "accuracy").value(0.0) == 0.5
    monkeypatch.chdir(tmp_path / "runs [1]")
    assert Source("*/metrics.json", "accuracy").value(0.0) == 0.5


def test_a_file_of_an_earlier_training_is_refused(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"accuracy": 0.9}')
    os.utime(path, (time.time() - 60, time.time() - 60))
    with pytest.raises(InputError, match="written before the training began"):
        Source(str(path), "accuracy").value(time.time())


@pytest.mark.parametrize(
    ("name", "content", "key", "said"),
    [
        ("a.json", '{"accuracy": 0.9}', "acc", "no key 'acc'; there are: accuracy"),
        ("a.csv", "epoch,acc\n0,0.5\n", "val_acc", "no column 'val_acc'; there are: epoch, acc"),
        ("a.csv", "epoch,acc\n0,\n", "acc", "column 'acc' is empty"),
        ("a.jsonl", '{"loss": 1}\n', "acc", "no line has 'acc'"),
        ("a.txt", "acc 0.5", "acc", "neither JSON nor a CSV"),
        ("a.json", '{"acc": "high"}', "acc", "'high' is not a number"),
        ("a.json", '{"acc": 91.2}', "acc", "with --percent it is read as a percentage"),
        ("a.json", '{"acc": NaN}', "acc", "not a performance between 0 and 1"),
        ("a.json", '{"acc": null}', "acc", "'None' is not a number"),
    ],
)
def test_what_is_no_performance_is_refused_with_file_key_and_remedy(tmp_path, name, content, key, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        Source(str(tmp_path / name), key).value(time.time() - 1)
    assert said in str(caught.value) and name in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Source(str(tmp_path / "none.json"), "acc").value(0.0)


@pytest.mark.parametrize("text", ["metrics.json", ":acc", "metrics.json:"])
def test_a_source_needs_a_file_and_a_key(text):
    with pytest.raises(InputError, match="expected FILE:KEY"):
        source_of(text)


def test_percent_is_read_where_it_is_said():
    assert as_performance(91.0, "here", percent=True) == as_performance("91 %", "here") == 0.91


def test_a_tensor_of_one_number_is_that_number_and_one_of_several_is_none():
    """Its text is `tensor(0.9100)`."""
    assert as_performance(SimpleNamespace(item=lambda: 0.91), "here") == 0.91
    assert as_performance(np.array([0.91]), "here") == as_performance(np.float64(0.91), "here") == 0.91
    with pytest.raises(InputError, match=r"here: .* is not a number"):
        as_performance(np.array([0.5, 0.6]), "here")


@pytest.mark.parametrize("text", ["0.9_1", "٠.٩", "0_1"])
def test_what_other_languages_take_for_a_number_is_none(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"acc": text}))
    with pytest.raises(InputError, match=f"'{text}' is not a number"):
        Source(str(path), "acc").value(time.time() - 1)
    with pytest.raises(InputError, match=f"'{text}' is not a number"):
        heard(r"acc=(\S+)", f"acc={text}\n".encode()).value()
