// Charts as SVG, without a library.

import { s } from "./elements.js";

const WIDTH = 460;
const HEIGHT = 170;
const LEFT = 50;
const RIGHT = 452;
const TOP = 10;
const BOTTOM = 144;

function figure(value) {
  return Math.abs(value) >= 0.001 || value === 0 ? value.toPrecision(3) : value.toExponential(1);
}

/** The loss over steps. `points`: [step, loss, smoothed loss]; `steps`: how many the run will have. */
export function lossChart(points, steps, label) {
  const chart = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "loss", role: "img", "aria-label": label });
  const losses = points.flatMap(([, loss, smooth]) => [loss, smooth]).filter(Number.isFinite);
  if (losses.length < 2) {
    chart.append(s("text", { x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "no step was logged yet"));
    return chart;
  }
  const low = Math.min(...losses);
  const high = Math.max(...losses);
  const first = Math.min(points[0][0], 1);
  const last = Math.max(steps, points[points.length - 1][0]);
  const x = (step) => LEFT + ((RIGHT - LEFT) * (step - first)) / (last - first || 1);
  const y = (loss) => BOTTOM - ((BOTTOM - TOP) * (loss - low)) / (high - low || 1);
  for (const value of [low, (low + high) / 2, high]) {
    chart.append(
      s("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: y(value), y2: y(value) }),
      s("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, figure(value)),
    );
  }
  for (const [step, anchor] of [[first, "start"], [Math.round(last / 2), "middle"], [last, "end"]]) {
    chart.append(s("text", { x: x(step), y: HEIGHT - 8, "text-anchor": anchor }, anchor === "start" ? `step ${step}` : `${step}`));
  }
  const line = (place) =>
    points
      .filter((point) => Number.isFinite(point[place]))
      .map((point) => `${x(point[0]).toFixed(1)},${y(point[place]).toFixed(1)}`)
      .join(" ");
  const smooth = line(2);
  const end = smooth.split(" ").pop().split(",");
  chart.append(
    s("polygon", { class: "area", points: `${smooth.split(",")[0]},${BOTTOM} ${smooth} ${end[0]},${BOTTOM}` }),
    s("polyline", { class: "raw", points: line(1) }),
    s("polyline", { class: "smooth", points: smooth }),
    s("circle", { class: "end", cx: end[0], cy: end[1], r: 4 }),
  );
  return chart;
}

/** The load of a GPU in the last minutes; `loads`: percents, null where it is unknown. */
export function loadChart(loads, label) {
  const chart = s("svg", { viewBox: "0 0 120 28", class: "load", preserveAspectRatio: "none", role: "img", "aria-label": label });
  const places = loads.map((load, index) => [120 - 2 * (loads.length - 1 - index), 27 - 0.26 * (load ?? 0)]);
  const line = places.map(([x, y]) => `${x},${y.toFixed(1)}`).join(" ");
  chart.append(s("line", { class: "grid", x1: 0, x2: 120, y1: 27.5, y2: 27.5 }));
  if (places.length > 1) {
    chart.append(
      s("polygon", { class: "area", points: `${places[0][0]},28 ${line} 120,28` }),
      s("polyline", { class: "smooth", points: line }),
    );
  }
  return chart;
}
