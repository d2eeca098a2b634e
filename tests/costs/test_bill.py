"""The bill of pretraining: arithmetic on the cost model and on published hours."""

import pandas as pd
import pytest
from recordings import needs_tables

from pepr import published
from pepr.costs import bill, model as cost, numbers
from pepr.models import atlas


def test_imagenet_costs_what_so_many_images_do():
    row = bill.predicted(["resnet18d"], 90).iloc[0]
    job = cost.Job(None, 1_281_167, 50_000, 90, 32, 256)
    found = cost.predict(atlas.read()["resnet18d", 256], job)
    assert row["pretraining_kwh"] == pytest.approx(found.energy_wh / 1000)
    assert row["pretraining_kwh_low"] < row["pretraining_kwh"] < row["pretraining_kwh_high"]
    assert row["gpu_hours"] == pytest.approx(found.train_time_s / 3600)
    longer = bill.predicted(["resnet18d"], 180).iloc[0]
    assert longer["pretraining_kwh"] == pytest.approx(2 * row["pretraining_kwh"], rel=1e-3)


def test_a_bill_is_worth_so_many_fine_tunings_and_is_shared_by_its_uses():
    table = pd.DataFrame({"pretraining_kwh": [10.0, 20.0, 90.0], "runs_worth": [400.0, 500.0, 900.0]})
    shared = bill.shared(table, (1, 100))
    assert list(shared["share_kwh"]) == [20.0, 0.2] and list(shared["of_a_fine_tuning"]) == [500.0, 5.0]
    assert bill.uses_until(table) == 5000.0


def test_what_gpus_took_at_most_is_hours_times_the_power_of_their_boards(monkeypatch):
    resnet, deit = bill.PUBLISHED
    assert (resnet.gpu_hours, resnet.kwh_at_most) == (256.0, pytest.approx(76.8))
    assert (deit.gpu_hours, deit.kwh_at_most) == (424.0, pytest.approx(127.2))
    monkeypatch.setattr(bill.atlas, "look_up", lambda model, size: atlas.read()["resnet18d", 256])
    table = bill.beside_published()
    assert list(table["published_gpu_hours"]) == [256.0, 424.0] and (table["predicted_kwh"] > 0).all()


def test_every_source_is_in_the_bibliography():
    from pepr.files import find_checkout

    known = (find_checkout() / "book" / "references.bib").read_text()
    assert all(f"{{{one.source}," in known for one in bill.PUBLISHED)


@needs_tables
def test_break_even_is_the_bill_over_what_a_use_saves():
    from pepr.published.versions import of

    table = bill.break_even(of(published.load()).best, 90)
    known = table.dropna(subset=["uses"])
    assert list(known["uses"]) == pytest.approx(list(known["pretraining_kwh"] / known["saved_kwh"]))
    assert table["uses"].isna().sum() == table["saved_kwh"].isna().sum() > 0


def test_the_bills_numbers_are_estimates():
    short = pd.DataFrame(
        {"pretraining_kwh": [10.0, 30.0], "runs_worth": [400.0, 500.0], "uses": [1234.0, None]}
    )
    beside = pd.DataFrame(
        {
            "model": ["one", "two"],
            "epochs": [90, 300],
            "published_gpu_hours": [256.0, 424.0],
            "published_kwh_at_most": [76.8, 127.2],
            "predicted_gpu_hours": [200.0, 1000.0],
            "predicted_kwh": [60.0, 300.0],
        }
    )
    made = numbers.bill_numbers(short, short.assign(pretraining_kwh=[40.0, 80.0]), beside)
    text = {key: entry["text"] for key, entry in made.items()}
    assert text["pretraining_short_kwh"] == "20 kWh" and text["pretraining_long_kwh"] == "60 kWh"
    assert made["pretraining_short_uses"]["text"] == "1,200"
    assert made["pretraining_uses_until_tenth"]["text"] == "4,500"
    assert made["pretraining_share_10000"]["text"] == "2 Wh"
    assert text["pretraining_share_10000_runs"] == "4.5%" and text["pretraining_share_1_runs"] == "450 times"
    assert text["pretraining_deit_at_most"] == "127 kWh" and made["pretraining_deit_at_most"]["estimate"]
    measured = {key for key, entry in made.items() if not entry["estimate"]}
    assert all(key.endswith(("_epochs", "_gpu_hours", "_models")) for key in measured)
