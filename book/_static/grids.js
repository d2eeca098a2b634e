// The same energy on a grid that the reader chooses: grams are energy times intensity, and nothing else.

const { grids, energies } = window.peprStudy;

const grams = (value) =>
  value >= 1e6 ? `${(value / 1e6).toPrecision(2)} t` : value >= 1000 ? `${(value / 1000).toPrecision(2)} kg` : `${value.toPrecision(2)} g`;

function build(root) {
  root.innerHTML = `
    <div class="lab-controls">
      <label>Country <select></select></label>
      <label>or an intensity of your own, g/kWh <input type="number" min="0" max="2000" step="1"></label>
    </div>
    <table class="unsorted table"><thead><tr><th scope="col">What</th><th scope="col">Energy</th><th scope="col">CO₂e there</th></tr></thead><tbody></tbody></table>
    <p class="lab-said" role="status"></p>`;
  const select = root.querySelector("select"), input = root.querySelector("input");
  [...grids].sort((a, b) => a[1].localeCompare(b[1], "en")).forEach(([code, name]) => select.add(new Option(name, code)));
  const show = () => {
    const intensity = +input.value, grid = grids.find(([code]) => code === select.value);
    root.querySelector("tbody").replaceChildren(...energies.map((one) => {
      const row = document.createElement("tr");
      [one.what, one.text, `${grams(one.kwh * intensity)} (estimated)`].forEach((word) => { row.insertCell().textContent = word; });
      return row;
    }));
    const where = grid && grid[2] === intensity ? `${grid[1]} emitted ${intensity.toFixed(0)} g for each kilowatt-hour in ${grid[3]}.` : `At ${intensity.toFixed(0)} g for each kilowatt-hour.`;
    root.querySelector(".lab-said").textContent = `${where} Every model's grams are multiplied by the same number, so no rank changes.`;
  };
  select.addEventListener("change", () => { input.value = grids.find(([code]) => code === select.value)[2]; show(); });
  input.addEventListener("input", show);
  select.value = "DNK";
  select.dispatchEvent(new Event("change"));
}

build(document.getElementById("pepr-grids"));
