// Keeps the preview up to date: each event brings the parts of the page that are text, and the version of the report.

const tabs = [...document.querySelectorAll("[role=tab]")];
const pages = document.getElementById("pdf");
const frame = document.querySelector("iframe");
const base = document.body.dataset.base;
const link = document.getElementById("link");
const scale = () => Math.min(3, Math.ceil(2 * devicePixelRatio) / 2);

let view = { version: 0, pages: [], html: false };
let framed = 0; // the version that the frame shows

function select(tab) {
  for (const each of tabs) {
    const on = each === tab;
    each.setAttribute("aria-selected", on);
    each.tabIndex = on ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !on;
  }
  showFrame();
}

for (const tab of tabs) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    next.focus();
    select(next);
  });
}

const selected = () => tabs.find((tab) => tab.getAttribute("aria-selected") === "true").getAttribute("aria-controls");

function showFrame() {
  if (selected() !== "html" || framed === view.version) return;
  framed = view.version;
  frame.hidden = !view.html;
  if (view.html) frame.src = `${base}html/?${view.version}`;
}

// A picture near the window is fetched before it takes the place of the old one, so nothing flickers and nothing moves.
// The others are fetched once they come near.
async function showPicture(image, url) {
  const box = image.getBoundingClientRect();
  const near = image.src && box.bottom > -innerHeight && box.top < 2 * innerHeight;
  image.dataset.wanted = url;
  if (near) {
    const fresh = new Image();
    fresh.src = url;
    await fresh.decode().catch(() => {});
    if (image.dataset.wanted !== url) return; // a newer one has come
  }
  image.src = url;
}

function showPages() {
  while (pages.children.length > view.pages.length) pages.lastElementChild.remove();
  view.pages.forEach(([width, height], index) => {
    let image = pages.children[index];
    if (!image) {
      image = new Image();
      image.loading = "lazy";
      image.alt = `Page ${index + 1}`;
      pages.append(image);
    }
    if (image.width !== width) image.setAttribute("width", width);
    if (image.height !== height) image.setAttribute("height", height);
    showPicture(image, `${base}pages/${view.version}/${index}.png?scale=${scale()}`);
  });
}

// Our own HTML, in which every value is escaped.
function showSection(name, html) {
  const old = document.getElementById(name);
  const fresh = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
  if (old.hidden !== undefined) fresh.hidden = old.hidden;
  if (!old.isEqualNode(fresh)) old.replaceWith(fresh);
}

let shown = -1;
function show(next) {
  view = next;
  for (const [name, html] of Object.entries(view.sections)) showSection(name, html);
  document.getElementById("count").textContent = view.warnings ? ` ${view.warnings}` : "";
  document.title = view.title;
  document.getElementById("icon").href = `/static/${view.level}.svg`;
  if (shown !== view.version) showPages();
  shown = view.version;
  showFrame();
}

function heard() {
  link.className = "live";
  link.textContent = "live";
}

const source = new EventSource(`${base}events`);
source.addEventListener("view", (event) => {
  show(JSON.parse(event.data));
  heard();
});
source.addEventListener("alive", heard);
source.addEventListener("error", () => {
  link.className = "lost";
  link.textContent = "The preview has ended. Start it again.";
});

document.getElementById("again").addEventListener("click", () => fetch(`${base}again`, { method: "POST" }));
