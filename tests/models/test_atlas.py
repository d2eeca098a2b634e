"""The shipped atlas: complete, read without torch, and what the code still computes."""

import json
import subprocess
import sys

import pytest

from pepr.errors import InputError
from pepr.models import atlas
from pepr.models.space import IMAGE_SIZES, model_space


def test_the_atlas_has_every_model_at_every_size_that_it_accepts():
    assert atlas.missing(set(atlas.read())) == []
    expected = sum(known.accepts(size) for known in model_space().values() for size in IMAGE_SIZES)
    assert len(atlas.read()) == expected


def test_parameters_are_the_published_counts():
    for (model, _), entry in atlas.read().items():
        assert entry.num_params == model_space()[model].num_params
        assert 0 < entry.fine_tuned_params <= entry.num_params


def test_every_number_is_plausible():
    for key, entry in atlas.read().items():
        named = entry.conv_flops + entry.pointwise_flops + entry.matmul_flops + entry.large_depthwise_flops
        assert 0 < named <= entry.flops, key
        # Of images below 64 px some networks are fullest at the optimiser's step, when activations are gone.
        assert entry.activation_bytes > 0
        assert key[1] < 64 or entry.activation_bytes < 2 * entry.working_bytes_per_image, key
        assert entry.backward_ops > 0.5 * entry.forward_ops > 0, key


RESIZES = "crossvit_9_240"
"""Brings every image to 240 pixels itself."""


def test_larger_images_need_more():
    rows = atlas.read()
    assert rows[RESIZES, 64].flops == rows[RESIZES, 256].flops
    for model, size in rows:
        larger = rows.get((model, 256))
        if size < 256 and larger and model != RESIZES:
            assert larger.flops > rows[model, size].flops, model
            assert larger.activation_bytes > rows[model, size].activation_bytes, model


@pytest.mark.parametrize("model", ["mobilenetv2_050", "pvt_v2_b0"])
def test_a_row_computed_again_is_the_shipped_row(model):
    shipped, again = atlas.read()[model, 64], atlas.compute(model, 64)
    if shipped.software != again.software:
        pytest.skip(f"the atlas was made with {shipped.software}, here is {again.software}")
    assert again == shipped


def test_any_timm_name_and_any_size_can_be_looked_up():
    entry = atlas.look_up("resnet10t", 96)
    assert ("resnet10t", 96) not in atlas.read()
    assert 5.4e6 < entry.num_params < 5.5e6
    assert entry.flops > 0


def test_a_transformer_is_told_its_image_size():
    assert atlas.compute("vit_tiny_patch16_224", 64).flops < atlas.compute("vit_tiny_patch16_224", 224).flops


def test_a_size_that_a_model_of_the_study_cannot_take_is_an_input_error():
    with pytest.raises(InputError, match="halonet26t cannot take 64 px"):
        atlas.look_up("halonet26t", 64)


def test_reading_the_atlas_needs_no_torch():
    code = (
        "import sys; from pepr.costs import model as cost, prediction;"
        "from pepr.models import atlas; atlas.read();"
        "prediction.as_row('resnet18d', cost.job_of('lidc'));"
        "print([name for name in ('torch', 'timm', 'pandas', 'scipy', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_making_resumes_where_it_stopped(tmp_path, monkeypatch):
    part = tmp_path / "part.jsonl"
    rows = [entry for key, entry in atlas.read().items() if key[1] == 256][:3]
    asked = []

    def compute(model, size):
        asked.append(model)
        return next(entry for entry in rows if entry.model == model)

    names = [(entry.model, 256) for entry in rows]
    monkeypatch.setattr(atlas, "missing", lambda done: [key for key in names if key not in done])
    monkeypatch.setattr(atlas, "compute", compute)
    part.write_text(json.dumps(vars(rows[0])) + "\n")
    assert atlas.extend(part, limit_s=0) == 2 and asked == []
    assert atlas.extend(part, limit_s=60) == 0
    assert asked == [rows[1].model, rows[2].model]
    assert [json.loads(line)["model"] for line in part.read_text().splitlines()] == [r.model for r in rows]


def test_an_incomplete_part_makes_no_table(tmp_path):
    part = tmp_path / "part.jsonl"
    part.write_text("")
    with pytest.raises(InputError, match="rows are missing"):
        atlas.assemble(part)
