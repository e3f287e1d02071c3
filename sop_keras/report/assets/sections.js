// The sections: what is found beside wrong labels, each to be gone through by itself.
function smallCardOf(row, open) {
  const card = made("li", "small-card");
  card.dataset.id = row.id;
  const button = made("button", "open-one");
  button.type = "button";
  button.setAttribute("aria-label", `Decide on id ${row.id}, given label ${className(row.given)}`);
  button.append(lookOf(row, `Image ${row.id}, given label ${className(row.given)}`));
  button.addEventListener("click", () => open(button));
  const identity = made("div", "identity");
  const copyOne = made("button", "copy-one", "Copy");
  copyOne.type = "button";
  copyOne.setAttribute("aria-label", `Copy id ${row.id}`);
  copyOne.addEventListener("click", async () => {
    copyOne.textContent = (await isCopied(String(row.id))) ? "Copied" : "Not copied";
    setTimeout(() => { copyOne.textContent = "Copy"; }, 2000);
  });
  identity.append(made("span", "id", `id ${row.id}`), copyOne);
  card.append(button, made("div", "labels", className(row.given)), identity,
    made("span", "decision", decisionText(row.id)), made("div", "file", row.file ?? ""));
  return card;
}

// Places to go through, in the order of the page.
function listOf(section) {
  const groups = section.groups.map((group) => group.filter((id) => placeOf.has(id)).map((id) => placeOf.get(id)));
  const list = { places: [...new Set(groups.flat())], same: new Map() };
  if (section.isSame) for (const group of groups) for (const place of group) list.same.set(place, group);
  return { list, groups };
}

function showSection(section) {
  const { list, groups } = listOf(section);
  byId(section.name).replaceChildren(...groups.map((group, i) => {
    const item = made("li", group.length > 1 ? "group many" : "group");
    const cards = made("ul");
    cards.append(...group.map((place) =>
      smallCardOf(rows[place], (button) => openReview(list, button, list.places.indexOf(place)))));
    item.append(cards);
    if (section.more[i]) item.append(made("p", "", `and ${counted(section.more[i])} more`));
    return item;
  }));
}

for (const section of data.sections) {
  showSection(section);
  byId(`${section.name}-start`).addEventListener("click", (event) => openReview(listOf(section).list, event.currentTarget));
}
review.addEventListener("close", () => {
  for (const card of document.querySelectorAll(".small-card")) {
    card.querySelector(".decision").textContent = decisionText(Number(card.dataset.id));
  }
});
