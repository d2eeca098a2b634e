"""The drawings that a reader moves: what they show is what the library computes, by mouse and by keyboard."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pepr import grids as pepr_grids
from pepr.book import browser as book_browser, interactive
from pepr.score import above_chance, pepr, resource_range_of

STATIC = Path(__file__).parents[2] / "book/_static"
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Drawings</title></head>
<body><main><h1>Drawings</h1><div class="lab" id="pepr-lab"></div><div class="lab" id="pepr-grids"></div>
<script src="study.js"></script>
<script type="module">{profile}</script><script type="module">{grids}</script>
</main></body></html>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(shutil.which(name) for name in book_browser.BROWSERS), reason="Chromium is not installed"
    ),
]


@pytest.fixture(scope="module")
def data(synthetic_results):
    return interactive.profile_models(synthetic_results)


@pytest.fixture(scope="module")
def page(synthetic_results, tmp_path_factory):
    """Both drawings on one page, opened from a file."""
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("drawings")
    bill = {"value": 8.4, "text": "8.4 Wh", "estimate": True}
    (folder / "study.js").write_text(
        interactive.as_script(synthetic_results, {"pocket": {"bill_total": bill}})
    )
    scripts = {name: (STATIC / f"{name}.js").read_text() for name in ("profile", "grids")}
    text = PAGE
    for name, script in scripts.items():
        text = text.replace("{" + name + "}", script)
    (folder / "index.html").write_text(text)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=book_browser.find_browser(), args=["--disable-gpu"], chromium_sandbox=False
        )
        opened = browser.new_page(viewport={"width": 900, "height": 1400})
        opened.goto((folder / "index.html").as_uri())
        yield opened
        browser.close()


@pytest.fixture
def lab(page):
    """The drawing of the score with every model in its place."""
    found = page.locator("#pepr-lab")
    found.get_by_role("button", name="Put everything back").click()
    for box in found.get_by_role("checkbox").all():
        box.uncheck()
    return found


def ranking(lab) -> dict[str, float]:
    """The models and scores of the drawing's table, best first."""
    rows = lab.locator("tbody tr").all()
    return {
        row.locator("td").nth(1).inner_text(): float(row.locator("td").nth(2).inner_text()) for row in rows
    }


def expected(data, changed: dict | None = None, frozen: bool = False) -> dict[str, float]:
    """The scores of the library, with the performance and resource of some models changed."""
    models = {one["model"]: (one["performance"], one["resource"]) for one in data["models"]}
    first = resource_range_of(*np.array(list(models.values())).T)
    models |= changed or {}
    performance, resource = np.array(list(models.values())).T
    scores = pepr(performance, resource, resource_range=first if frozen else None)
    return dict(zip(models, scores, strict=True))


def assert_same(shown: dict[str, float], scores: dict[str, float]) -> None:
    assert shown == {name: pytest.approx(scores[name], abs=6e-4) for name in shown}
    assert list(shown.values()) == sorted(shown.values(), reverse=True)


def test_the_scores_are_those_of_the_library(lab, data):
    assert_same(ranking(lab), expected(data))


def test_a_model_is_moved_by_the_keyboard_and_the_ranking_follows(lab, data):
    lab.locator("select").select_option(label="dla46_c")
    slider = lab.locator("input[type=range]").first
    slider.focus()
    slider.press("Home")
    slider.press("ArrowRight")
    (resource,) = (one["resource"] for one in data["models"] if one["model"] == "dla46_c")
    assert_same(ranking(lab), expected(data, {"dla46_c": (0.005, resource)}))
    assert "dla46_c: AUROC 0.005" in lab.locator("[role=status]").inner_text()


def test_a_dearest_model_moves_all_others_unless_the_range_is_frozen(lab, data):
    dearest = max(data["models"], key=lambda one: one["resource"])
    lab.locator("select").select_option(label=dearest["model"])
    lab.locator("input[type=range]").nth(1).press("End")
    farthest = float(lab.locator("input[type=range]").nth(1).input_value())
    changed = {dearest["model"]: (dearest["performance"], farthest)}
    assert_same(ranking(lab), expected(data, changed))
    assert re.search(r"moved the scores of \d+ other models", lab.locator("[role=status]").inner_text())
    lab.get_by_role("checkbox", name="Freeze the range").check()
    assert_same(ranking(lab), expected(data, changed, frozen=True))
    assert "No other score moved." in lab.locator("[role=status]").inner_text()


def test_above_chance_the_scores_are_those_of_the_library(lab, data):
    lab.get_by_role("checkbox", name="Score above chance").check()
    performance, resource = np.array([(one["performance"], one["resource"]) for one in data["models"]]).T
    scores = pepr(np.maximum(above_chance(performance, 0.5), 0), resource)
    names = [one["model"] for one in data["models"]]
    assert_same(ranking(lab), dict(zip(names, scores, strict=True)))
    assert "PePR above chance = " in lab.locator("[role=status]").inner_text()


def test_a_model_is_dragged_with_the_mouse(lab, page):
    before = ranking(lab)
    chosen = lab.locator("circle.chosen")
    box = chosen.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, box["y"] + 120, steps=4)
    page.mouse.up()
    name = lab.locator("tr.chosen td").nth(1).inner_text()
    assert ranking(lab)[name] < before[name]


def test_the_grams_of_a_country_are_energy_times_its_intensity(page):
    grids = page.locator("#pepr-grids")
    for code, row in pepr_grids.intensities().iterrows():
        grids.locator("select").select_option(code)
        said = grids.locator("tbody td").nth(2).inner_text()
        grams = 0.0084 * row["carbon_intensity"]
        assert float(said.split()[0]) == pytest.approx(grams, rel=0.05)
        assert said.endswith("g (estimated)")
    grids.locator("input").fill("1000")
    assert grids.locator("tbody td").nth(2).inner_text() == "8.4 g (estimated)"
