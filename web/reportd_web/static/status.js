// Keeps an open page true: what changes is sent by the daemon, durations run on by themselves. All of it is there without this.

const LOST_SECONDS = 40; // the daemon says something every 15 s
const body = document.body;
const link = document.getElementById("link");

// The daemon's clock. Whoever looks may have another one.
let seen = { at: Number(body.dataset.at), here: performance.now() };
const now = () => seen.at + (performance.now() - seen.here) / 1000;

// As core/words.py says it.
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

// Makes `old` what `fresh` is, and touches nothing else: focus, scrolling, what is typed, open details and forms stay.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
    return;
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  if (old.localName === "time" && !fresh.textContent) return; // its text is ours
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

// A page of its own kind, such as a search or a job, is fetched again.
async function again(part) {
  const seconds = Number(part.dataset.again);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    if (document.hidden) continue;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok || answer.redirected) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = part.id ? fresh.getElementById(part.id) : fresh.querySelector("main");
      if (!found) throw new Error("another page");
      seen = { at: Number(fresh.body.dataset.at), here: performance.now() };
      morph(part, found);
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
  link.textContent = `Connection lost. This is how it was at ${new Date(seen.at * 1000).toLocaleTimeString()}.`;
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
    losing = setTimeout(lost, 1500); // a reader is sent away now and then, and is back at once
    if (source.readyState !== EventSource.CLOSED) return;
    source.close();
    setTimeout(connect, 5000);
  });
}

if ("live" in body.dataset) connect();
document.querySelectorAll("[data-again]").forEach(again);
setInterval(tick, 1000);
