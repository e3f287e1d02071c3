// The examples by their place, from the lowest quality on. The first ones are in the
// page; the others come from files beside it, through elements, as pages of files may
// not fetch. Behind these come examples of the sections that are not among the worst.
const numFirst = data.rows.length;
const numWorst = numFirst + data.laterIds.length;
const ids = [...data.rows.map((row) => row.id), ...data.laterIds];
const placeOf = new Map(ids.map((id, place) => [id, place]));
for (const { id } of data.moreRows) {
  if (!placeOf.has(id)) placeOf.set(id, ids.push(id) - 1);
}
const rows = [...data.rows];
rows.length = ids.length; // those that are not loaded are holes
for (const row of data.moreRows) rows[placeOf.get(row.id)] = row;
const rightOnes = new Map(Object.entries(data.rightOnes));
const numParts = Math.ceil(data.laterIds.length / data.partSize);
const missingParts = new Set();
const loading = new Map();
const loadedParts = new Set([0]);

// Part 0 is the page.
const partOf = (place) =>
  place < numFirst || place >= numWorst ? 0 : 1 + Math.floor((place - numFirst) / data.partSize);
const startOf = (part) => numFirst + (part - 1) * data.partSize;
const isLoaded = (part) => loadedParts.has(part);
const loadedRows = () => rows.filter((row, place) => place < numWorst && isLoaded(partOf(place)));

// What the files call. One of another report has other ids, or another key.
window.addReportExamples = (key, part, content) => {
  if (key !== data.key || !loading.has(part)) return;
  const start = startOf(part);
  if (content.rows.some((row, i) => row.id !== ids[start + i])) return;
  content.rows.forEach((row, i) => { rows[start + i] = row; });
  loadedParts.add(part);
  for (const [label, some] of Object.entries(content.rightOnes)) rightOnes.set(label, some);
};

// Whether a part is there, after it was looked for.
function load(part) {
  if (isLoaded(part)) return Promise.resolve(true);
  if (!loading.has(part)) {
    loading.set(part, new Promise((done) => {
      const script = document.createElement("script");
      const end = () => {
        script.remove();
        loading.delete(part);
        if (isLoaded(part)) missingParts.delete(part);
        else missingParts.add(part);
        done(isLoaded(part));
      };
      script.addEventListener("load", end);
      script.addEventListener("error", end);
      script.nonce = data.nonce;
      script.src = fileOf(part);
      document.head.append(script);
    }));
  }
  return loading.get(part);
}

const fileOf = (part) => `${data.folder}/examples-${part}.js`;

const missingText = (part) =>
  `${decodeURIComponent(fileOf(part))} is not beside the page, or not of it: it has ` +
  `${counted(data.partSize)} of the ${counted(numWorst)} examples. Put it there to go on.`;
