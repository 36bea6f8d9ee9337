// The person's page. Everything is fetched from this device and written as text, never as markup.

const SHOWN = 10, PAGE = 9, REASONS = 2;
const by = (id) => document.getElementById(id);
const count = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

let status = null;      // of /status
let asked = 0;          // rises with every refresh, so that late answers are dropped
let oldest = null;      // older_than of the next page of the history

// ---- asking the device

async function ask(path, method = "GET", body = undefined) {
  const options = { method, credentials: "same-origin" };
  if (body !== undefined) Object.assign(options, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Error("The device does not answer. Is pfsr device serve still running?"); }
  const form = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(form.error || `The device answered ${answer.status}.`);
  return form;
}

async function attempt(work) {
  try { return await work(); } catch (error) { tell(sentence(error.message)); return undefined; }
}

let silence = 0;
function tell(text) {
  by("told").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => { by("told").textContent = ""; }, 6000);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// ---- building elements

function make(tag, { text, parts = [], ...rest } = {}) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (name === "click") element.addEventListener("click", value);
    else element.setAttribute(name, value);
  }
  if (text !== undefined) element.textContent = text;
  element.append(...parts);
  return element;
}

const empty = (title, text, tag = "li") => make(tag, { class: "empty", parts: [make("strong", { text: title }), text] });

function when(ms) {
  const date = new Date(ms), today = new Date(), days = Math.round((today.setHours(0, 0, 0, 0) - new Date(ms).setHours(0, 0, 0, 0)) / 864e5);
  if (Number.isNaN(date.getTime())) return "";
  const clock = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (days === 0) return `today, ${clock}`;
  if (days === 1) return `yesterday, ${clock}`;
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
}

function size(bytes) {
  if (bytes < 1000) return count(bytes, "byte");
  const step = bytes < 1e6 ? [1e3, "kB"] : bytes < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  return `${(bytes / step[0]).toLocaleString("en", { maximumFractionDigits: 1 })} ${step[1]}`;
}

// ---- suggestions and their reasons

function suggestion(one, mine) {
  const title = make("span", { class: "title", text: one.title });
  if (mine.has(JSON.stringify(one.item))) title.append(make("span", { class: "chip", text: "only for you" }));
  const button = make("button", { type: "button", text: "I had this", "aria-label": `I had this: ${one.title}`, click: () => record(one) });
  return make("li", { parts: [make("span", { class: "place", text: String(one.rank) }), make("div", { parts: [title, why(one)] }), button] });
}

function why(one) {
  const line = make("span", { class: "why" });
  if (one.because && one.because.length) {
    line.append("Because of ");
    one.because.slice(0, REASONS).forEach((past, place) => {
      if (place) line.append(" and ");
      const times = past.times >= 100 ? "over 100" : past.times.toFixed(1);
      line.append(make("b", { text: past.title, title: `${times} times as likely because of it` }));
    });
  } else if (one.why) line.textContent = one.why.replace(/\.$/, "");
  return line;
}

async function showSuggestions(mine) {
  const list = by("suggestions"), turn = asked;
  const fill = (answer) => {
    if (turn !== asked) return;
    list.replaceChildren(...answer.suggestions.map((one) => suggestion(one, mine)));
    if (!answer.suggestions.length) list.append(empty("Nothing is left to suggest.", "You had every item that this model knows."));
  };
  if (!status.model_version) {
    list.replaceChildren(empty("No model yet.", "Suggestions begin once this device gets one: pfsr device serve FOLDER --model MODEL."));
  } else {
    fill(await ask(`/recommendations?k=${SHOWN}`));
    fill(await ask(`/recommendations?k=${SHOWN}&why=true`));
  }
}

// ---- how personal the model is

function ranked(one, place, note, mine) {
  const text = make("div", { parts: [make("span", { class: "title", text: one.title }), make("small", { text: note })] });
  return make("li", { class: mine ? "mine" : "", parts: [make("span", { class: "place", text: String(place) }), text] });
}

function showComparison(answer) {
  by("personal-summary").textContent = answer.summary;
  by("compare").hidden = !answer.learned || !answer.personal.length;
  const limit = answer.personal.length, same = answer.personal.every((one) => one.personal === one.general) ? "" : "the same for anyone";
  by("personal").replaceChildren(...answer.personal.map((one) => ranked(
    one, one.personal,
    one.general > limit ? `only for you; ${one.general.toLocaleString("en")}th for anyone` : one.general === one.personal ? same : `${one.personal < one.general ? "up" : "down"} from ${one.general}`,
    one.general > limit)));
  by("general").replaceChildren(...answer.general.map((one) => ranked(
    one, one.general, one.personal > limit ? `${one.personal.toLocaleString("en")}th for you` : "", false)));
  drawLinks(answer, limit);
}

function drawLinks(answer, limit) {
  const svg = by("links"), names = "http://www.w3.org/2000/svg", box = svg.getBoundingClientRect();
  svg.replaceChildren();
  if (by("compare").hidden || !box.width) return;
  const middle = (list, place) => { const li = by(list).children[place - 1].getBoundingClientRect(); return li.top + li.height / 2 - box.top; };
  for (const one of answer.personal.filter((item) => item.general <= limit)) {
    const from = middle("general", one.general), to = middle("personal", one.personal), w = box.width, path = document.createElementNS(names, "path");
    path.setAttribute("d", `M0 ${from} C ${w / 2} ${from}, ${w / 2} ${to}, ${w - 8} ${to}`);
    path.setAttribute("class", one.personal < one.general ? "up" : "");
    svg.append(path);
  }
  for (const one of answer.personal.filter((item) => item.general > limit)) {
    const dot = document.createElementNS(names, "circle");
    for (const [name, value] of [["cx", box.width - 12], ["cy", middle("personal", one.personal)], ["r", 4]]) dot.setAttribute(name, value);
    svg.append(dot);
  }
}

// ---- history

function event(one) {
  const about = [when(one.time), one.known ? "" : "waits for a newer catalogue"].filter(Boolean).join(" · ");
  const text = make("div", { parts: [make("span", { class: "title", text: one.title }), make("small", { text: about })] });
  return make("li", { parts: [text, make("button", { type: "button", class: "quiet", text: "Forget", "aria-label": `Forget ${one.title}`, click: () => forgetOne(one) })] });
}

async function showHistory(more = false) {
  const words = by("search").value, turn = asked;
  const address = `/events?limit=${PAGE}&search=${encodeURIComponent(words)}` + (more && oldest ? `&older_than=${oldest}` : "");
  const answer = await ask(address);
  if (turn !== asked || words !== by("search").value) return;
  const lines = answer.events.map(event);
  if (more) by("history").append(...lines); else by("history").replaceChildren(...lines);
  if (!answer.total) by("history").append(words ? empty("Nothing found.", "No title in your history has these words.") : empty("Nothing here yet.", "Add something above, and the suggestions follow at once."));
  oldest = answer.next;
  by("more").hidden = oldest === null;
  by("look").hidden = !words && status.events <= PAGE;
}

async function record(one) {
  await attempt(async () => {
    await ask("/events", "POST", { item: one.item });
    tell(`Added “${one.title}”.`);
    await refresh();
  });
}

async function forgetOne(one) {
  if (!await sure(`Forget “${one.title}”?`, "All its events are erased from every file of this device. It cannot be undone.", "Forget")) return;
  await attempt(async () => {
    const gone = await ask(`/events?item_json=${encodeURIComponent(JSON.stringify(one.item))}`, "DELETE");
    tell(`Forgot ${count(gone.events, "event")} of “${one.title}”.`);
    await refresh();
  });
}

// ---- finding an item to add

let found = [], chosen = -1, typing = 0;

function showFound(items) {
  found = items; chosen = items.length ? 0 : -1;
  const lines = items.map((one, place) => make("li", { role: "option", id: `found-${place}`, parts: [make("span", { text: one.title }), ...(one.had ? [make("small", { text: "had" })] : [])], click: () => add(place) }));
  by("found").replaceChildren(...(lines.length ? lines : [make("li", { text: "No such title" })]));
  open(true); mark();
}

function open(shown) {
  by("found").hidden = !shown;
  by("find").setAttribute("aria-expanded", String(shown));
  if (!shown) by("find").removeAttribute("aria-activedescendant");
}

function mark() {
  [...by("found").children].forEach((line, place) => line.setAttribute("aria-selected", String(place === chosen)));
  if (chosen >= 0) by("find").setAttribute("aria-activedescendant", `found-${chosen}`);
}

async function add(place) {
  const one = found[place];
  by("find").value = ""; found = []; open(false);
  if (one) await record(one);
}

function onType() {
  clearTimeout(typing);
  const words = by("find").value.trim();
  if (!words) { found = []; open(false); return; }
  typing = setTimeout(() => attempt(async () => {
    const answer = await ask(`/items?search=${encodeURIComponent(words)}`);
    if (by("find").value.trim() === words) showFound(answer.items);
  }), 120);
}

function onKey(press) {
  if (press.key === "Escape") open(false);
  if (!found.length || by("found").hidden) return;
  if (press.key === "ArrowDown" || press.key === "ArrowUp") {
    chosen = (chosen + (press.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
    press.preventDefault(); mark();
  }
}

// ---- what has left, and the choices

function showUploads(answer) {
  const none = !answer.uploads.length;
  by("left").hidden = none;
  by("left-summary").textContent = none ? "Nothing has ever left this device." : `${count(answer.uploads.length, "message")}, ${size(answer.bytes)} in all. The list says what was in each.`;
  by("left").querySelector("tbody").replaceChildren(...answer.uploads.map((one) => make("tr", {
    parts: [make("td", { text: when(one.time) }), make("td", { text: size(one.bytes) }), make("td", { text: one.fields.join(", ") })],
  })));
}

function showChoices() {
  by("pause").textContent = status.paused ? "Resume learning" : "Pause learning";
  by("pause-name").textContent = status.paused ? "Learning is paused" : "Learning is on";
  by("pause-about").textContent = status.paused ? "The model stays as it is, and nothing is learned from you." : "The model may adapt to you when it is asked to.";
  by("learn").disabled = status.paused || status.learning || !status.model_version || status.events - status.waiting < 2;
  by("learn").textContent = status.learning ? "Learning …" : "Learn now";
  by("forget").disabled = !status.events && !status.lessons;
  by("model").textContent = status.model_version ? `Model ${status.model_version}, ${count(status.items, "item")}.` : "";
}

function showSummary(uploads) {
  const kept = status.events ? `${count(status.events, "thing")} you did` : "Nothing you did";
  const left = uploads.uploads.length ? "see below what has left it" : "nothing has ever left it";
  by("summary").textContent = status.events ? `${kept}, kept on this device; ${left}.` : `${kept} is known yet. What comes stays on this device; ${left}.`;
}

async function learn() {
  by("learn").disabled = true; by("learn").textContent = "Learning …";
  await attempt(async () => {
    const done = await ask("/learn", "POST", {});
    tell(done.kept ? `Learned from ${count(done.events, "event")}, here on this device.` : "Nothing was changed.");
  });
  await refresh();
}

async function pause() {
  await attempt(() => ask("/learning", "PUT", { paused: !status.paused }));
  await refresh();
}

async function forgetAll() {
  if (!await sure("Forget everything?", `Your history (${count(status.events, "event")}), all that was learned from it and the list of what has left are erased from every file. The suggestions start afresh. It cannot be undone.`, "Forget everything")) return;
  await attempt(async () => {
    await ask("/everything", "DELETE", { confirm: "forget everything" });
    by("search").value = "";
    tell("Everything is forgotten.");
  });
  await refresh();
}

// ---- asking before something is erased

let settle = null;      // answers the question that is open

// Not by the close event alone: it comes late, and could then be taken for the answer to the next question.
function sure(title, text, yes) {
  answered(false);
  by("ask-title").textContent = title; by("ask-text").textContent = text; by("ask-yes").textContent = yes;
  by("ask").showModal();
  return new Promise((resolve) => { settle = resolve; });
}

function answered(yes) {
  const tell = settle;
  settle = null;
  if (by("ask").open) by("ask").close();
  if (tell) tell(yes);
}

// ---- all of it

let latest = null;
async function refresh() {
  const turn = ++asked;
  by("suggestions").setAttribute("aria-busy", "true");
  await attempt(async () => {
    const [now, uploads] = await Promise.all([ask("/status"), ask("/uploads")]);
    if (turn !== asked) return;
    status = now;
    showSummary(uploads); showUploads(uploads); showChoices();
    await showHistory();
    latest = status.model_version ? await ask(`/comparison?k=${SHOWN}`) : null;
    if (turn !== asked) return;
    if (latest) showComparison(latest); else { by("compare").hidden = true; by("personal-summary").textContent = "There is no model yet."; }
    const general = new Set((latest ? latest.general : []).map((one) => JSON.stringify(one.item)));
    const mine = latest && latest.learned ? latest.personal.filter((one) => !general.has(JSON.stringify(one.item))) : [];
    await showSuggestions(new Set(mine.map((one) => JSON.stringify(one.item))));
  });
  if (turn === asked) by("suggestions").setAttribute("aria-busy", "false");
}

function start() {
  if (location.search) history.replaceState(null, "", "/");
  by("find").addEventListener("input", onType);
  by("find").addEventListener("keydown", onKey);
  by("find").addEventListener("blur", () => setTimeout(() => open(false), 200));
  by("add").addEventListener("submit", (send) => { send.preventDefault(); add(chosen); });
  by("look").addEventListener("submit", (send) => send.preventDefault());
  by("search").addEventListener("input", () => attempt(() => showHistory()));
  by("more").addEventListener("click", () => attempt(() => showHistory(true)));
  by("learn").addEventListener("click", learn);
  by("pause").addEventListener("click", pause);
  by("forget").addEventListener("click", forgetAll);
  by("ask").addEventListener("submit", (send) => { send.preventDefault(); answered(send.submitter.value === "yes"); });
  by("ask").addEventListener("close", () => { if (!by("ask").open) answered(false); });
  window.addEventListener("resize", () => { if (latest) drawLinks(latest, latest.personal.length); });
  refresh();
}

start();
