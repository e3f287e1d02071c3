// What was decided, by id: [kind, label or null, time]. The browser keeps it under the
// run's key, a few hundred examples an item, so that a key press writes little.
const KINDS = ["given", "suggested", "other", "remove"];
const SKIP = "skip";
const CHUNK = 250;
const STRAYS = "strays"; // decisions on examples that are not among the page's worst
const chunks = [STRAYS, ...Array(Math.ceil(numWorst / CHUNK)).keys()];
const decided = new Map();
const strayIds = new Set();
const undoable = [];
let numUnsaved = 0;
let isKept = true;

const itemOf = (chunk) => `label-report:${data.key}:${chunk}`;
const chunkOf = (id) =>
  (placeOf.get(id) < numWorst ? Math.floor(placeOf.get(id) / CHUNK) : STRAYS);
const idsOf = (chunk) =>
  chunk === STRAYS ? [...strayIds] : ids.slice(chunk * CHUNK, Math.min((chunk + 1) * CHUNK, numWorst));

const isLabel = (label) => Number.isInteger(label) && label >= 0 && label < data.classNames.length;
const isTime = (time) =>
  /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)$/.test(time) && !Number.isNaN(Date.parse(time));
const isDecision = (id, kind, label, time) =>
  Number.isSafeInteger(id) && id >= 0 && isTime(time) && KINDS.includes(kind) &&
  (kind === "remove" ? label === null : isLabel(label));
const isSkip = (id, kind, label, time) =>
  placeOf.has(id) && kind === SKIP && label === null && isTime(time);

function put(id, entry) {
  if (chunkOf(id) === STRAYS) strayIds.add(id);
  if (entry) decided.set(id, entry);
  else decided.delete(id);
}

// Browsers may keep nothing, or have no room.
function keep(chunk) {
  const some = idsOf(chunk).filter((id) => decided.has(id));
  try {
    localStorage.setItem(itemOf(chunk), JSON.stringify(some.map((id) => [id, ...decided.get(id)])));
    localStorage.setItem(itemOf("unsaved"), String(numUnsaved));
    isKept = true;
  } catch {
    isKept = false;
  }
}

const isLater = (entry, other) => Date.parse(entry[2]) > Date.parse(other[2]);

// Whether some of what is kept of a chunk belongs to others by now: to those of a page of
// the same labels that has more of them, or fewer.
function readKept(chunk) {
  // Other pages of files may write here, too.
  let entries;
  try {
    entries = JSON.parse(localStorage.getItem(itemOf(chunk)) ?? "[]").filter(
      (entry) => Array.isArray(entry) && (isDecision(...entry) || isSkip(...entry)));
  } catch {
    return false;
  }
  for (const [id, ...entry] of entries) {
    const here = decided.get(id);
    if (!here || isLater(entry, here)) put(id, entry);
  }
  return entries.some(([id]) => chunkOf(id) !== chunk);
}

function readAllKept() {
  try {
    numUnsaved = Number(localStorage.getItem(itemOf("unsaved"))) || 0;
  } catch {
    isKept = false;
  }
  if (chunks.map(readKept).some((isMoved) => isMoved)) chunks.forEach(keep);
}

function decide(id, kind, label) {
  undoable.push([id, decided.get(id)]);
  if (kind !== SKIP) numUnsaved += 1;
  put(id, [kind, label, new Date().toISOString()]);
  keep(chunkOf(id));
}

// The id that is as it was before; undefined where there is nothing to undo.
function undo() {
  if (!undoable.length) return undefined;
  const [id, before] = undoable.pop();
  if (decided.get(id)?.[0] !== SKIP) numUnsaved += 1;
  put(id, before);
  keep(chunkOf(id));
  return id;
}

function decisionText(id) {
  const entry = decided.get(id);
  if (!entry) return "";
  const [kind, label] = entry;
  if (kind === SKIP) return "skipped";
  return kind === "remove" ? "to be removed" : `decided: ${className(label)}`;
}

// With those of before, so that the file says all by itself; the word of this page counts.
function decisionsAsCsv() {
  const lines = ["id,decision,label,time"];
  const all = new Map(data.earlier.map(([id, ...entry]) => [id, entry]));
  for (const id of [...ids, ...strayIds]) {
    const entry = decided.get(id);
    if (entry && entry[0] !== SKIP) all.set(id, entry);
  }
  for (const [id, [kind, label, time]] of all) lines.push(`${id},${kind},${label ?? ""},${time}`);
  return `${lines.join("\n")}\n`;
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([decisionsAsCsv()], { type: "text/csv" }));
  link.download = data.decisions;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  numUnsaved = 0;
  keep(0);
}

const numberOf = (text) => (/^\d{1,15}$/.test(text) ? Number(text) : -1);

// The entries of a file, by id; an Error names the first line that is none.
function parsedCsv(text) {
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/);
  const split = (line, separator) =>
    line.split(separator).map((value) => value.trim().replace(/^"(.*)"$/, "$1").trim());
  const wanted = ["id", "decision", "label", "time"];
  const separator = [",", ";", "\t"].find((one) =>
    wanted.every((name) => split(lines[0], one).includes(name)));
  if (!separator) throw new Error("Its first line must name the columns id, decision, label, time.");
  const names = split(lines[0], separator);
  const found = new Map();
  lines.slice(1).forEach((line, i) => {
    const values = split(line, separator);
    if (values.every((value) => value === "")) return;
    const [id, kind, label, time] = wanted.map((name) => values[names.indexOf(name)] ?? "");
    const entry = [kind, kind === "remove" && label === "" ? null : numberOf(label), time];
    const isRight = values.length === names.length && isDecision(numberOf(id), ...entry);
    if (!isRight) throw new Error(`Line ${i + 2} is no decision.`);
    found.set(numberOf(id), entry);
  });
  return found;
}

// The later word counts. What was done is told.
async function openDecisions(file) {
  let entries;
  try {
    entries = parsedCsv(await file.text());
  } catch (error) {
    return `${file.name} was not read. ${error.message}`;
  }
  let numTaken = 0;
  const changed = new Set();
  for (const [id, entry] of entries) {
    const here = decided.get(id);
    if (here && here[0] !== SKIP && !isLater(entry, here)) continue;
    put(id, entry);
    numTaken += 1;
    changed.add(chunkOf(id));
  }
  undoable.length = 0;
  for (const chunk of changed) keep(chunk);
  const older = entries.size - numTaken;
  const strays = [...entries.keys()].filter((id) => !placeOf.has(id)).length;
  return `${counted(numTaken)} decisions read from the file.` +
    (older ? ` ${counted(older)} were not later than those here.` : "") +
    (strays ? ` ${counted(strays)} are on examples that this page does not have; they are saved again.` : "");
}

readAllKept();
// Another window of the same report.
window.addEventListener("storage", (event) => {
  for (const chunk of chunks.filter((one) => event.key === itemOf(one))) {
    for (const id of idsOf(chunk)) put(id, undefined);
    readKept(chunk);
  }
});
window.addEventListener("beforeunload", (event) => {
  if (numUnsaved > 0) event.preventDefault();
});
