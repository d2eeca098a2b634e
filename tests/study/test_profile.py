"""Profiles: validated before anything starts, turned into a grid, forecast from measured runs."""

import itertools
import json

import pytest
import yaml

from pepr import cli, datasets, models, runs, study
from pepr.errors import InputError
from pepr.study import forecast, workflow
from pepr.study.profile import check_precision
from pepr.training.record import Parts

SOUND = {
    "title": "a",
    "needs": "b",
    "image_size": 64,
    "epochs": 1,
    "settings": {"elpv": {"dataset": "elpv", "pretrained": False}},
    "runs": [{"models": ["dla46_c"], "settings": ["elpv"]}],
}


def load(tmp_path, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**SOUND, **changes}))
    return study.load(str(path))


def test_every_shipped_profile_is_sound_and_none_of_its_runs_stands_twice():
    for name in study.profile_names():
        specs = study.grid(study.load(name))
        assert len({spec.run_id for spec in specs}) == len(specs) >= 2


def test_pocket_is_the_designs_grid():
    specs = study.grid(study.load("pocket"))
    settings = {"elpv", "elpv_pt", "elpv_small", "elpv_pt_small"}
    everywhere = {*models.BASELINES, *models.OFFLINE_WEIGHTS} - {"tf_efficientnet_lite2"}
    assert {(spec.model, spec.setting) for spec in specs if spec.model in everywhere} == set(
        itertools.product(everywhere, settings)
    )
    of = {(spec.model, spec.setting): set() for spec in specs}
    for spec in specs:
        of[spec.model, spec.setting].add(spec.seed)
    assert set(map(frozenset, of.values())) == {frozenset({0, 1, 2})}, "as many splits for every model"
    assert all(spec.epochs == 1 for spec in specs if spec.model in models.BASELINES)
    specs = [spec for spec in specs if spec.model not in models.BASELINES]
    scratch = {spec.model for spec in specs if spec.setting == "elpv"} & set(models.paper_models())
    sizes = sorted(models.find(model).num_params for model in scratch)
    assert len(sizes) >= 8 and sizes[0] >= 1e6 and 11e6 < sizes[-1] < 13e6
    assert all(spec.pretrained == ("_pt" in spec.setting) for spec in specs)
    assert {spec.train_fraction for spec in specs if spec.setting.endswith("small")} == {0.1}
    assert {(spec.image_size, spec.epochs, spec.batch_size, spec.learning_rate) for spec in specs} == {
        (64, 3, 32, 5e-4)
    }


def test_where_seeds_are_asked_for_pocket_is_the_references_grid():
    """The two largest networks take part only there."""
    specs = study.grid(study.restrict(study.load("pocket"), seeds=range(5)))
    reference = runs.Results("pocket", "reference", runs.reference_folder("pocket")).table
    assert {spec.run_id for spec in specs} == set(reference["run_id"])
    largest = {spec.model: set() for spec in specs if spec.model in ("resnetv2_50", "tf_efficientnet_lite2")}
    for spec in specs:
        if spec.model in largest:
            largest[spec.model].add(spec.seed)
    assert largest == {"resnetv2_50": set(range(5)), "tf_efficientnet_lite2": set(range(5))}


def test_the_papers_grid_is_every_model_in_eight_settings_in_an_order_drawn_per_seed():
    profile = study.load("paper")
    specs = study.grid(profile)
    assert len(specs) == 131 * 8 and {spec.model for spec in specs} == set(models.paper_models())
    assert {(spec.fidelity, spec.image_size, spec.epochs) for spec in specs} == {("paper", 256, 10)}
    assert {spec.setting for spec in specs if not spec.pretrained} == {"derma"}
    two_seeds = study.grid(study.restrict(profile, seeds=[1, 0]))
    assert [spec.seed for spec in two_seeds] == [0] * len(specs) + [1] * len(specs)
    orders = [[(spec.model, spec.setting) for spec in two_seeds if spec.seed == seed] for seed in (0, 1)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])
    assert study.grid(profile) == specs


def test_the_medical_profile_asks_every_set_the_same_of_two_pretrained_architectures():
    everything = study.grid(study.load("medical"))
    specs = [spec for spec in everything if spec.model not in models.BASELINES]
    specs = [spec for spec in specs if not spec.shuffled and spec.init_from is None]
    for setting in {spec.setting for spec in specs} - {"ham10000_by_image"}:
        ours = {spec.seed for spec in specs if spec.setting == setting}
        baselines = {(spec.model, spec.seed) for spec in everything if spec.setting == setting} - {
            (spec.model, spec.seed) for spec in specs
        }
        assert baselines == set(itertools.product(models.BASELINES, ours)), "as many seeds as the networks"
    assert {spec.dataset for spec in specs} >= {"breastmnist", "retinamnist", "pneumoniamnist", "ham10000"}
    seeds = {"breast": 5, "retina": 5, "pneumonia": 3, "ham10000": 3}
    for name, n_seeds in seeds.items():
        for fraction, tail in ((1.0, ""), (0.1, "_small")):
            both = [
                [spec for spec in specs if spec.setting == f"{name}{start}{tail}"]
                for start in ("", "_scratch")
            ]
            pretrained, scratch = both
            assert {(spec.pretrained, spec.train_fraction) for spec in pretrained} == {(True, fraction)}
            assert {(spec.pretrained, spec.train_fraction) for spec in scratch} == {(False, fraction)}
            assert {spec.model for spec in pretrained} == set(models.OFFLINE_WEIGHTS)
            pairs = {(spec.model, spec.seed) for spec in pretrained}
            assert pairs == set(itertools.product(models.OFFLINE_WEIGHTS, range(n_seeds)))
            assert pairs <= {(spec.model, spec.seed) for spec in scratch}, "each has its twin from scratch"
            sizes = sorted(models.find(model).num_params for model in {spec.model for spec in scratch})
            assert len(sizes) == 13 and sizes[0] < 2e6 and 24e6 < sizes[-1] < 27e6


def test_a_setting_has_an_image_size_and_epochs_of_its_own_where_it_names_them(tmp_path):
    settings = {
        "own": {"dataset": "elpv", "pretrained": False, "image_size": 96, "epochs": 7},
        "shared": {"dataset": "elpv", "pretrained": False},
    }
    runs = [{"models": ["dla46_c"], "settings": ["own", "shared"]}]
    profile = load(tmp_path, settings=settings, runs=runs, image_size=64, epochs=2)
    assert [(spec.image_size, spec.epochs) for spec in study.grid(profile)] == [(96, 7), (64, 2)]
    shorter = study.grid(study.restrict(profile, epochs=1))
    assert [(spec.image_size, spec.epochs) for spec in shorter] == [(96, 1), (64, 1)]


def test_an_image_size_of_a_setting_that_a_model_cannot_take_is_refused(tmp_path):
    settings = {"own": {"dataset": "elpv", "pretrained": False, "image_size": 100}}
    with pytest.raises(InputError, match=r"runs\.0\.models: halonet26t cannot take 100 px"):
        load(
            tmp_path,
            settings=settings,
            runs=[{"models": ["halonet26t"], "settings": ["own"]}],
            image_size=256,
        )


def test_a_profile_is_restricted_to_what_is_asked_for():
    profile = study.restrict(
        study.load("paper"),
        models=["dla46_c", "mobilenetv2_050"],
        settings=["pneumonia"],
        seeds=[3],
        epochs=1,
        pretrained=False,
        fidelity="study",
    )
    specs = study.grid(profile)
    assert {spec.model for spec in specs} == {"dla46_c", "mobilenetv2_050"} and len(specs) == 2
    assert {(spec.setting, spec.pretrained, spec.seed, spec.epochs, spec.fidelity) for spec in specs} == {
        ("pneumonia_scratch", False, 3, 1, "study")
    }
    assert profile.name == "paper"


@pytest.mark.parametrize(
    ("pretrained_name", "scratch_name"),
    [
        ("derma_pt", "derma"),
        ("elpv_pt_small", "elpv_small"),
        ("pneumonia", "pneumonia_scratch"),
        ("pneumonia_small", "pneumonia_scratch_small"),
        ("derma_smallest", "derma_scratch_smallest"),
    ],
)
def test_a_setting_changes_its_name_with_its_start_and_gets_it_back(pretrained_name, scratch_name):
    assert study.other_start(pretrained_name, pretrained=False) == scratch_name
    assert study.other_start(scratch_name, pretrained=True) == pretrained_name


def test_settings_that_get_the_same_name_are_done_once():
    profile = study.restrict(study.load("paper"), models=["dla46_c"], pretrained=False)
    names = [spec.setting for spec in study.grid(profile)]
    assert sorted(names) == sorted(set(names)) and "derma" in names and "derma_pt" not in names


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"models": ["dla46"]}, "profile pocket has no model dla46; for example dla46_c"),
        ({"settings": ["lidc"]}, "profile pocket has no setting lidc"),
        ({"models": ["dla46_c"], "settings": ["elpv_pt"]}, "none of these models in these settings"),
        ({"epochs": 0}, "epochs: 0 is less than the minimum"),
        ({"fidelity": "exact"}, "fidelity: 'exact' is not one of"),
    ],
)
def test_a_restriction_that_makes_no_sense_is_an_error(asked, answer):
    with pytest.raises(InputError, match=answer):
        study.restrict(study.load("pocket"), **asked)


def test_a_restricted_profile_is_the_same_for_other_processes(tmp_path):
    profile = study.restrict(study.load("pocket"), models=["dla46_c"], seeds=[5])
    again = study.load(study.save(profile, tmp_path).source)
    assert study.grid(again) == study.grid(profile) and again.name == "pocket"


def test_the_title_of_the_profile_for_a_gpu_counts_its_sets_which_anyone_can_download():
    gpu = study.load("gpu").values
    used = {one["dataset"] for one in gpu["settings"].values()}
    assert len(used) == 3 and "three sets of images that anyone can download" in gpu["title"]
    assert all(datasets.find(name).downloadable for name in used)


def test_defaults_are_filled_in(tmp_path):
    (spec,) = study.grid(load(tmp_path))
    assert (spec.batch_size, spec.learning_rate, spec.fidelity, spec.seed) == (32, 5e-4, "study", 0)
    assert study.load("smoke").timeout_s == 300


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"epoch": 3}, "the file: Additional properties are not allowed \\('epoch' was unexpected\\)"),
        ({"epochs": 0}, "epochs: 0 is less than the minimum"),
        ({"epochs": "three"}, "epochs: 'three' is not of type"),
        ({"fidelity": "exact"}, "fidelity: 'exact' is not one of"),
        (
            {"settings": {"elpv": {"dataset": "elpw", "pretrained": False}}},
            "settings.elpv.dataset: unknown dataset 'elpw'",
        ),
        (
            {"settings": {"elpv": {"dataset": "elpv", "pretrained": False, "train_fraction": 2}}},
            "train_fraction: 2 is greater",
        ),
        ({"runs": [{"models": ["dla46"], "settings": ["elpv"]}]}, "runs.0.models: unknown model 'dla46'"),
        (
            {"runs": [{"models": ["dla46_c"], "settings": ["elpv_pt"]}]},
            "runs.0.settings: unknown setting 'elpv_pt'",
        ),
        ({"runs": [{"models": ["halonet26t"], "settings": ["elpv"]}]}, "halonet26t cannot take 64 px"),
        ({"runs": []}, "runs: \\[\\]"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path, changes, where):
    with pytest.raises(InputError, match=rf"mine\.yaml: .*{where}"):
        load(tmp_path, **changes)


def test_an_unknown_profile_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(
        InputError, match="unknown profile 'pokket'; known: gpu, medical, paper, pocket, smoke"
    ):
        study.load("pokket")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"broken\.yaml: not YAML"):
        study.load(str(tmp_path / "broken.yaml"))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("learning_rate: .nan", "learning_rate: nan is not a number"),
        ("timeout_minutes: .inf", "timeout_minutes: inf is not a number"),
        ("learning_rate: 5e-4", r"learning_rate: '5e-4' is not of type 'number'.* write 5\.0e-4"),
        ("epochs: '3'", "epochs: '3' is not of type 'integer'"),
        ("epochs: 1.5", r"epochs: 1\.5 is not of type"),
        ("settings: {a/b: {dataset: elpv, pretrained: false}}", "'a/b' does not match.*letters, digits"),
        ("settings: {../x: {dataset: elpv, pretrained: false}}", "'../x' does not match"),
        ("settings: {'': {dataset: elpv, pretrained: false}}", "'' does not match"),
        ("settings: {a b: {dataset: elpv, pretrained: false}}", "'a b' does not match"),
        (r'settings: {"a\n": {dataset: elpv, pretrained: false}}', "does not match"),
        ("settings: &s {a: *s}", "a value holds itself"),
        ("settings: {a: {dataset: elpv, pretrained: false, train_fraction: .nan}}", "train_fraction: nan"),
        ("runs: [{models: [dla46_c], settings: [elpv], seeds: [0.5]}]", r"0\.5 is not of type"),
        ("runs: [{models: [dla46_c], settings: [elpv], seeds: [4294967296]}]", "greater than the maximum"),
        ("learning_rate: inf", "learning_rate: 'inf' is not of type 'number'$"),
        ("learning_rate: nan", "learning_rate: 'nan' is not of type 'number'$"),
        (f"settings: {{{65 * 'x'}: {{dataset: elpv, pretrained: false}}}}", "is too long"),
    ],
)
def test_what_a_run_could_not_take_is_refused_when_the_profile_is_read(tmp_path, text, where):
    path = tmp_path / "mine.yaml"
    sound = {key: value for key, value in SOUND.items() if key != text.partition(":")[0]}
    path.write_text(yaml.safe_dump(sound) + text + "\n")
    with pytest.raises(InputError, match=rf"mine\.yaml: .*{where}"):
        study.load(str(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\nepochs: 30\n", "line 15: the key 'epochs' is there twice"),
        ("precision: fp32\n'precision': bf16\n", "the key 'precision' is there twice"),
        ("timeout_minutes: 1:30\n", "YAML takes 1:30 for another number"),
        ("batch_size: 010\n", "YAML takes 010 for another number"),
        ("learning_rates: 0.1\n", "'learning_rates' was unexpected.*did you mean 'learning_rate'"),
        ("colour: red\n", r"'colour' was unexpected\)$"),
    ],
)
def test_what_yaml_would_take_otherwise_than_it_seems_is_refused(tmp_path, text, told):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SOUND) + text)
    with pytest.raises(InputError, match=rf"mine\.yaml: .*{told}"):
        study.load(str(path))


def test_a_name_where_a_list_belongs_is_refused_with_the_list(tmp_path):
    told = r"runs\.0\.models: .*expected a list, such as \[dla46_c\], or paper"
    with pytest.raises(InputError, match=told):
        load(tmp_path, runs=[{"models": "dla46_c", "settings": ["elpv"]}])


def test_an_anchor_and_a_merge_that_is_overridden_are_no_key_that_comes_twice(tmp_path):
    path = tmp_path / "mine.yaml"
    sound = {key: value for key, value in SOUND.items() if key != "settings"}
    text = "settings:\n  elpv: &a {dataset: elpv, pretrained: false}\n  two: {<<: *a, pretrained: true}\n"
    path.write_text(yaml.safe_dump(sound) + text + "batch_size: 1_0\n")
    values = study.load(str(path)).values
    assert [one["pretrained"] for one in values["settings"].values()] == [False, True]
    assert values["batch_size"] == 10


@pytest.mark.parametrize(
    ("content", "told"), [("title: Größe\n".encode("latin-1"), "not YAML"), (None, "cannot be read")]
)
def test_a_file_that_is_no_text_or_no_file_is_refused_in_one_line(tmp_path, content, told):
    path = tmp_path / "mine.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=rf"mine\.yaml: {told}"):
        study.load(str(path))


def test_a_batch_that_leaves_fidelity_paper_no_test_image_is_refused(tmp_path, results):
    with pytest.raises(
        InputError, match=r"batch_size: 1000 is more than the \d+ test images of setting elpv"
    ):
        load(tmp_path, fidelity="paper", batch_size=1000)
    assert load(tmp_path, fidelity="study", batch_size=1000).values["batch_size"] == 1000
    with pytest.raises(InputError, match="batch_size is 1000, more than the test images"):
        Parts.of(runs.RunSpec("dla46_c", "elpv", "elpv", fidelity="paper", image_size=32, batch_size=1000))


@pytest.mark.parametrize("name", ["machines", "measured", "data"])
def test_a_profile_whose_results_would_lie_among_others_is_refused(tmp_path, name):
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(SOUND))
    with pytest.raises(InputError, match=f"results/{name} holds other things"):
        study.load(str(path))


def test_a_byte_order_mark_is_no_part_of_a_profile(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(SOUND, sort_keys=False).encode())
    assert study.load(str(path)).values["epochs"] == 1


def test_a_run_has_one_name_however_its_numbers_were_written(tmp_path):
    settings = {"elpv": {"dataset": "elpv", "pretrained": False, "train_fraction": 1}}
    runs = [{"models": ["dla46_c"], "settings": ["elpv"], "seeds": [0.0]}]
    written = study.grid(load(tmp_path, epochs=1.0, batch_size=32.0, settings=settings, runs=runs))
    plain = study.grid(load(tmp_path, batch_size=32))
    assert [spec.run_id for spec in written] == [spec.run_id for spec in plain]
    assert all(isinstance(spec.epochs, int) for spec in written)


def test_a_setting_may_have_a_number_for_a_name(tmp_path):
    settings = {2024: {"dataset": "elpv", "pretrained": False}}
    loaded = load(tmp_path, settings=settings, runs=[{"models": ["dla46_c"], "settings": ["2024"]}])
    assert [spec.setting for spec in study.grid(loaded)] == ["2024"]


def splits_of(tmp_path, **block):
    runs = [{**SOUND["runs"][0], **block}]
    return [(spec.seed, spec.split) for spec in study.grid(load(tmp_path, runs=runs))]


def test_a_seed_takes_the_split_of_its_number_from_the_first_again_where_there_are_fewer(tmp_path):
    assert splits_of(tmp_path, seeds=[0, 1, 4, 6]) == [(0, 0), (1, 1), (4, 4), (6, 1)]


def test_named_splits_are_crossed_with_the_seeds(tmp_path):
    expected = [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert splits_of(tmp_path, seeds=[0, 1], splits=[2, 3]) == expected


def test_a_split_that_a_dataset_does_not_have_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(
        InputError, match=r"mine.yaml: runs.0.splits: split 7: dataset elpv has splits 0 to 4"
    ):
        splits_of(tmp_path, splits=[7])


def test_a_precision_that_the_device_lacks_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    profile = load(tmp_path, precision="tf32")
    words = "profile mine: precision: only NVIDIA GPUs multiply in tf32, and the device is cpu"
    with pytest.raises(InputError, match=words):
        workflow.reproduce(profile, tmp_path)
    assert not (tmp_path / "results").exists()
    for device, precision in (("cuda", "tf32"), ("cpu", "bf16"), ("mps", "fp16")):
        check_precision(load(tmp_path, precision=precision), device)


def test_what_only_a_gpu_can_do_is_planned_where_there_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path / "results"))
    profile = load(tmp_path, precision="tf32")
    cli.plan(profile=str(tmp_path / "mine.yaml"))
    told = capsys.readouterr()
    assert "1 runs on a GPU elsewhere (cuda), 0 of them done." in told.out
    assert "RTX 3090" in told.out
    words = (
        "profile mine: precision: only NVIDIA GPUs multiply in tf32, and the device is cpu. This plans for"
    )
    assert words in told.err
    cli.plan(profile=str(tmp_path / "mine.yaml"), as_json=True)
    plan = json.loads(capsys.readouterr().out)
    assert plan["hours"] == forecast.forecast(profile, study.grid(profile, "cuda")).hours > 0
    assert (plan["runs"], plan["runs_at_once"]) == (1, 1)
