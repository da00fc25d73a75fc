// Drawing on canvases: the street from above, the spectrum, the trace of RSSI. Units on every axis.

import { position, powerDb, predictedFor, predictedTrajectory } from "./bundle.js";

/** A canvas context in CSS pixels, cleared. */
function prepare(canvas) {
  const ratio = globalThis.devicePixelRatio || 1;
  const width = canvas.clientWidth || 300;
  const height = canvas.clientHeight || 150;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  g.font = "12px system-ui, sans-serif";
  return { g, width, height };
}

/** Round numbers between two values, about `count` of them. */
export function ticks(low, high, count) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * span; v += step) found.push(Number(v.toFixed(6)));
  return found;
}

/** The part of the world that a drive needs: base station, positions and predictions, with a margin. */
export function extent(drive) {
  let [west, south, east, north] = [0, 0, 0, 0];
  for (let frame = 0; frame < drive.frames; frame++) {
    const p = position(drive, frame);
    if (!p) continue;
    west = Math.min(west, p[0]);
    east = Math.max(east, p[0]);
    south = Math.min(south, p[1]);
    north = Math.max(north, p[1]);
  }
  const margin = 6 + 0.04 * Math.max(east - west, north - south);
  return { west: west - margin, south: south - margin, east: east + margin, north: north + margin };
}

function projection(box, width, height) {
  const scale = Math.min(width / (box.east - box.west), height / (box.north - box.south));
  const x0 = width / 2 - (scale * (box.east + box.west)) / 2;
  const y0 = height / 2 + (scale * (box.north + box.south)) / 2;
  return { scale, x: (east) => x0 + scale * east, y: (north) => y0 - scale * north };
}

function polygon(g, to, points) {
  g.beginPath();
  points.forEach(([x, y], i) => (i ? g.lineTo(to.x(x), to.y(y)) : g.moveTo(to.x(x), to.y(y))));
  g.closePath();
}

function line(g, points) {
  g.beginPath();
  points.forEach(([x, y], i) => (i ? g.lineTo(x, y) : g.moveTo(x, y)));
  g.stroke();
}

function dot(g, x, y, radius) {
  g.beginPath();
  g.arc(x, y, radius, 0, 2 * Math.PI);
  g.fill();
}

/** The lobe of a beam from the base station, from its pattern. */
function lobe(g, to, drive, beam, reach) {
  if (!drive.patterns || beam < 0 || drive.boresight_rad === null) return;
  const count = drive.patterns.shape[1];
  g.beginPath();
  g.moveTo(to.x(0), to.y(0));
  for (let i = 0; i < count; i++) {
    const angle = drive.boresight_rad + Math.PI * (i / (count - 1) - 0.5);
    const length = (reach * drive.patterns.values[beam * count + i]) / 255;
    g.lineTo(to.x(length * Math.cos(angle)), to.y(length * Math.sin(angle)));
  }
  g.closePath();
}

/** The street from above. */
export function drawStreet(canvas, drive, frame, step, colours) {
  const { g, width, height } = prepare(canvas);
  const to = projection((drive.extent ??= extent(drive)), width, height);
  if (drive.street) {
    g.fillStyle = colours.road;
    polygon(g, to, drive.street.road_m);
    g.fill();
    g.strokeStyle = colours.mark;
    g.lineWidth = 1;
    g.setLineDash([6, 8]);
    for (const mark of drive.street.lines_m) line(g, mark.map(([x, y]) => [to.x(x), to.y(y)]));
    g.setLineDash([]);
    g.fillStyle = colours.building;
    for (const building of drive.street.buildings) {
      polygon(g, to, building.corners_m);
      g.fill();
    }
  }
  const here = position(drive, frame);
  const reach = Math.min(60, Math.max(15, here ? 1.15 * Math.hypot(...here) : 0));
  g.globalAlpha = 0.3;
  g.fillStyle = colours.truth;
  lobe(g, to, drive, drive.best[frame], reach);
  g.fill();
  const guess = predictedFor(drive, frame, step);
  if (guess?.beams.length) {
    g.globalAlpha = 1;
    g.lineWidth = 1.5;
    g.strokeStyle = colours.prediction;
    lobe(g, to, drive, guess.beams[0], reach);
    g.stroke();
  }
  g.globalAlpha = 1;
  drawVehicles(g, to, drive, frame, colours);
  drawTrajectories(g, to, drive, frame, colours);
  g.fillStyle = colours.station;
  polygon(g, { x: (x) => to.x(0) + x, y: (y) => to.y(0) - y }, [[0, 9], [8, -6], [-8, -6]]);
  g.fill();
  g.fillText("base station", to.x(0) + 10, to.y(0) + 4);
  scaleBar(g, to, width, height, colours);
}

function drawVehicles(g, to, drive, frame, colours) {
  const actors = drive.actors;
  for (let i = 0; actors && i < actors.count; i++) {
    const at = frame * actors.count + i;
    if (actors.kind[at] < 0) continue;
    const [x, y, length, breadth, heading] = actors.box.subarray(5 * at, 5 * at + 5);
    g.save();
    g.translate(to.x(x), to.y(y));
    g.rotate(-heading);
    const [l, b] = [Math.max(5, length * to.scale), Math.max(3, breadth * to.scale)];
    g.fillStyle = i === 0 ? colours.ue : colours.vehicle;
    g.fillRect(-l / 2, -b / 2, l, b);
    g.fillStyle = colours.glass;
    g.fillRect(l / 2 - 0.3 * l, -0.36 * b, 0.14 * l, 0.72 * b);
    g.restore();
  }
}

function drawTrajectories(g, to, drive, frame, colours) {
  const here = position(drive, frame);
  const path = [];
  for (let k = Math.max(0, frame - 20); k <= frame; k++) {
    const p = position(drive, k);
    if (p) path.push([to.x(p[0]), to.y(p[1])]);
  }
  g.lineWidth = 2;
  g.strokeStyle = colours.truth;
  line(g, path);
  if (!drive.actors && here) {
    g.fillStyle = colours.ue;
    dot(g, to.x(here[0]), to.y(here[1]), 6);
  }
  for (let k = 1; k <= 5 && frame + k < drive.frames; k++) {
    const p = position(drive, frame + k);
    if (!p) continue;
    g.globalAlpha = 1 - 0.13 * k;
    g.lineWidth = 1.5;
    g.strokeStyle = colours.truth;
    g.beginPath();
    g.arc(to.x(p[0]), to.y(p[1]), 5, 0, 2 * Math.PI);
    g.stroke();
  }
  predictedTrajectory(drive, frame).forEach((p, k) => {
    g.globalAlpha = 1 - 0.13 * (k + 1);
    g.fillStyle = colours.prediction;
    dot(g, to.x(p[0]), to.y(p[1]), 3.5);
  });
  g.globalAlpha = 1;
}

function scaleBar(g, to, width, height, colours) {
  const metres = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((m) => m * to.scale > 60) ?? 1000;
  g.strokeStyle = g.fillStyle = colours.text;
  g.lineWidth = 2;
  line(g, [[width - 16 - metres * to.scale, height - 14], [width - 16, height - 14]]);
  g.textAlign = "right";
  g.fillText(`${metres} m`, width - 16, height - 20);
  g.textAlign = "left";
  g.fillText("N \u2191", 12, 18);
}

/** Axes of a chart; returns the map from values to pixels. */
function axes(g, width, height, x, y, colours) {
  const [left, right, top, bottom] = [50, 12, 12, 34];
  const toX = (v) => left + ((v - x.low) / (x.high - x.low || 1)) * (width - left - right);
  const toY = (v) => height - bottom - ((v - y.low) / (y.high - y.low || 1)) * (height - top - bottom);
  g.strokeStyle = colours.grid;
  g.fillStyle = colours.text;
  g.lineWidth = 1;
  g.textAlign = "right";
  for (const v of ticks(y.low, y.high, 5)) {
    line(g, [[left, toY(v)], [width - right, toY(v)]]);
    g.fillText(String(v), left - 6, toY(v) + 4);
  }
  g.textAlign = "center";
  for (const v of ticks(x.low, x.high, 8)) g.fillText(String(v), toX(v), height - bottom + 14);
  g.fillText(x.label, (left + width - right) / 2, height - 4);
  g.save();
  g.translate(12, (top + height - bottom) / 2);
  g.rotate(-Math.PI / 2);
  g.fillText(y.label, 0, 0);
  g.restore();
  g.textAlign = "left";
  return { toX, toY, left, top, bottom: height - bottom, right: width - right };
}

/** Power of the 64 beams in this frame, with the true best and the predicted beams. */
export function drawSpectrum(canvas, drive, frame, step, colours) {
  const { g, width, height } = prepare(canvas);
  const high = drive.lowDb + 255 * drive.stepDb;
  const y = { low: drive.lowDb, high: high + 0.05 * (high - drive.lowDb), label: `power, ${drive.power_unit}` };
  const at = axes(g, width, height, { low: -0.5, high: 63.5, label: "beam" }, y, colours);
  const bar = Math.max(1, (at.right - at.left) / 64 - 1);
  const guess = predictedFor(drive, frame, step);
  if (drive.best[frame] < 0) {
    g.fillStyle = colours.text;
    g.fillText("no sweep in this frame", at.left + 12, at.top + 20);
    return;
  }
  for (let beam = 0; beam < 64; beam++) {
    g.fillStyle = beam === drive.best[frame] ? colours.truth : colours.bar;
    const top = at.toY(powerDb(drive, frame, beam));
    g.fillRect(at.toX(beam) - bar / 2, top, bar, at.bottom - top);
  }
  guess?.beams.forEach((beam, rank) => {
    g.strokeStyle = colours.prediction;
    g.lineWidth = rank ? 1.2 : 2.5;
    const top = at.toY(powerDb(drive, frame, beam));
    g.strokeRect(at.toX(beam) - bar / 2 - 1, top - 1, bar + 2, at.bottom - top + 1);
  });
}

/** RSSI over time, true and predicted, with the cursor. */
export function drawRssi(canvas, drive, frame, step, colours) {
  const { g, width, height } = prepare(canvas);
  const known = [...drive.rssi].filter(Number.isFinite);
  const [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const margin = Math.max(0.2, 0.1 * (high - low));
  const x = { low: 0, high: drive.time[drive.frames - 1] || 1, label: "time, s" };
  const y = { low: low - margin, high: high + margin, label: `RSSI, ${drive.power_unit}` };
  const at = axes(g, width, height, x, y, colours);
  g.save();
  g.beginPath();
  g.rect(at.left, at.top, at.right - at.left, at.bottom - at.top);
  g.clip();
  const trace = (value, colour, thick) => {
    let points = [];
    g.strokeStyle = colour;
    g.lineWidth = thick;
    for (let k = 0; k < drive.frames; k++) {
      const v = value(k);
      if (Number.isFinite(v)) points.push([at.toX(drive.time[k]), at.toY(v)]);
      else {
        line(g, points);
        points = [];
      }
    }
    line(g, points);
  };
  trace((k) => drive.rssi[k], colours.truth, 2);
  trace((k) => predictedFor(drive, k, step)?.rssi ?? NaN, colours.prediction, 1.5);
  g.strokeStyle = colours.text;
  g.lineWidth = 1;
  line(g, [[at.toX(drive.time[frame]), at.top], [at.toX(drive.time[frame]), at.bottom]]);
  g.restore();
}
