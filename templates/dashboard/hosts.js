// Hosts, their releases, the last update.

import { loadChart } from "./charts.js";
import { age, badge, h, meter, now } from "./elements.js";

const GiB = (mb) => (mb / 1024).toFixed(1);
const LATE = 20; // seconds without an answer after which the page says so

/** Whether a host that answered so far is silent; a page that was just opened waits for its next answer. */
export function isLate(host, seen) {
  return host.reach === "answers" && now() - seen > LATE && performance.now() > 1000 * LATE;
}

/** How a host is, in a sign and a word or two. */
function condition(host, late) {
  if (host.reach === "waiting") return badge("waits", "asking");
  if (host.reach === "lost") return badge("bad", "unreachable");
  if (host.reach === "failed") return badge("bad", "failed");
  if (late) return badge("warning", "no answer");
  if (host.level === "good") return badge("good", "ready");
  const count = host.problems.length;
  return badge(host.level, count === 1 ? "1 problem" : `${count} problems`);
}

export function hostCard(host, seen) {
  const away = host.reach === "lost" || host.reach === "failed";
  const state = host.state;
  const late = isLate(host, seen);
  const card = h(
    "article",
    { class: `card host ${late ? "warning" : host.level}${away ? " away" : ""}`, "data-host": host.name },
    h("h3", {}, h("span", { class: "name" }, host.name), condition(host, late)),
    h("p", { class: "quiet" }, [host.address, state?.os, state?.provider, ...host.groups].filter(Boolean).join(" · ")),
  );
  if (away) {
    card.append(h("p", { class: "problem bad" }, host.error.what), host.error.next ? h("p", {}, host.error.next) : "");
    if (host.warning) card.append(h("p", { class: "problem warning" }, host.warning));
    card.append(h("p", { class: "quiet" }, age(host.since, host.reach === "lost" ? "lost for " : "failing for ", ""), seen ? age(seen, "; last answer ") : "", state ? "; what it said then:" : ""));
  } else {
    card.append(...host.problems.map((problem) => h("p", { class: `problem ${host.level}` }, problem)));
    if (late) card.append(h("p", { class: "problem warning" }, "no answer; the last one came ", age(seen)));
  }
  if (state) card.append(h("div", { class: "known" }, state.gpus.map((gpu, index) => card_of(gpu, host.loads[index] ?? [])), facts(host, state)));
  return card;
}

function card_of(gpu, loads) {
  const load = gpu.load_percent;
  const known = gpu.used_mb !== null && gpu.total_mb;
  const memory = known ? `${GiB(gpu.used_mb)} of ${GiB(gpu.total_mb)} GiB` : "memory unknown";
  return h(
    "div",
    { class: "gpu" },
    h("p", { class: "gpu-name" }, gpu.name.replace(/^NVIDIA (GeForce )?/, "")),
    loadChart(loads, `load of ${gpu.name} in the last minutes`),
    h("p", { class: "number" }, load === null ? "–" : `${load} %`),
    known ? meter(gpu.used_mb / gpu.total_mb, `memory: ${memory}`) : h("span"),
    h("p", { class: "quiet memory" }, memory),
  );
}

function facts(host, state) {
  const rows = [];
  if (!state.gpus.length) rows.push(["GPU", state.gpu_problem ? "cannot be read" : "none (CPU)"]);
  for (const [role, title] of [["webui", "WebUI"], ["comfyui", "ComfyUI"]]) {
    if (state[role]) rows.push([title, host.drawing[role]], ["Release", h("code", {}, state[role].release ?? "-")]);
  }
  const services = Object.entries(state.services);
  if (services.length) {
    rows.push(["Services", services.map(([name, what]) => badge(what === "active" ? "good" : "bad", what === "active" ? name : `${name} ${what}`))]);
  }
  if (state.models.expected) rows.push(["Models", `${state.models.expected - state.models.missing.length} of ${state.models.expected}`]);
  const { free_gb: free, total_gb: total } = state.disk;
  rows.push(["Disk", [`${Math.round(free)} of ${Math.round(total)} GB free`, meter(1 - free / total, "disk in use", free / total < 0.1 ? "bad" : "")]]);
  if (state.idle) rows.push(["Use", state.idle.uses.length ? state.idle.uses.join("; ") : `idle for ${Math.floor(state.idle.seconds / 60)} min`]);
  return h("dl", {}, rows.map(([title, value]) => [h("dt", {}, title), h("dd", {}, value)]));
}

/** By application: each release in use with the hosts that use it, and what they can go back to. */
export function releaseList(hosts, open) {
  const apps = [...new Set(hosts.flatMap((host) => Object.keys(host.releases)))].sort();
  return apps.flatMap((app) => {
    const with_it = hosts.filter((host) => host.releases[app]?.length);
    const current = (host) => host.releases[app].find((release) => release.current);
    const names = [...new Set(with_it.map((host) => current(host)?.release ?? ""))];
    return [h("h3", { class: "small" }, app), ...names.map((name) => group(app, name, with_it.filter((host) => (current(host)?.release ?? "") === name), open))];
  });
}

function group(app, name, hosts, open) {
  const releases = hosts.flatMap((host) => host.releases[app].map((release) => ({ host: host.name, ...release })));
  const torn = releases.find((release) => release.current && release.state !== "in use");
  const earlier = releases.filter((release) => !release.current);
  const key = `${app} ${name}`;
  const more = h("details", { "data-key": key, open: open.has(key) }, h("summary", {}, `${earlier.length} other`), earlier.map(other));
  const level = torn ? "bad" : name ? "good" : "waits";
  return h(
    "div",
    { class: "release" },
    h("p", {}, badge(level, h("code", {}, name || "none in use")), torn ? ` ${torn.state}` : "", h("span", { class: "quiet" }, hosts.map((host) => host.name).join(", "))),
    earlier.length ? more : null,
  );
}

function other(one) {
  const what = [one.state, one.since && `since ${one.since}`, one.by && `by ${one.by}`, one.differs].filter(Boolean).join(" ");
  return h("p", { class: "quiet" }, h("b", {}, one.host), " ", h("code", {}, one.release), h("span", { class: "quiet" }, what));
}

const UPDATES = { begun: ["busy", "in work"], passed: ["good", "passed all gates"], back: ["bad", "rolled back"], failed: ["bad", "failed"] };

/** The hosts of the newest update; null if there was none. */
export function updateList(hosts) {
  const marked = hosts.filter((host) => host.update);
  if (!marked.length) return null;
  const newest = marked.reduce((one, other) => (other.update.at > one.update.at ? other : one)).update.rollout;
  const its = marked.filter((host) => host.update.rollout === newest);
  const passed = its.filter((host) => host.update.state === "passed").length;
  return [
    h("p", {}, h("b", {}, `${passed} of ${its.length} passed`), h("span", { class: "quiet" }, ` ${newest.slice(0, 8)}, by ${its[0].update.by}`)),
    ...its.map(({ name, update }) =>
      h("div", { class: "mark" }, h("b", {}, name), badge(...(UPDATES[update.state] ?? ["waits", update.state])), age(update.at),
        update.reason ? h("p", { class: "problem bad" }, update.reason) : null),
    ),
  ];
}
