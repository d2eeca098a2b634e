"""The model picker in a real browser, opened from a file: it says what `pepr recommend` says."""

import dataclasses
import json
import shlex
import shutil

import pytest

from pepr import published
from pepr.book import browser as book_browser, picker
from pepr.costs import recommendation, swept as sweeps, trials
from pepr.errors import DataUnavailable
from pepr.machine import description
from pepr.models.space import model_space

MOST_BYTES = 2_000_000


def test_without_the_tables_the_page_shows_the_reference_and_says_so(monkeypatch):
    def offline(*args):
        raise DataUnavailable("no network")

    monkeypatch.setattr(published, "load", offline)
    made = picker.data()
    assert "without the authors' tables" in made["origin"]
    assert {"elpv", "elpv_pt"} <= set(made["settings"])
    first = made["settings"]["elpv"][0]
    assert sorted(first["measured"]) == ["memory", "time"]  # an energy by a load model is an estimate
    assert len(first["energy"]) == 3


def test_nothing_inline_ends_its_element():
    assert picker.inline("a</script>b<!--c") == "a<\\/script>b<\\!--c"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("picker") / "picker.html"
    path.write_text(picker.page(path.parent), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    if not any(shutil.which(name) for name in book_browser.BROWSERS):
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=book_browser.find_browser(), args=["--disable-gpu"], chromium_sandbox=False
        )
        yield opened
        opened.close()


@pytest.fixture
def page(file, browser):
    """The picker with what it told the console, and what it asked for, in `told` and `asked`."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.told, opened.asked = [], []
    opened.on("console", lambda message: opened.told.append(message.text))
    opened.on("pageerror", lambda error: opened.told.append(str(error)))
    opened.on("request", lambda request: opened.asked.append(request.url))
    show(opened, file.as_uri())
    yield opened
    opened.close()


def show(page, address):
    page.goto(address)
    page.wait_for_selector("#table tbody tr")
    page.wait_for_selector("#plot svg")


def best(page) -> list[str]:
    return page.locator("#best strong").all_inner_texts()


def recommended(command: str) -> list[str]:
    """The models that `pepr recommend` gives for a command as the page shows it."""
    words = shlex.split(command)
    assert words[:2] == ["pepr", "recommend"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    names = {"memory_gb": "--max-memory-gb", "energy_wh": "--max-energy-wh", "minutes": "--max-minutes"}
    limits = {key: float(options[name]) for key, name in names.items() if name in options}
    if "--max-co2-g" in options:
        limits["co2_g"] = float(options["--max-co2-g"])
    found = recommendation.recommend(
        recommendation.Budget(**limits), options["--setting"], risk=options.get("--risk", "expected")
    )
    return [choice.model for choice in found]


@pytest.mark.slow
def test_the_page_is_small_and_asks_for_nothing_but_itself(file, page):
    assert file.stat().st_size < MOST_BYTES
    assert page.told == []
    assert [address for address in page.asked if not address.startswith("blob:")] == [file.as_uri()]


@pytest.mark.slow
def test_a_moved_slider_changes_the_list_to_what_the_command_recommends(page):
    before = best(page)
    slider = page.locator("#limit-energy")
    slider.focus()
    for _ in range(12):
        page.keyboard.press("PageDown")
    limited = best(page)
    assert limited and limited != before
    assert limited == recommended(page.inner_text("#command"))
    page.locator("#limit-memory").focus()
    for _ in range(6):
        page.keyboard.press("PageDown")
    page.select_option("#risk", "cautious")
    assert best(page) == recommended(page.inner_text("#command"))
    assert "--risk cautious" in page.inner_text("#command") and "--max-memory-gb" in page.inner_text(
        "#command"
    )


@pytest.fixture
def swept(tmp_path, monkeypatch):
    """This machine, swept at 256 px: a model takes what its size says, the smallest found no room."""
    monkeypatch.setenv("PEPR_RESULTS", str(tmp_path))
    monkeypatch.setenv("PEPR_DEVICE", "cpu")
    conditions = sweeps.Conditions("cpu", 256)
    rows = []
    for name, known in model_space().items():
        row = dict.fromkeys(sweeps.COLUMNS) | dataclasses.asdict(conditions)
        row |= {"model": name, "status": "ok", "steps": 9, "hardware": description.hardware("cpu")}
        size = known.num_params / 1e6
        row |= {
            "step_cpu_time_s": size / 9,
            "eval_cpu_time_s": size / 30,
            "peak_memory_bytes": int(4e7 * size),
        }
        row |= {"step_energy_wh": size / 7e3, "eval_energy_wh": size / 2e4, "measured_at": "2026-11-27"}
        rows.append(row | {"energy_source": "cpu:load_model"})
    rows[0] |= {"status": "failed", "failure": "out_of_memory"}
    path = sweeps.rows_path(conditions)
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows[0]["model"]


@pytest.mark.slow
def test_on_a_machine_that_was_swept_the_page_and_the_command_choose_by_its_costs(
    swept, file, browser, tmp_path
):
    path = tmp_path / "picker.html"
    path.write_text(picker.page(file.parent), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    show(page, path.as_uri())
    assert description.hardware("cpu") in page.inner_text("#origin")
    assert "a training step of each model" in page.inner_text("#origin")
    chosen = []
    for limit in ("#limit-energy", "#limit-time"):
        page.locator(limit).focus()
        for _ in range(8):
            page.keyboard.press("PageDown")
        chosen.append(best(page))
        assert chosen[-1] and chosen[-1] == recommended(page.inner_text("#command"))
    assert "--max-energy-wh" in page.inner_text("#command")
    table = recommendation.candidates("lidc")
    assert swept not in table["model"].tolist() and (table["measured"].str.len() == 1).all()
    page.close()


@pytest.mark.slow
def test_the_plan_is_the_one_that_the_command_gives(page):
    page.locator("#plan summary").click()
    page.locator("#limit-energy").focus()
    for _ in range(4):
        page.keyboard.press("PageDown")
    words = shlex.split(page.inner_text("#plan-command"))
    options = dict(zip(words[3::2], words[4::2], strict=True))
    budget = recommendation.Budget(energy_wh=float(options["--max-energy-wh"]))
    made = trials.plan(budget, options["--setting"])
    shown = page.locator("#trials strong").all_inner_texts()
    assert words[:3] == ["pepr", "recommend", "--plan"]
    assert shown == [trial.model for trial in made.trials][: picker.TRIALS] and shown


@pytest.mark.slow
def test_the_table_sorts_and_filters(page):
    page.locator("#table thead button", has_text="Training energy").click()
    page.wait_for_selector("#table thead th[aria-sort=ascending]")
    cells = page.locator("#table tbody tr td:nth-child(4)").all_inner_texts()
    energies = [float(text.split()[0]) for text in cells]
    assert energies == sorted(energies) and len(set(energies)) > 3
    page.locator("#filter").fill("resnet")
    names = page.locator("#table tbody td.model").all_inner_texts()
    families = page.locator("#table tbody tr").all_inner_texts()
    assert names and all("resnet" in line for line in families)


@pytest.mark.slow
def test_a_link_restores_budget_setting_and_comparison(page, browser):
    page.locator("#limit-time").focus()
    for _ in range(8):
        page.keyboard.press("PageDown")
    for at in (0, 1):
        page.locator("#table tbody input[type=checkbox]").nth(at).check()
    heads = page.locator("#compare thead th").all_inner_texts()
    assert len(heads) == 3
    again = browser.new_page()
    show(again, page.url)
    assert best(again) == best(page)
    assert again.inner_text("#command") == page.inner_text("#command")
    assert again.locator("#compare thead th").all_inner_texts() == heads
    again.close()


@pytest.mark.slow
def test_the_downloads_hold_the_ranking(page):
    with page.expect_download() as caught:
        page.click("#json")
    rows = json.loads(caught.value.path().read_text())
    assert [row["model"] for row in rows[:5]] == best(page) and rows[0]["rank"] == 1
    with page.expect_download() as caught:
        page.click("#csv")
    lines = caught.value.path().read_text().splitlines()
    assert len(lines) == len(rows) + 1 and lines[0].split(",") == list(rows[0])


@pytest.mark.slow
def test_the_keyboard_reaches_every_control(page):
    wanted = {
        "setting",
        "resource",
        "risk",
        "csv",
        "json",
        "link",
        "limit-energy",
        "limit-memory",
        "limit-time",
    }
    reached = set()
    page.locator("body").click(position={"x": 1, "y": 1})
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.model"))
    assert wanted | {"limit-carbon"} <= reached
    assert best(page)[0] in reached


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_the_page_fits_its_screen_in_light_and_dark(file, browser, scheme, width):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    show(page, file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate(
        "[document.body, document.querySelector('#table tbody td')].map(e => getComputedStyle(e).color)"
    )
    assert colours[0] == colours[1]
    page.close()
