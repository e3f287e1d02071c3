// The review: one example at a time, decided by keys or buttons.
const LARGE = 480; // pixels of the page, of the longer side
const AHEAD = 40; // so many examples before the end of a part, the next one is loaded
const NUM_CHOICES = 50; // classes in the list, at most
const review = byId("review");
let current = null; // the place that is shown; null while it is being loaded
let choices = [];
let marked = 0;

// Where a file is missing, so are most likely the others: they are no longer gone to.
const isFree = (place) =>
  !decided.has(ids[place]) && (missingParts.size === 0 || isLoaded(partOf(place)));

function nextFree(place) {
  for (let step = 1; step <= numExamples; step += 1) {
    const next = (place + step) % numExamples;
    if (isFree(next)) return next;
  }
  return null;
}

function tell(text) {
  byId("told").textContent = text;
}

async function showPlace(place) {
  const before = current;
  const part = partOf(place);
  if (!isLoaded(part)) {
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
  current = place;
  closeChooser();
  showExample(rows[place]);
  showProgress();
  const next = partOf(Math.min(place + AHEAD, numExamples - 1));
  if (!missingParts.has(next)) load(next);
}

function showExample(row) {
  byId("subject").replaceChildren(row.image ? largePicture(row) : made("p", "problem", `no image: ${row.problem}`));
  byId("where").textContent = `${counted(current + 1)} of ${counted(numExamples)}, id ${row.id}`;
  byId("review-file").textContent = row.file ?? "";
  byId("review-given").textContent = className(row.given);
  byId("review-suggested").textContent = className(row.suggested);
  byId("reason").textContent = row.reason;
  byId("state").textContent = decisionText(row.id);
  for (const kind of KINDS) byId(`choose-${kind}`).setAttribute("aria-pressed", String(decided.get(row.id)?.[0] === kind));
  byId("others").replaceChildren(...(row.similar?.length
    ? [group("Similar images, and their given labels", row.similar, true)]
    : [row.given, row.suggested].map((label) => {
        const some = rightOnes.get(String(label)) ?? [];
        return group(`Most surely right: ${className(label)}`, some.filter((one) => one.id !== row.id), false);
      })));
}

function largePicture(row) {
  const image = document.createElement("img");
  const scale = Math.max(1, Math.floor(LARGE / Math.max(row.width, row.height)));
  setPicture(image, row, `Image ${row.id}`, scale);
  return image;
}

function group(title, some, isNamed) {
  const section = made("section");
  section.append(made("h3", "", title));
  const list = made("ul");
  for (const one of some) {
    const item = made("li");
    const image = document.createElement("img");
    setPicture(image, one, `Image ${one.id}, given label ${className(one.given)}`);
    item.append(image);
    if (isNamed) item.append(made("small", "", className(one.given)));
    list.append(item);
  }
  section.append(some.length ? list : made("p", "problem", "none"));
  return section;
}

function showProgress() {
  const numHere = numDecided - [...strayIds].filter((id) => decided.has(id)).length;
  const left = numExamples - numHere - numSkipped;
  byId("progress").textContent =
    `${counted(numHere)} decided, ${counted(numSkipped)} skipped, ${counted(left)} left`;
  byId("unsaved").textContent = numUnsaved ? "not saved" : "";
  byId("kept").hidden = isKept;
  byId("bar").max = numExamples;
  byId("bar").value = numHere + numSkipped;
  byId("undo").disabled = !undoable.length;
  byId("back").disabled = current === 0;
  byId("forward").disabled = current === numExamples - 1;
}

async function choose(kind, label) {
  if (current === null) return;
  const place = current;
  const id = ids[place];
  decide(id, kind, label);
  tell(`id ${id}: ${decisionText(id)}.`);
  const next = nextFree(place);
  if (next === null) {
    await showPlace(place);
    tell("All that is here is decided or skipped.");
  } else {
    await showPlace(next);
  }
}

const actions = {
  given: () => choose("given", rows[current].given),
  suggested: () => choose("suggested", rows[current].suggested),
  other: openChooser,
  remove: () => choose("remove", null),
  skip: () => {
    // What is decided stays so.
    if (decided.has(ids[current])) actions.forward();
    else choose(SKIP, null);
  },
  back: () => current > 0 && showPlace(current - 1),
  forward: () => current < numExamples - 1 && showPlace(current + 1),
  undo: () => {
    const id = undo();
    if (id === undefined) return;
    tell(`id ${id}: as it was.`);
    if (placeOf.has(id)) showPlace(placeOf.get(id));
  },
  save: () => {
    save();
    tell("Saved as decisions.csv.");
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

function chooseClass(label) {
  closeChooser();
  choose("other", label);
}

function openReview() {
  review.showModal();
  byId("stage").focus();
  const first = nextFree(numExamples - 1) ?? 0;
  tell("");
  showPlace(first);
}

review.addEventListener("keydown", onKey);
review.addEventListener("cancel", (event) => {
  if (byId("chooser").hidden) return;
  event.preventDefault();
  closeChooser();
});
review.addEventListener("close", () => {
  closeChooser();
  current = null;
  byId("subject").replaceChildren();
  byId("others").replaceChildren();
  setClasses(byId("given"), "given");
  setClasses(byId("suggested"), "suggested");
  showFirst();
  byId("start").focus();
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
  if (current !== null) await showPlace(decided.has(ids[current]) ? nextFree(current) ?? current : current);
  tell(text);
});
byId("start").addEventListener("click", openReview);
byId("start").disabled = numExamples === 0;
