"use strict";

// Names come from people: they reach the page as text alone.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const gallery = byId("gallery");
  const name = (label) => data.classNames[label];
  const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;

  function fill(card, row) {
    const put = (selector, text) => {
      card.querySelector(selector).textContent = text;
    };
    put(".given", name(row.given));
    put(".suggested", name(row.suggested));
    put(".quality", row.quality < 0.001 ? row.quality.toExponential(1) : row.quality.toFixed(3));
    put(".given-prob", percent(row.givenProb));
    put(".suggested-prob", percent(row.suggestedProb));
    put(".noise", row.noise.toFixed(2));
    put(".id", `id ${row.id}`);
    put(".file", row.file ?? "");
    picture(card, row);
    verdict(card, row);
    const button = card.querySelector(".copy-one");
    button.setAttribute("aria-label", `Copy id ${row.id}`);
    button.addEventListener("click", () => copy(String(row.id), `Copied id ${row.id}.`));
  }

  function picture(card, row) {
    const image = card.querySelector(".picture img");
    if (!row.image) {
      image.remove();
      card.querySelector(".problem").textContent = `no image: ${row.problem}`;
      return;
    }
    image.src = row.image;
    image.width = row.width;
    image.height = row.height;
    image.alt = `Image ${row.id}, given label ${name(row.given)}`;
    image.classList.toggle("small", row.image.startsWith("data:image/png"));
  }

  function verdict(card, row) {
    const place = card.querySelector(".verdict");
    if (row.clean === null) {
      card.querySelector(".truth").remove();
      place.textContent = row.isIssue ? "label issue" : "no issue";
      return;
    }
    card.querySelector(".clean").textContent = name(row.clean);
    const isWrong = row.clean !== row.given;
    place.textContent = `${row.isIssue ? "" : "no issue, "}${isWrong ? "wrong" : "right"} label`;
    place.classList.add(isWrong ? "wrong" : "right");
  }

  const cards = data.rows.map((row) => {
    const card = byId("card").content.firstElementChild.cloneNode(true);
    fill(card, row);
    return { row, card };
  });

  // Of a thousand classes, those that are there, with how many there are.
  function addClasses(select, key) {
    const counts = new Map();
    for (const row of data.rows) counts.set(row[key], (counts.get(row[key]) ?? 0) + 1);
    for (const label of [...counts.keys()].sort((one, other) => one - other)) {
      const option = document.createElement("option");
      option.value = String(label);
      option.textContent = `${name(label)} (${counts.get(label)})`;
      select.append(option);
    }
  }

  function isShown(row) {
    const fits = (id) => byId(id).value === "" || byId(id).value === String(row[id]);
    const text = byId("text").value.trim().toLowerCase();
    const places = `${row.id} ${row.file ?? ""}`.toLowerCase();
    return fits("given") && fits("suggested") && places.includes(text);
  }

  function say(text) {
    byId("status").textContent = text;
  }

  function show() {
    const key = byId("order").value;
    const sign = Number(byId("direction").value);
    cards.sort((one, other) =>
      sign * (one.row[key] - other.row[key]) || one.row.id - other.row.id);
    for (const { row, card } of cards) card.hidden = !isShown(row);
    gallery.replaceChildren(...cards.map(({ card }) => card));
    const shown = cards.filter(({ card }) => !card.hidden).length;
    say(`${shown} of ${cards.length} shown`);
    byId("copy").disabled = shown === 0;
  }

  // Pages from a file have no clipboard in some browsers, or may not write to it.
  async function copy(text, done) {
    try {
      await navigator.clipboard.writeText(text);
      say(done);
    } catch {
      say(copyBySelection(text) ? done : "The browser did not let the page copy.");
    }
  }

  function copyBySelection(text) {
    const before = document.activeElement;
    const area = document.createElement("textarea");
    area.className = "offscreen";
    area.value = text;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    before?.focus();
    return isDone;
  }

  addClasses(byId("given"), "given");
  addClasses(byId("suggested"), "suggested");
  for (const id of ["given", "suggested", "order", "direction"]) byId(id).addEventListener("change", show);
  byId("text").addEventListener("input", show);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("copy").addEventListener("click", () => {
    const ids = cards.filter(({ card }) => !card.hidden).map(({ row }) => row.id);
    copy(ids.join("\n"), `Copied ${ids.length} ids.`);
  });
  show();
})();
