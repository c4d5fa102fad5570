// What the server tells, put in its place.

import { age, ageAll, badge, h, now, setClock } from "./elements.js";
import { hostCard, releaseList, updateList } from "./hosts.js";
import { RunCard, queueList } from "./runs.js";

const SILENT = 12; // seconds without a beat after which the page says that it is not live

const at = (id) => document.getElementById(id);
const hosts = new Map();
const details = new Map();
const cards = new Map();
let fleet = { name: "sdfleet", file: "", hosts: [] };
let seen = {};
let heard = 0;

const told = {
  beat(value) {
    setClock(value.now);
    showLive("good", "live");
  },
  fleet(value) {
    fleet = value;
    at("fleet").textContent = value.name;
    at("fleet").title = value.file;
  },
  host(value) {
    hosts.set(value.name, value);
    showHost(value);
    showFleet();
  },
  run(value) {
    details.set(`${value.host}/${value.name}`, value);
    showRuns();
  },
  seen(value) {
    seen = value;
    for (const host of hosts.values()) showHost(host);
  },
  news(value) {
    at("news").replaceChildren(...value.slice(0, 30).map((one) =>
      h("li", {}, h("p", {}, badge(one.level, one.host), " ", one.text), age(one.at))));
  },
};

function inOrder() {
  return fleet.hosts.map((name) => hosts.get(name)).filter(Boolean);
}

function showHost(host) {
  const card = hostCard(host, seen[host.name]);
  const shown = [...at("hosts").children].find((element) => element.dataset.host === host.name);
  if (shown) shown.replaceWith(card);
  else at("hosts").append(card);
}

function showFleet() {
  const known = inOrder();
  const update = updateList(known);
  at("update-section").hidden = !update;
  if (update) at("update").replaceChildren(...update);
  const open = new Set([...at("releases").querySelectorAll("details[open]")].map((element) => element.dataset.key));
  at("releases").replaceChildren(...releaseList(known, open));
  showRuns();
  const answer = known.filter((host) => host.reach === "answers").length;
  const lost = known.filter((host) => host.reach === "lost" || host.reach === "failed").length;
  const ill = known.filter((host) => host.reach === "answers" && host.level !== "good").length;
  const runs = known.flatMap((host) => host.runs);
  const count = (state) => runs.filter((run) => run.state === state).length;
  const parts = [[lost ? "bad" : "good", `${answer} of ${fleet.hosts.length} hosts answer`]];
  if (ill) parts.push(["warning", ill === 1 ? "1 has problems" : `${ill} have problems`]);
  if (count("running")) parts.push(["busy", `${count("running")} training`]);
  if (count("queued")) parts.push(["waits", `${count("queued")} queued`]);
  at("summary").replaceChildren(...parts.map((part) => h("li", {}, badge(...part))));
  document.title = `${lost + ill ? `(${lost + ill}) ` : ""}${fleet.name} · sdfleet`;
}

function showRuns() {
  const all = inOrder().flatMap((host) => host.runs.map((run) => ({ host: host.name, run, key: `${host.name}/${run.name}` })));
  const of = (...states) => all.filter(({ run }) => states.includes(run.state)).sort((a, b) => b.run.made - a.run.made);
  const card = ({ host, run, key }) => {
    if (!cards.has(key)) cards.set(key, new RunCard());
    return cards.get(key).update(host, run, details.get(key));
  };
  put(at("running"), of("running").map(card));
  at("queue").replaceChildren(...queueList(of("queued", "created").reverse()));
  put(at("ended"), of("finished", "failed", "stopped").slice(0, 12).map(card));
  at("no-runs").hidden = all.length > 0;
  const left = new Set(all.map(({ key }) => key));
  for (const key of cards.keys()) if (!left.has(key)) cards.delete(key);
}

/** Make these the children; those that are there already are not moved, so that nothing in them is lost. */
function put(parent, children) {
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.children.length > children.length) parent.lastChild.remove();
}

function showLive(level, word) {
  const live = at("live");
  if (live.dataset.word !== word) live.replaceChildren(badge(level, word));
  live.dataset.word = word;
}

const events = new EventSource("events");
for (const [kind, show] of Object.entries(told)) {
  events.addEventListener(kind, (event) => {
    heard = Date.now();
    show(JSON.parse(event.data));
  });
}
events.addEventListener("error", () => {
  const over = events.readyState === EventSource.CLOSED;
  showLive("bad", over ? "ended; start sdfleet dashboard again" : "connection lost, trying again");
});

setInterval(() => {
  ageAll();
  for (const element of document.querySelectorAll("[data-late]")) element.hidden = now() < Number(element.dataset.late);
  if (heard && Date.now() - heard > 1000 * SILENT && events.readyState === EventSource.OPEN) showLive("bad", "no news from sdfleet");
}, 1000);
