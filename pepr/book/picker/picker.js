"use strict";
const COSTS = Object.fromEntries(study.costs.map((cost) => [cost.key, { ...cost,
  of: (row, at) => (cost.factor ? (row.energy[at] / 1000) * row[cost.factor] : row[cost.key][at]) }]));
const [VALUE, LOW, HIGH] = [0, 1, 2];
const STEPS = 200;
const element = (id) => document.getElementById(id);
const number = (value, digits = 3) => Number(value.toPrecision(digits));
const percent = (value) => (100 * value).toFixed(1) + "%";
const measured = (row, cost) => row.measured.includes(COSTS[cost].factor ? "energy" : cost);
const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const state = { setting: Object.keys(study.settings)[0], resource: "energy", risk: "expected", limits: {}, compare: [] };
if ("lidc" in study.settings) state.setting = "lidc";
const order = { column: null, ascending: true };

function readLink() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.get("setting") in study.settings) state.setting = given.get("setting");
  if (given.get("resource") in COSTS) state.resource = given.get("resource");
  if (["expected", "cautious"].includes(given.get("risk"))) state.risk = given.get("risk");
  for (const cost in COSTS) if (Number(given.get(cost)) > 0) state.limits[cost] = Number(given.get(cost));
  state.compare = (given.get("compare") || "").split(",").filter(Boolean).slice(0, 3);
}
function writeLink() {
  const link = new URLSearchParams({ setting: state.setting, resource: state.resource, risk: state.risk, ...state.limits });
  if (state.compare.length) link.set("compare", state.compare.join(","));
  history.replaceState(null, "", "#" + link);
}

/* The same rules as pepr.recommendation: costs, or their upper bounds, within every limit; then the highest
   accuracy, or its lower bound; equals by energy, then by name. */
function ranked() {
  const rows = study.settings[state.setting];
  const end = state.risk === "cautious" ? HIGH : VALUE;
  const by = state.risk === "cautious" ? LOW : VALUE;
  const within = (row) => Object.entries(state.limits).every(([cost, limit]) => COSTS[cost].of(row, end) <= limit);
  const needs = rows.map((row) => COSTS[state.resource].of(row, VALUE));
  const [least, most] = [Math.min(...needs), Math.max(...needs)];
  const scored = rows.map((row, at) => ({ ...row, within: within(row), need: needs[at],
    pepr: row.performance[VALUE] / (1 + (most > least ? (needs[at] - least) / (most - least) : 0)) }));
  scored.sort((a, b) => b.within - a.within || b.performance[by] - a.performance[by] ||
    a.energy[VALUE] - b.energy[VALUE] || (a.model < b.model ? -1 : 1));
  return { scored, least, most };
}
function limitsOf(cost) {
  const values = study.settings[state.setting].map((row) => COSTS[cost].of(row, HIGH));
  const lows = study.settings[state.setting].map((row) => COSTS[cost].of(row, VALUE));
  return [Math.min(...lows), Math.max(...values)];
}
function limitAt(cost, step) {
  const [low, high] = limitsOf(cost);
  return number(low * (high / low) ** (step / STEPS));
}

function buildControls() {
  element("setting").innerHTML = Object.keys(study.settings).map((name) => `<option>${escaped(name)}</option>`).join("");
  element("origin").textContent = study.origin + " Predictions and costs are for " + study.hardware + ".";
  element("resource").innerHTML = study.costs.map(({ key, title }) =>
    `<option value="${key}">${title.replace(/ \(.*/, "")}</option>`).join("");
  element("sliders").innerHTML = Object.entries(COSTS).map(([cost, { title }]) =>
    `<label for="limit-${cost}">${title.replace(/ \(.*/, "")} at most <output id="shown-${cost}"></output>
     <input type="range" id="limit-${cost}" min="0" max="${STEPS}" step="1"></label>`).join("");
  for (const name of ["setting", "resource", "risk"]) element(name).addEventListener("change", (event) => {
    state[name] = event.target.value;
    if (name === "setting") { state.limits = {}; state.compare = []; }
    show();
  });
  for (const cost in COSTS) element(`limit-${cost}`).addEventListener("input", (event) => {
    const step = Number(event.target.value);
    if (step >= STEPS) delete state.limits[cost]; else state.limits[cost] = limitAt(cost, step);
    show();
  });
}
function showControls() {
  for (const name of ["setting", "resource", "risk"]) element(name).value = state[name];
  for (const cost in COSTS) {
    const [low, high] = limitsOf(cost);
    const limit = state.limits[cost];
    const step = limit ? Math.round((STEPS * Math.log(limit / low)) / Math.log(high / low)) : STEPS;
    element(`limit-${cost}`).value = Math.max(0, Math.min(STEPS, step));
    const words = limit ? `${limit} ${COSTS[cost].unit}` : "no limit";
    element(`shown-${cost}`).textContent = words;
    element(`limit-${cost}`).setAttribute("aria-valuetext", words);
  }
}

function costText(row, cost) {
  return `${number(COSTS[cost].of(row, VALUE))} ${COSTS[cost].unit}${measured(row, cost) ? "" : " (predicted)"}`;
}
function showAdvice({ scored }) {
  const fit = scored.filter((row) => row.within);
  element("verdict").textContent = fit.length
    ? `${fit.length} of ${scored.length} models fit the budget. The best by ${state.risk === "cautious" ? "the lower bound of accuracy" : "accuracy"}:`
    : "No model fits this budget: move a limit to the right.";
  element("best").innerHTML = fit.slice(0, 5).map((row) =>
    `<li><strong>${escaped(row.model)}</strong> ${percent(row.performance[VALUE])} <span class="cost">` +
    `(${percent(row.performance[LOW])} to ${percent(row.performance[HIGH])}); ` +
    `${costText(row, "energy")}, ${costText(row, "memory")}, ${costText(row, "time")}</span></li>`).join("");
  const limits = Object.entries(state.limits).map(([cost, limit]) => `${COSTS[cost].option} ${limit}`);
  element("command").textContent = ["pepr recommend", `--setting ${state.setting}`, ...limits,
    ...(state.risk === "cautious" ? ["--risk cautious"] : [])].join(" ");
}
/* The same rules as pepr.costs.trials: of the models that fit into the memory the cheapest third, one of each
   family first, the best on other data sets before others; one that takes more than is left of a limit on all
   of them together is passed over. */
function trialsWithin() {
  const rows = study.settings[state.setting];
  const end = state.risk === "cautious" ? HIGH : VALUE;
  const fits = rows.filter((row) => !state.limits.memory || COSTS.memory.of(row, end) <= state.limits.memory);
  const cheap = [...fits].sort((a, b) => a.energy[VALUE] - b.energy[VALUE]).slice(0, Math.max(1, Math.round(rows.length / 3)));
  cheap.sort((a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity));
  const seen = {};
  const turns = cheap.map((row) => ({ row, turn: (seen[row.family] = (seen[row.family] ?? 0) + 1) }));
  turns.sort((a, b) => a.turn - b.turn);
  const found = [];
  let total = Object.fromEntries(Object.keys(COSTS).filter((cost) => cost !== "memory").map((cost) => [cost, 0]));
  for (const { row } of turns) {
    const after = Object.fromEntries(Object.entries(total).map(([cost, spent]) => [cost, spent + COSTS[cost].of(row, end)]));
    if (Object.keys(after).some((cost) => state.limits[cost] && after[cost] > state.limits[cost])) continue;
    total = after;
    found.push({ row, energy: total.energy });
  }
  return found;
}
function showPlan() {
  element("plan").hidden = study.settings[state.setting].every((row) => row.rank === null);
  element("trials").innerHTML = trialsWithin().slice(0, study.expected.length).map(({ row, energy }, at) => {
    const [lost, low, high] = study.expected[at].map((points) => points.toFixed(1));
    return `<li><strong>${escaped(row.model)}</strong> <span class="cost">(${number(energy)} Wh in all; ${lost} points, ` +
      `${low} to ${high})</span></li>`;
  }).join("");
  element("plan-command").textContent = element("command").textContent.replace("recommend", "recommend --plan");
}
function showChart({ scored, least, most }) {
  const best = scored.filter((row) => row.within).slice(0, 5).map((row) => row.model);
  const points = scored.map((row) => ({ model: row.model, x: row.need, performance: row.performance[VALUE],
    low: row.performance[LOW], high: row.performance[HIGH], within: row.within, pepr: row.pepr,
    kind: measured(row, state.resource) ? "cost measured" : "cost predicted", named: row.model === best[0],
    chosen: best.includes(row.model), cost: costText(row, state.resource), accuracy: percent(row.performance[VALUE]) }));
  const front = [];
  for (const point of points.filter((p) => p.within).sort((a, b) => a.x - b.x || b.performance - a.performance))
    if (!front.length || point.performance > front[front.length - 1].performance) front.push(point);
  const scores = points.map((point) => point.pepr).sort((a, b) => a - b);
  const contours = [0.5, 0.8, 0.95].map((share) => scores[Math.floor(share * (scores.length - 1))]).flatMap((level) =>
    Array.from({ length: 40 }, (_, at) => least * (most / least) ** (at / 39)).map((x) =>
      ({ level, x, performance: level * (1 + (x - least) / (most - least || 1)) })))
    .filter((point) => point.performance <= Math.max(...points.map((p) => p.high)));
  const spec = JSON.parse(JSON.stringify(chart).replaceAll('"title":"cost"', `"title":"${COSTS[state.resource].title}"`));
  spec.datasets = { points, front, contours };
  vegaEmbed("#plot", spec, { actions: false, renderer: "svg" });
}
function cell(row, cost) {
  return `<span class="${measured(row, cost) ? "measured" : "predicted"}">${number(COSTS[cost].of(row, VALUE))}</span>`;
}
/* Each column: its title, what it is sorted by (nothing: it is not), and what its cells show. */
function tableColumns() {
  const check = (row) => `<input type="checkbox" data-model="${escaped(row.model)}"
    aria-label="compare ${escaped(row.model)}" ${state.compare.includes(row.model) ? "checked" : ""}>`;
  return [
    { title: "Model", by: (row) => row.model, show: (row) => escaped(row.model) },
    { title: "Compare", show: check },
    { title: "Accuracy", by: (row) => row.performance[VALUE], show: (row) => percent(row.performance[VALUE]) },
    ...Object.entries(COSTS).map(([cost, { title, of }]) =>
      ({ title, by: (row) => of(row, VALUE), show: (row) => cell(row, cost) })),
    { title: "PePR", by: (row) => row.pepr, show: (row) => row.pepr.toFixed(3) },
    { title: "Parameters (M)", by: (row) => row.params, show: (row) => number(row.params / 1e6) },
    { title: "Family", by: (row) => row.family, show: (row) => escaped(row.family) },
    { title: "Fits", by: (row) => (row.within ? 0 : 1), show: (row) => (row.within ? "yes" : "no") },
  ];
}
function buildTable() {
  element("table").tHead.innerHTML = `<tr>${tableColumns().map(({ title, by }, at) =>
    `<th>${by ? `<button type="button" data-column="${at}">${title}</button>` : title}</th>`).join("")}</tr>`;
  element("table").tHead.addEventListener("click", (event) => {
    const column = event.target.dataset.column;
    if (column === undefined) return;
    order.ascending = order.column === Number(column) ? !order.ascending : true;
    order.column = Number(column);
    show();
  });
  element("table").tBodies[0].addEventListener("change", (event) => {
    const model = event.target.dataset.model;
    state.compare = state.compare.filter((name) => name !== model);
    if (event.target.checked) state.compare = [...state.compare, model].slice(-3);
    show();
  });
  element("filter").addEventListener("input", show);
}
function showTable({ scored }) {
  const columns = tableColumns();
  const wanted = element("filter").value.trim().toLowerCase();
  const rows = scored.filter((row) => `${row.model} ${row.family}`.toLowerCase().includes(wanted));
  if (order.column !== null) {
    const { by } = columns[order.column];
    rows.sort((a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0) * (order.ascending ? 1 : -1));
  }
  [...element("table").tHead.rows[0].cells].forEach((head, at) => {
    if (at === order.column) head.setAttribute("aria-sort", order.ascending ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  });
  const focused = document.activeElement.dataset.model;
  element("table").tBodies[0].innerHTML = rows.map((row) => `<tr class="${row.within ? "" : "beyond"}">` +
    columns.map(({ show }, at) => `<td${at ? "" : ' class="model"'}>${show(row)}</td>`).join("") + "</tr>").join("");
  if (focused) element("table").querySelector(`[data-model="${CSS.escape(focused)}"]`)?.focus();
  element("counted").textContent = `${rows.length} of ${scored.length} models`;
}
function showComparison({ scored }) {
  const rows = state.compare.map((model) => scored.find((row) => row.model === model)).filter(Boolean);
  if (!rows.length) { element("compare").textContent = "Tick two or three models in the table."; return; }
  const span = (triple, each) => `${each(triple[VALUE])} (${each(triple[LOW])} to ${each(triple[HIGH])})`;
  const lines = [["Accuracy", (row) => span(row.performance, percent)],
    ...Object.keys(COSTS).map((cost) => [COSTS[cost].title, (row) => measured(row, cost) ? cell(row, cost)
      : span([VALUE, LOW, HIGH].map((at) => COSTS[cost].of(row, at)), (value) => String(number(value))) + " predicted"]),
    ["PePR for the chosen resource", (row) => row.pepr.toFixed(3)], ["Parameters (M)", (row) => number(row.params / 1e6)],
    ["Family", (row) => escaped(row.family)], ["Within the budget", (row) => (row.within ? "yes" : "no")]];
  element("compare").innerHTML = `<table><thead><tr><th></th>${rows.map((row) => `<th>${escaped(row.model)}</th>`).join("")}</tr></thead>` +
    `<tbody>${lines.map(([name, text]) => `<tr><th>${name}</th>${rows.map((row) => `<td>${text(row)}</td>`).join("")}</tr>`).join("")}</tbody></table>`;
}

function records() {
  return ranked().scored.map((row, at) => {
    const flat = { rank: row.within ? at + 1 : null, model: row.model, setting: state.setting, within_budget: row.within,
      accuracy: row.performance[VALUE], accuracy_low: row.performance[LOW], accuracy_high: row.performance[HIGH] };
    for (const cost in COSTS) {
      flat[cost] = COSTS[cost].of(row, VALUE);
      flat[cost + "_measured"] = measured(row, cost);
    }
    return { ...flat, pepr: row.pepr, resource: state.resource, num_params: row.params };
  });
}
function download(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function buildDownloads() {
  element("json").addEventListener("click", () => download("models.json", "application/json", JSON.stringify(records(), null, 1)));
  element("csv").addEventListener("click", () => {
    const rows = records();
    const lines = [Object.keys(rows[0]), ...rows.map((row) => Object.values(row).map((value) => value ?? ""))];
    download("models.csv", "text/csv", lines.map((line) => line.join(",")).join("\n") + "\n");
  });
  element("link").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(location.href); element("copied").textContent = "Copied."; }
    catch { element("copied").textContent = "The address of this page holds your choice."; }
  });
}

function show() {
  const found = ranked();
  showControls();
  showAdvice(found);
  showPlan();
  showChart(found);
  showTable(found);
  showComparison(found);
  writeLink();
}
const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();
readLink();
buildControls();
buildTable();
buildDownloads();
window.addEventListener("hashchange", () => { state.limits = {}; readLink(); show(); });
show();
