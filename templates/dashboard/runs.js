// Training runs: those that train and those that ended, with curve and pictures; the queue.

import { lossChart } from "./charts.js";
import { age, badge, duration, h, meter } from "./elements.js";

const LEVELS = { running: "busy", queued: "waits", created: "waits", finished: "good", stopped: "warning", failed: "bad" };

/** One run. It stays the same element while the run goes on, so that what a person opened stays open. */
export class RunCard {
  constructor() {
    this.head = h("div", { class: "run-head" });
    this.body = h("div", { class: "run-body" });
    this.chart = h("div");
    this.samples = new Samples();
    this.body.append(this.chart, this.samples.element);
    this.element = null;
    this.drawn = "";
  }

  update(host, run, detail) {
    const trains = run.state === "running";
    if (!this.element || (this.element.tagName === "ARTICLE") !== trains) {
      this.element = trains
        ? h("article", { class: "card run" }, this.head, this.body)
        : h("details", { class: "run" }, h("summary", {}, this.head), this.body);
      this.element.dataset.run = run.name;
    }
    this.head.replaceChildren(...(trains ? running(host, run) : ended(host, run)));
    const points = detail?.curve ?? [];
    const drawn = JSON.stringify([points, run.progress.steps]);
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      this.chart.replaceChildren(lossChart(points, run.progress.steps, `loss of ${run.name}`));
    }
    this.samples.update(host, run, detail?.samples ?? []);
    return this.element;
  }
}

function running(host, run) {
  const { step, steps, epoch, loss, it_per_s: speed, eta_s: left, memory_mb: memory } = run.progress;
  const share = steps ? step / steps : 0;
  const numbers = [
    ["Step", steps ? `${step} of ${steps}` : `${step}`],
    ["Loss", loss === null ? "–" : loss.toPrecision(3)],
    ["Speed", speed ? `${speed.toFixed(2)} it/s` : "–"],
    ["Left", left === null || left === undefined ? "–" : duration(left)],
    ["Epoch", epoch ?? "–"],
    ["Memory", memory ? `${(memory / 1024).toFixed(1)} GiB` : "–"],
  ];
  return [
    h("h3", {}, h("span", { class: "name" }, run.name), badge("busy", "training")),
    h("p", { class: "quiet" }, place(host, run), " · ", age(run.made, "sent ")),
    h("div", { class: "progress" }, meter(share, `${Math.round(100 * share)} % of the steps`), h("span", { class: "number" }, `${Math.round(100 * share)} %`)),
    h("dl", { class: "numbers" }, numbers.map(([title, value]) => h("div", {}, h("dt", {}, title), h("dd", {}, String(value))))),
  ];
}

function ended(host, run) {
  return [
    h("span", { class: "name" }, run.name),
    badge(LEVELS[run.state] ?? "waits", run.state),
    h("span", { class: "quiet" }, place(host, run), " · ", age(run.made)),
    h("span", { class: "quiet what" }, run.reason || `step ${run.progress.step} of ${run.progress.steps || "?"}${run.progress.loss === null ? "" : `, loss ${run.progress.loss.toPrecision(3)}`}`),
  ];
}

function place(host, run) {
  const cards = run.gpus.length ? `, GPU ${run.gpus.join(", ")}` : "";
  return `${host}${cards}${run.rank === null ? "" : `, part ${run.rank + 1}`}`;
}

export function queueList(waiting) {
  if (!waiting.length) return [];
  return [
    h("h3", { class: "small" }, `Queue: ${waiting.length}`),
    h("ol", { class: "card queue" }, waiting.map(({ host, run }) =>
      h("li", {}, h("span", { class: "name" }, run.name), badge("waits", run.state), h("span", { class: "quiet" }, [host, run.reason].filter(Boolean).join(": ")), age(run.made)))),
  ];
}

/** The pictures of a run at one of its steps; a slider goes through the steps. */
class Samples {
  constructor() {
    this.slider = h("input", { type: "range", min: 0, step: 1, "aria-label": "step of the pictures" });
    this.label = h("output");
    this.row = h("div", { class: "pictures" });
    this.element = h("div", { class: "samples", hidden: true }, h("p", {}, "Samples ", this.label, this.slider), this.row);
    this.slider.addEventListener("input", () => this.show());
    this.steps = [];
    this.known = "";
  }

  update(host, run, samples) {
    const known = samples.map((sample) => sample.key).join();
    if (known === this.known) return;
    this.known = known;
    this.place = `samples/${encodeURIComponent(host)}/${encodeURIComponent(run.name)}/`;
    const newest = Number(this.slider.value) >= this.steps.length - 1;
    this.by = grouped(samples);
    this.steps = [...this.by.keys()].sort((a, b) => a - b);
    this.element.hidden = !this.steps.length;
    this.slider.max = this.steps.length - 1;
    this.slider.hidden = this.steps.length < 2;
    if (newest) this.slider.value = this.steps.length - 1;
    this.show();
  }

  show() {
    const step = this.steps[Number(this.slider.value)];
    this.label.textContent = `at step ${step}`;
    this.row.replaceChildren(...(this.by.get(step) ?? []).map((sample) =>
      h("figure", {}, h("img", { src: this.place + sample.key, alt: sample.prompt, loading: "lazy" }), h("figcaption", { title: sample.prompt }, sample.prompt))));
  }
}

function grouped(samples) {
  const by = new Map();
  for (const sample of samples) by.set(sample.step, [...(by.get(sample.step) ?? []), sample]);
  return by;
}
