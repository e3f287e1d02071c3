// The gallery: the examples that are loaded, filtered and sorted, a page at a time.
const PAGE = 200;
const gallery = byId("gallery");
let shownRows = [];
let pageNumber = 0;

function cardOf(row) {
  const card = byId("card").content.firstElementChild.cloneNode(true);
  const put = (selector, text) => {
    card.querySelector(selector).textContent = text;
  };
  put(".given", className(row.given));
  put(".suggested", className(row.suggested));
  put(".quality", row.quality < 0.001 ? row.quality.toExponential(1) : row.quality.toFixed(3));
  put(".given-prob", percent(row.givenProb));
  put(".suggested-prob", percent(row.suggestedProb));
  put(".noise", row.noise === null ? "none" : row.noise.toFixed(2));
  put(".id", `id ${row.id}`);
  put(".file", row.file ?? "");
  put(".decision", decisionText(row.id));
  card.querySelector(".picture").append(lookOf(row, `Image ${row.id}, given label ${className(row.given)}`));
  if (row.text) put(".why-here", row.reason);
  setVerdict(card, row);
  const button = card.querySelector(".copy-one");
  button.setAttribute("aria-label", `Copy id ${row.id}`);
  button.addEventListener("click", () => copy(String(row.id), `Copied id ${row.id}.`));
  return card;
}

function setVerdict(card, row) {
  const place = card.querySelector(".verdict");
  if (row.clean === null) {
    card.querySelector(".truth").remove();
    place.textContent = row.isIssue ? "label issue" : "no issue";
    return;
  }
  card.querySelector(".clean").textContent = className(row.clean);
  const isWrong = row.clean !== row.given;
  place.textContent = `${row.isIssue ? "" : "no issue, "}${isWrong ? "wrong" : "right"} label`;
  place.classList.add(isWrong ? "wrong" : "right");
}

// Of a thousand classes, those that are there, with how many there are.
function setClasses(select, key) {
  const chosen = select.value;
  const counts = new Map();
  for (const row of loadedRows()) counts.set(row[key], (counts.get(row[key]) ?? 0) + 1);
  const labels = [...counts.keys()].sort((one, other) => one - other);
  select.replaceChildren(select.options[0], ...labels.map((label) => {
    const option = made("option", "", `${className(label)} (${counts.get(label)})`);
    option.value = String(label);
    return option;
  }));
  select.value = chosen;
}

function isShown(row) {
  const fits = (id) => byId(id).value === "" || byId(id).value === String(row[id]);
  const text = byId("text").value.trim().toLowerCase();
  const places = `${row.id} ${row.file ?? row.text ?? ""}`.toLowerCase();
  return fits("given") && fits("suggested") && places.includes(text);
}

function showFirst() {
  const key = byId("order").value;
  const sign = Number(byId("direction").value);
  shownRows = loadedRows().filter(isShown).sort((one, other) =>
    sign * (one[key] - other[key]) || one.id - other.id);
  showPage(0);
}

function showPage(number) {
  const last = Math.max(0, Math.ceil(shownRows.length / PAGE) - 1);
  pageNumber = Math.min(Math.max(number, 0), last);
  gallery.replaceChildren(
    ...shownRows.slice(pageNumber * PAGE, (pageNumber + 1) * PAGE).map(cardOf));
  const numLoaded = loadedRows().length;
  const texts = [`${shownRows.length} of ${numLoaded} shown`];
  if (last > 0) texts.push(`page ${pageNumber + 1} of ${last + 1}`);
  if (numLoaded < numWorst) texts.push(`${numLoaded} of ${counted(numWorst)} loaded`);
  say(texts.join(", "));
  byId("copy").disabled = shownRows.length === 0;
  byId("earlier").disabled = pageNumber === 0;
  byId("later").disabled = pageNumber === last;
  byId("more").hidden = numLoaded === numWorst;
  byId("pages").hidden = last === 0 && byId("more").hidden;
}

function turn(step) {
  showPage(pageNumber + step);
  byId("gallery-title").scrollIntoView();
}

async function loadMore() {
  let part = 1;
  while (part < numParts && isLoaded(part)) part += 1;
  if (!(await load(part))) {
    say(missingText(part));
    return;
  }
  setClasses(byId("given"), "given");
  setClasses(byId("suggested"), "suggested");
  showFirst();
}

// Pages from a file have no clipboard in some browsers, or may not write to it.
async function isCopied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

async function copy(text, done) {
  say((await isCopied(text)) ? done : "The browser did not let the page copy.");
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

setClasses(byId("given"), "given");
setClasses(byId("suggested"), "suggested");
for (const id of ["given", "suggested", "order", "direction"]) byId(id).addEventListener("change", showFirst);
byId("text").addEventListener("input", showFirst);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("copy").addEventListener("click", () => {
  copy(shownRows.map((row) => row.id).join("\n"), `Copied ${shownRows.length} ids.`);
});
byId("earlier").addEventListener("click", () => turn(-1));
byId("later").addEventListener("click", () => turn(1));
byId("more").addEventListener("click", loadMore);
showFirst();
