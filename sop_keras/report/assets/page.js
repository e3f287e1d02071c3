// What all of the page's scripts share. They run as one, in one function of their own.
// Names come from people: they reach the page as text alone.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const className = (label) => data.classNames[label];
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
const counted = (count) => count.toLocaleString("en");

function say(text) {
  byId("status").textContent = text;
}

// An element with a class and a text, both of which may be left out.
function made(tag, name = "", text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = text;
  return element;
}

// A picture of an example; of one without an image, the text that names it; or why
// there is no picture.
function lookOf(row, alt, scale = 1) {
  if (row.text) return made("span", "look", row.text);
  if (row.problem) return made("span", "problem", `no image: ${row.problem}`);
  const image = document.createElement("img");
  setPicture(image, row, alt, scale);
  return image;
}

function setPicture(image, row, alt, scale = 1) {
  image.src = row.image ?? row.picture;
  image.width = scale * row.width;
  image.height = scale * row.height;
  image.alt = alt;
  image.classList.toggle("small", image.src.startsWith("data:image/png"));
}
