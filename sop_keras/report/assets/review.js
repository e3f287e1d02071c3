// The review: one example of a list at a time, decided by keys or buttons. A list has
// the places of its examples, and of each those that show the same, if there are any.
const LARGE = 480; // pixels of the page, of the longer side
const AHEAD = 40; // so many examples before the end of a part, the next one is loaded
const NUM_CHOICES = 50; // classes in the list, at most
const review = byId("review");
const worst = { places: [...Array(numWorst).keys()], same: new Map() };
let list = worst;
let current = null; // where in the list; null while it is being loaded
let opener = null; // the button that has the focus afterwards
let choices = [];
let marked = 0;

// Where a file is missing, so are most likely the others: they are no longer gone to.
const isFree = (place) =>
  !decided.has(ids[place]) && (missingParts.size === 0 || place in rows);
const idAt = (at) => ids[list.places[at]];
const rowAt = (at) => rows[list.places[at]];

function nextFree(at) {
  const length = list.places.length;
  for (let step = 1; step <= length; step += 1) {
    const next = (at + step) % length;
    if (isFree(list.places[next])) return next;
  }
  return null;
}

function tell(text) {
  byId("told").textContent = text;
}

async function show(at) {
  const before = current;
  const part = partOf(list.places[at]);
  if (!(list.places[at] in rows)) {
    current = null;
    tell("Loading ...");
    if (!(await load(part))) {
      current = before;
      tell(missingText(part));
      showProgress();
      return;
    }
    tell("");
  }
  current = at;
  closeChooser();
  showExample(rowAt(at));
  showProgress();
  const next = partOf(list.places[Math.min(at + AHEAD, list.places.length - 1)]);
  if (!missingParts.has(next)) load(next);
}

function showExample(row) {
  const scale = row.image ? Math.max(1, Math.floor(LARGE / Math.max(row.width, row.height))) : 1;
  byId("subject").replaceChildren(lookOf(row, `Image ${row.id}`, scale));
  byId("where").textContent = `${counted(current + 1)} of ${counted(list.places.length)}, id ${row.id}`;
  byId("review-file").textContent = row.file ?? "";
  byId("review-given").textContent = className(row.given);
  byId("review-suggested").textContent = className(row.suggested);
  byId("reason").textContent = row.reason;
  byId("state").textContent = decisionText(row.id);
  for (const kind of KINDS) byId(`choose-${kind}`).setAttribute("aria-pressed", String(decided.get(row.id)?.[0] === kind));
  byId("others").replaceChildren(...groupsBeside(row));
}

function groupsBeside(row) {
  const same = (list.same.get(placeOf.get(row.id)) ?? []).map((place) => rows[place]);
  const others = same.filter((one) => one !== row);
  const groups = others.length ? [group("The same once more, and its given labels", others, true)] : [];
  const similar = (row.similar ?? []).filter((one) => !others.some((other) => other.id === one.id));
  if (similar.length) {
    return [...groups, group(`Similar ${row.text ? "ones" : "images"}, and their given labels`, similar, true)];
  }
  return [...groups, ...[row.given, row.suggested].map((label) => {
    const some = rightOnes.get(String(label)) ?? [];
    return group(`Most surely right: ${className(label)}`, some.filter((one) => one.id !== row.id), false);
  })];
}

function group(title, some, isNamed) {
  const section = made("section");
  section.append(made("h3", "", title));
  const list = made("ul");
  for (const one of some) {
    const item = made("li");
    item.append(lookOf(one, `Image ${one.id}, given label ${className(one.given)}`));
    if (isNamed) item.append(made("small", "", className(one.given)));
    list.append(item);
  }
  section.append(some.length ? list : made("p", "problem", "none"));
  return section;
}

function showProgress() {
  const size = list.places.length;
  let numHere = 0;
  let numSkipped = 0;
  for (const place of list.places) {
    const kind = decided.get(ids[place])?.[0];
    if (kind === SKIP) numSkipped += 1;
    else if (kind) numHere += 1;
  }
  const left = size - numHere - numSkipped;
  byId("progress").textContent =
    `${counted(numHere)} decided, ${counted(numSkipped)} skipped, ${counted(left)} left`;
  byId("unsaved").textContent = numUnsaved ? "not saved" : "";
  byId("kept").hidden = isKept;
  byId("bar").max = size;
  byId("bar").value = numHere + numSkipped;
  byId("undo").disabled = !undoable.length;
  byId("back").disabled = current === 0;
  byId("forward").disabled = current === size - 1;
}

async function choose(kind, label) {
  if (current === null) return;
  const at = current;
  const id = idAt(at);
  decide(id, kind, label);
  tell(`id ${id}: ${decisionText(id)}.`);
  const next = nextFree(at);
  if (next === null) {
    await show(at);
    tell("All that is here is decided or skipped.");
  } else {
    await show(next);
  }
}

const actions = {
  given: () => choose("given", rowAt(current).given),
  suggested: () => choose("suggested", rowAt(current).suggested),
  other: openChooser,
  remove: () => choose("remove", null),
  skip: () => {
    // What is decided stays so.
    if (decided.has(idAt(current))) actions.forward();
    else choose(SKIP, null);
  },
  back: () => current > 0 && show(current - 1),
  forward: () => current < list.places.length - 1 && show(current + 1),
  undo: () => {
    const id = undo();
    if (id === undefined) return;
    tell(`id ${id}: as it was.`);
    const at = list.places.indexOf(placeOf.get(id));
    if (at >= 0) show(at);
    else showProgress();
  },
  save: () => {
    save();
    tell(`Saved as ${data.decisions}.`);
    showProgress();
  },
};
const KEYS = {
  1: "given", 2: "suggested", 3: "other", 4: "remove", " ": "skip", s: "skip",
  ArrowLeft: "back", ArrowRight: "forward", u: "undo",
};

function act(name) {
  if (current === null) return;
  actions[name]();
}

function onKey(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && key === "s" && !event.altKey) {
    event.preventDefault();
    if (!event.repeat) act("save");
    return;
  }
  const isTyping = event.target.matches("input");
  const isPressing = event.target.matches("button, summary") && (key === " " || key === "Enter");
  if (isTyping || isPressing || event.ctrlKey || event.metaKey || event.altKey) return;
  const name = KEYS[key];
  if (!name) return;
  event.preventDefault();
  if (!event.repeat || name === "back" || name === "forward") act(name);
}

// Another class: typed, and chosen from a list.
function openChooser() {
  byId("chooser").hidden = false;
  byId("choose-other").setAttribute("aria-expanded", "true");
  byId("class-name").value = "";
  listClasses();
  byId("class-name").focus();
}

function closeChooser() {
  if (byId("chooser").hidden) return;
  byId("chooser").hidden = true;
  byId("choose-other").setAttribute("aria-expanded", "false");
  byId("stage").focus();
}

function listClasses() {
  const text = byId("class-name").value.trim().toLowerCase();
  // Those that begin with the text come first.
  const found = [[], []];
  data.classNames.forEach((name, label) => {
    const place = name.toLowerCase().indexOf(text);
    if (place >= 0 || String(label) === text) found[place === 0 ? 0 : 1].push(label);
  });
  choices = found.flat().slice(0, NUM_CHOICES);
  byId("classes").replaceChildren(...choices.map((label, i) => {
    const option = made("li", "", className(label));
    option.id = `class-${i}`;
    option.setAttribute("role", "option");
    option.addEventListener("click", () => chooseClass(label));
    return option;
  }));
  mark(0);
}

function mark(place) {
  marked = Math.min(Math.max(place, 0), choices.length - 1);
  const options = [...byId("classes").children];
  options.forEach((option, i) => option.setAttribute("aria-selected", String(i === marked)));
  if (options.length) byId("class-name").setAttribute("aria-activedescendant", options[marked].id);
  else byId("class-name").removeAttribute("aria-activedescendant");
  options[marked]?.scrollIntoView({ block: "nearest" });
}

function onClassKey(event) {
  if (event.isComposing) return; // of scripts that are typed in several keys
  if (event.key === "ArrowDown") mark(marked + 1);
  else if (event.key === "ArrowUp") mark(marked - 1);
  else if (event.key === "Enter" && choices.length) chooseClass(choices[marked]);
  else if (event.key === "Escape") closeChooser();
  else return;
  event.preventDefault();
  event.stopPropagation();
}

// Whoever types the name of the given class, or of the suggested one, says the same as
// with the keys 1 and 2.
function chooseClass(label) {
  if (current === null) return;
  const { given, suggested } = rowAt(current);
  closeChooser();
  choose(label === given ? "given" : label === suggested ? "suggested" : "other", label);
}

// Goes through a list from an example on, or from the first that is free.
function openReview(some, button, at = null) {
  opener = button;
  list = some;
  review.showModal();
  byId("stage").focus();
  tell("");
  show(at ?? nextFree(list.places.length - 1) ?? 0);
}

review.addEventListener("keydown", onKey);
review.addEventListener("cancel", (event) => {
  if (byId("chooser").hidden) return;
  event.preventDefault();
  closeChooser();
});
review.addEventListener("close", () => {
  if (review.open) return; // again, before this was told
  closeChooser();
  current = null;
  byId("subject").replaceChildren();
  byId("others").replaceChildren();
  setClasses(byId("given"), "given");
  setClasses(byId("suggested"), "suggested");
  showFirst();
  opener.focus();
});
for (const button of review.querySelectorAll("button[data-act]")) {
  button.addEventListener("click", () => {
    if (button.dataset.act !== "other") byId("stage").focus();
    act(button.dataset.act);
  });
}
byId("close").addEventListener("click", () => review.close());
byId("class-name").addEventListener("keydown", onClassKey);
byId("class-name").addEventListener("input", listClasses);
byId("open").addEventListener("change", async () => {
  const [file] = byId("open").files;
  byId("open").value = "";
  if (!file) return;
  const text = await openDecisions(file);
  byId("stage").focus();
  if (current !== null) await show(decided.has(idAt(current)) ? nextFree(current) ?? current : current);
  tell(text);
});
byId("start").addEventListener("click", (event) => openReview(worst, event.currentTarget));
byId("start").disabled = numWorst === 0;
