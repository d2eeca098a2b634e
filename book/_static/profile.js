// The score as something to play with: drag a model, and see what happens to it and to all the others.

const study = window.peprStudy.profile;
const original = study.models.map((one) => ({ ...one }));
const models = study.models.map((one) => ({ ...one }));
const WIDE = 640, HIGH = 400, LEFT = 58, RIGHT = 16, TOP = 14, BOTTOM = 52;
const bounds = (list) => list.map((one) => one.resource);
const FARTHEST = Math.ceil((1.5 * Math.max(...bounds(original))) / 10) * 10;
let chosen = models.indexOf(models.reduce((a, b) => (a.performance > b.performance ? a : b), models[0]));

const x = (resource) => LEFT + (resource / FARTHEST) * (WIDE - LEFT - RIGHT);
const y = (performance) => TOP + (1 - performance) * (HIGH - TOP - BOTTOM);
const svg = (name, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, given]) => element.setAttribute(key, given));
  if (text !== undefined) element.textContent = text;
  return element;
};

function scored(list, low, high, chance) {
  const rows = list.map((one, index) => {
    const norm = high > low ? Math.max(0, (one.resource - low) / (high - low)) : 0;
    const earned = Math.max(0, (one.performance - chance) / (1 - chance));
    return { index, model: one.model, norm, score: earned / (1 + norm) };
  });
  const order = [...rows].sort((a, b) => b.score - a.score);
  rows.forEach((row) => { row.rank = 1 + order.findIndex((other) => other.score === row.score); });
  return { rows, order };
}

function build(root) {
  root.innerHTML = `
    <div class="lab-plot"></div>
    <div class="lab-controls">
      <label>Model <select></select></label>
      <label><span>${study.measure}</span> <input type="range" min="0" max="1" step="0.005" data-of="performance"></label>
      <label><span>${study.resource}</span> <input type="range" min="0" max="${FARTHEST}" step="0.5" data-of="resource"></label>
      <label class="lab-check"><input type="checkbox" data-of="range"> Freeze the range</label>
      <label class="lab-check"><input type="checkbox" data-of="chance"> Score above chance</label>
      <button type="button">Put everything back</button>
      <p class="lab-said" role="status"></p>
    </div>
    <table class="lab-ranks unsorted table"><caption>${models.length} of ${study.asked} models, best first</caption>
      <thead><tr><th scope="col">Rank</th><th scope="col">Model</th><th scope="col">PePR</th><th scope="col">Moved</th></tr></thead>
      <tbody></tbody></table>`;
  const select = root.querySelector("select");
  models.forEach((one, index) => select.add(new Option(one.model, index)));
  const sliders = [...root.querySelectorAll("input[type=range]")];
  const freeze = root.querySelector("input[data-of=range]");
  const above = root.querySelector("input[data-of=chance]");
  const plot = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img",
    "aria-label": `${study.measure} of ${models.length} models against ${study.resource}, with lines of equal PePR. The sliders beside it move a model.` });
  root.querySelector(".lab-plot").append(plot);

  const draw = () => {
    const set = freeze.checked ? original : models;
    const low = Math.min(...bounds(set)), high = Math.max(...bounds(set));
    const chance = above.checked ? study.chance : 0;
    const before = scored(original, Math.min(...bounds(original)), Math.max(...bounds(original)), chance);
    const { rows, order } = scored(models, low, high, chance);
    plot.replaceChildren(...axes(), ...contours(low, high, chance), ...points(rows));
    const me = models[chosen], mine = rows[chosen];
    select.value = chosen;
    sliders.forEach((slider) => {
      slider.value = me[slider.dataset.of];
      const unit = slider.dataset.of === "resource" ? ` ${study.unit}` : "";
      slider.setAttribute("aria-valuetext", `${(+slider.value).toFixed(unit ? 0 : 3)}${unit}`);
    });
    const moved = rows.filter((row) => row.index !== chosen && Math.abs(row.score - before.rows[row.index].score) > 5e-4);
    root.querySelector(".lab-said").textContent =
      `${me.model}: ${study.measure} ${me.performance.toFixed(3)} for ${me.resource.toFixed(me.resource < 10 ? 2 : 0)} ${study.unit}, ` +
      `so R = ${mine.norm.toFixed(2)} and PePR ${above.checked ? "above chance " : ""}= ${mine.score.toFixed(3)}, rank ${mine.rank} of ${models.length}. ` +
      (moved.length ? `This moved the scores of ${moved.length} other models.` : "No other score moved.");
    root.querySelector("tbody").replaceChildren(...order.map((row) => {
      const was = before.rows[row.index].rank, line = document.createElement("tr");
      line.className = row.index === chosen ? "chosen" : "";
      const words = [row.rank, row.model, row.score.toFixed(3), was === row.rank ? "" : was > row.rank ? `up ${was - row.rank}` : `down ${row.rank - was}`];
      words.forEach((word) => { line.insertCell().textContent = word; });
      return line;
    }));
  };

  const axes = () => {
    const lines = [];
    for (let p = 0; p <= 1.001; p += 0.2) {
      lines.push(svg("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y(p), y2: y(p), class: "lab-grid" }));
      lines.push(svg("text", { x: LEFT - 8, y: y(p) + 4, "text-anchor": "end" }, p.toFixed(1)));
    }
    const step = FARTHEST > 400 ? 100 : FARTHEST > 100 ? 50 : 10;
    for (let r = 0; r <= FARTHEST; r += step) lines.push(svg("text", { x: x(r), y: HIGH - BOTTOM + 20, "text-anchor": "middle" }, r));
    lines.push(svg("text", { x: (LEFT + WIDE) / 2, y: HIGH - 10, "text-anchor": "middle" }, `${study.resource} (${study.unit})`));
    lines.push(svg("text", { x: 14, y: HIGH / 2 - 20, "text-anchor": "middle", transform: `rotate(-90 14 ${HIGH / 2 - 20})` }, study.measure));
    return lines;
  };

  const contours = (low, high, chance) => [1, 2, 3, 4, 5, 6, 7, 8, 9].flatMap((tenth) => {
    const level = tenth / 10, ends = [];
    for (let r = 0; r <= FARTHEST; r += FARTHEST / 80) {
      const p = chance + (1 - chance) * level * (1 + (high > low ? Math.max(0, (r - low) / (high - low)) : 0));
      if (p <= 1) ends.push([x(r), y(p)]);
    }
    const [ex, ey] = ends[ends.length - 1];
    return [svg("path", { d: `M${ends.map((end) => end.map((v) => v.toFixed(1)).join(" ")).join("L")}`, class: "lab-contour" }),
      svg("text", { x: ex - 4, y: ey - 3, "text-anchor": "end", class: "lab-level" }, level.toFixed(1))];
  });

  const points = (rows) => models.flatMap((one, index) => {
    const at = { cx: x(one.resource), cy: y(one.performance) };
    const dot = svg("circle", { ...at, r: index === chosen ? 9 : 6, class: index === chosen ? "lab-point chosen" : "lab-point", "data-index": index });
    dot.append(svg("title", {}, `${one.model}, PePR ${rows[index].score.toFixed(3)}`));
    if (index !== chosen) return [dot];
    const left = at.cx > WIDE - 150;
    return [dot, svg("text", { x: at.cx + (left ? -13 : 13), y: at.cy - 9, "text-anchor": left ? "end" : "start", class: "lab-name" }, one.model)];
  });

  const place = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    const inside = (v, low, high) => Math.min(high, Math.max(low, v));
    models[chosen].resource = inside(((point.x - LEFT) / (WIDE - LEFT - RIGHT)) * FARTHEST, 0, FARTHEST);
    models[chosen].performance = inside(1 - (point.y - TOP) / (HIGH - TOP - BOTTOM), 0, 1);
    draw();
  };
  plot.addEventListener("pointerdown", (event) => {
    const index = event.target.closest("circle")?.dataset.index;
    if (index === undefined) return;
    event.preventDefault();
    chosen = +index;
    draw();
    plot.setPointerCapture(event.pointerId);
    plot.onpointermove = place;
  });
  plot.addEventListener("pointerup", () => { plot.onpointermove = null; });
  plot.addEventListener("pointercancel", () => { plot.onpointermove = null; });
  select.addEventListener("change", () => { chosen = +select.value; draw(); });
  sliders.forEach((slider) => slider.addEventListener("input", () => { models[chosen][slider.dataset.of] = +slider.value; draw(); }));
  [freeze, above].forEach((box) => box.addEventListener("change", draw));
  root.querySelector("button").addEventListener("click", () => { original.forEach((one, index) => Object.assign(models[index], one)); draw(); });
  draw();
}

const lab = document.getElementById("pepr-lab");
if (models.length) build(lab);
else lab.innerHTML = `<p>Too few of the ${study.asked} models of this study can be ranked: there is nothing to move.</p>`;
