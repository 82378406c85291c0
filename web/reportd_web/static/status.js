// Keeps an open page up to date: the daemon sends changes, and durations count on here. The page also works without it.

const LOST_SECONDS = 40; // the daemon sends an event every 15 s
const body = document.body;
const link = document.getElementById("link");

// The daemon's clock; the reader's may differ.
let seen = { at: Number(body.dataset.at), here: performance.now() };
const now = () => seen.at + (performance.now() - seen.here) / 1000;

// The same as in core/status/durations.py.
function lasting(seconds) {
  const steps = [[86400, "d"], [3600, "h"], [60, "min"]];
  const left = Math.max(0, Math.trunc(seconds));
  for (const [index, [size, unit]] of steps.entries()) {
    const whole = Math.trunc(left / size);
    if (!whole) continue;
    const [finer, name] = steps[index + 1] ?? [];
    const part = finer ? Math.trunc((left % size) / finer) : 0;
    return part ? `${whole} ${unit} ${part} ${name}` : `${whole} ${unit}`;
  }
  return `${left} s`;
}

function tick() {
  for (const time of document.querySelectorAll("time.ago, time.left")) {
    const passed = now() - Date.parse(time.dateTime) / 1000;
    const text = lasting(time.className === "ago" ? passed : -passed);
    if (time.textContent !== text) time.textContent = text;
  }
}

// Changes `old` into `fresh` and touches nothing else: focus, scrolling, typed text, open details and forms stay.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
    return;
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  if (old.localName === "time" && !fresh.textContent) return; // tick() writes its text
  const wanted = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
  const named = new Map();
  for (const child of [...old.children]) {
    if (!child.id) continue;
    if (wanted.has(child.id)) named.set(child.id, child);
    else child.remove();
  }
  let at = old.firstChild;
  for (const want of [...fresh.childNodes]) {
    let node = want.id ? named.get(want.id) : at;
    if (node && (node.nodeName !== want.nodeName || (node.id ?? "") !== (want.id ?? ""))) node = null;
    if (!node) {
      old.insertBefore(want, at);
      continue;
    }
    if (node === at) at = at.nextSibling;
    else old.insertBefore(node, at);
    morph(node, want);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
  const old = fresh && document.getElementById(fresh.id);
  if (old && !("again" in old.dataset)) morph(old, fresh);
}

// A part without events, such as a search or a job, is fetched again.
async function again(part) {
  const seconds = Number(part.dataset.again);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    if (document.hidden) continue;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok || answer.redirected) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const update = part.id ? fresh.getElementById(part.id) : fresh.querySelector("main");
      if (!update) throw new Error("another page");
      seen = { at: Number(fresh.body.dataset.at), here: performance.now() };
      morph(part, update);
      if (!part.id) heading(fresh.title, fresh.getElementById("icon").getAttribute("href"));
      heard();
      tick();
      if (!("again" in part.dataset)) return;
    } catch {
      lost();
    }
  }
}

function heading(title, icon) {
  if (document.title !== title) document.title = title;
  const old = document.getElementById("icon");
  if (old.getAttribute("href") !== icon) old.href = icon;
}

let silence;
function heard() {
  clearTimeout(silence);
  silence = setTimeout(lost, LOST_SECONDS * 1000);
  link.className = "live";
  link.textContent = "live";
}

function lost() {
  if (link.className === "lost") return;
  link.className = "lost";
  link.textContent = `Connection lost. This is the state at ${new Date(seen.at * 1000).toLocaleTimeString()}.`;
}

let losing;
function connect() {
  const source = new EventSource("/events?as=html");
  source.addEventListener("page", (event) => {
    const { at, level, brief, sections } = JSON.parse(event.data);
    seen = { at, here: performance.now() };
    Object.values(sections).forEach(show);
    heading(`${brief} · reportd`, `/static/${level}.svg`);
    heard();
    tick();
  });
  source.addEventListener("alive", heard);
  source.addEventListener("open", () => clearTimeout(losing));
  source.addEventListener("error", () => {
    clearTimeout(losing);
    losing = setTimeout(lost, 1500); // the daemon ends streams now and then, and the reader reconnects at once
    if (source.readyState !== EventSource.CLOSED) return;
    source.close();
    setTimeout(connect, 5000);
  });
}

if ("live" in body.dataset) connect();
document.querySelectorAll("[data-again]").forEach(again);
setInterval(tick, 1000);
