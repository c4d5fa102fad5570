// What the server tells, put in its place.

import { age, ageAll, badge, h, setClock } from "./elements.js";
import { hostCard, isLate, releaseList, updateList } from "./hosts.js";
import { RunCard, queueList } from "./runs.js";

const SILENT = 12; // seconds without a beat after which the page says that it is not live

const at = (id) => document.getElementById(id);
const hosts = new Map();
const details = new Map();
const hostCards = new Map();
const runCards = new Map();
let fleet = { name: "sdfleet", file: "", hosts: [] };
let seen = {};
let late = new Set();
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
    showFleet(value);
  },
  run(value) {
    details.set(`${value.host}/${value.name}`, value);
    showRuns();
  },
  seen(value) {
    const first = !Object.keys(seen).length;
    seen = value;
    if (first || late.size) showFleet();
  },
  news(value) {
    at("news").replaceChildren(...value.slice(0, 30).map((one) =>
      h("li", {}, h("p", {}, badge(one.level, one.host), " ", one.text), age(one.at))));
  },
};

function inOrder() {
  return fleet.hosts.map((name) => hosts.get(name)).filter(Boolean);
}

/** Show the fleet again: one host, or all. */
function showFleet(host = null) {
  const known = inOrder();
  late = new Set(known.filter((one) => isLate(one, seen[one.name])).map((one) => one.name));
  for (const one of host ? [host] : known) hostCards.set(one.name, hostCard(one, seen[one.name]));
  put(at("hosts"), known.map((one) => hostCards.get(one.name)));
  const update = updateList(known);
  at("update-section").hidden = !update;
  if (update) at("update").replaceChildren(...update);
  const open = new Set([...at("releases").querySelectorAll("details[open]")].map((element) => element.dataset.key));
  at("releases").replaceChildren(...releaseList(known, open));
  showRuns();
  const answer = known.filter((host) => host.reach === "answers" && !late.has(host.name)).length;
  const lost = known.filter((host) => host.reach === "lost" || host.reach === "failed" || late.has(host.name)).length;
  const ill = known.filter((host) => host.reach === "answers" && host.level !== "good" && !late.has(host.name)).length;
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
    if (!runCards.has(key)) runCards.set(key, new RunCard());
    return runCards.get(key).update(host, run, details.get(key));
  };
  put(at("running"), of("running").map(card));
  at("queue").replaceChildren(...queueList(of("queued", "created").reverse()));
  put(at("ended"), of("finished", "failed", "stopped").slice(0, 12).map(card));
  at("no-runs").hidden = all.length > 0;
  const left = new Set(all.map(({ key }) => key));
  for (const key of runCards.keys()) if (!left.has(key)) runCards.delete(key);
}

/** Make these the children; those that are there already are not moved, so that nothing in them is lost. */
function put(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
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
  if (inOrder().some((host) => isLate(host, seen[host.name]) !== late.has(host.name))) showFleet();
  if (heard && Date.now() - heard > 1000 * SILENT && events.readyState === EventSource.OPEN) showLive("bad", "no news from sdfleet");
}, 1000);
