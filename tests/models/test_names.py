"""Models by any name that a person has for them, and the sizes that they take."""

import json

import pytest
import timm
from typer.testing import CliRunner

from pepr.cli import app
from pepr.costs import model as cost, prediction
from pepr.errors import InputError
from pepr.models import names


@pytest.mark.parametrize(
    ("asked", "plain"),
    [
        ("resnet50", "resnet50"),
        ("resnet50.a1_in1k", "resnet50"),
        ("hf-hub:timm/resnet50.a1_in1k", "resnet50"),
        ("hf_hub:timm/resnet50.a1_in1k", "resnet50"),
        ("timm/resnet50.tv_in1k", "resnet50"),
        ("https://huggingface.co/timm/resnet50.a1_in1k", "resnet50"),
        ("huggingface.co/timm/resnet50.a1_in1k/", "resnet50"),
        ("hf-hub:timm/resnet50.a1_in1k@main", "resnet50"),
        ("https://huggingface.co/timm/resnet50.a1_in1k/tree/main", "resnet50"),
        ("https://hf.co/timm/resnet50.a1_in1k?library=timm", "resnet50"),
        ("HF-Hub:timm/ResNet50.A1_in1k", "resnet50"),
        (" resnet50", "resnet50"),
        ("deit_tiny_patch16_224.fb_in1k", "deit_tiny_patch16_224"),
        ("tv_resnet50", "resnet50"),
        ("hf-hub:timm/ssl_resnet18", "resnet18"),
        ("efficientnet_b2a", "efficientnet_b2"),
        ("gluon_resnet34_v1b", "gluon_resnet34_v1b"),
        ("timm/gluon_resnet34_v1b", "gluon_resnet34_v1b"),
    ],
)
def test_a_model_is_known_by_any_of_its_names(asked, plain):
    named = names.plain(asked)
    assert named.model == plain
    assert (named.taken is None) == (asked == plain)
    if named.taken:
        assert asked in named.taken and plain in named.taken


def test_timm_names_models_in_small_letters_only():
    every = timm.list_models() + list(timm.models.get_deprecated_models())
    assert every == [name.lower() for name in every]


def test_the_row_of_a_name_with_a_tag_is_that_of_the_plain_name_and_says_so():
    job = cost.job_of(None)
    plain, tagged = (prediction.as_row(name, job) for name in ("resnet50", "hf-hub:timm/resnet50.a1_in1k"))
    assert tagged.pop("taken").startswith("hf-hub:timm/resnet50.a1_in1k is taken as resnet50")
    assert plain.pop("taken") is None and plain == tagged
    assert "is taken as resnet50" in prediction.as_text([prediction.as_row("tv_resnet50", job)])


def test_a_tag_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(InputError, match=r"resnet18 has no weights 'nonexist'; it has a1_in1k, a2_in1k"):
        names.plain("timm/resnet18.nonexist")
    with pytest.raises(InputError, match="only timm's own models are known"):
        names.plain("hf-hub:someone/resnet18")
    done = CliRunner().invoke(app, ["predict", "resnet19"])
    assert isinstance(done.exception, InputError) and "did you mean" in str(done.exception)


@pytest.mark.parametrize("card", ["nan", "-1", "0", "inf", "1e300"])
def test_a_card_without_a_size_is_refused(card):
    done = CliRunner().invoke(app, ["predict", "resnet18", "--card-gb", card])
    assert isinstance(done.exception, InputError) and "expected a number of GB above 0" in str(done.exception)


def test_a_batch_is_no_larger_than_the_images():
    job = cost.job_of(None, train_images=10, batch_size=256)
    assert job == cost.job_of(None, train_images=10, batch_size=10)
    done = CliRunner().invoke(
        app, ["predict", "resnet18", "--train-images", "10", "--batch-size", "1000000000", "--json"]
    )
    assert json.loads(done.stdout)["batch_size"] == 10
    assert "at most the 10 training images: 10, not 1,000,000,000" in done.stderr


def test_all_leaves_out_the_models_that_do_not_take_a_size_and_names_them():
    done = CliRunner().invoke(app, ["predict", "--all", "--image-size", "64", "--json"])
    listed = {row["model"] for row in json.loads(done.stdout)}
    accepting, left_out = prediction.models_for(64)
    assert listed == set(accepting) and "halonet26t" in left_out
    assert f"{len(left_out)} models do not take 64 px and are left out" in done.stderr


def test_all_leaves_out_the_models_that_cannot_recompute_and_names_them(monkeypatch):
    asked = ["predict", "--all", "--image-size", "64", "--checkpointing", "--json"]
    monkeypatch.setattr(prediction, "models_for", lambda size: (["dla46_c", "resnet18d"], []))
    done = CliRunner().invoke(app, asked)
    assert [row["model"] for row in json.loads(done.stdout)] == ["resnet18d"]
    assert "1 models cannot be trained so and are left out: dla46_c" in done.stderr
    monkeypatch.setattr(prediction, "models_for", lambda size: (["dla46_c"], []))
    assert isinstance(CliRunner().invoke(app, asked).exception, InputError)


def test_of_a_size_that_is_no_multiple_of_32_many_models_are_left_out():
    _, left_out = prediction.models_for(100)
    assert len(left_out) >= 16 and {"dla46_c", "hrnet_w18", "maxvit_nano_rw_256"} <= set(left_out)
