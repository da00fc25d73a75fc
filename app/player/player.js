// The player: canvases, controls and keys over one decoded bundle. Knows nothing of the page around it.

import { decode, position, powerDb, predictedFor, predictedTrajectory } from "./bundle.js";
import { Clock, SPEEDS } from "./clock.js";
import { drawRssi, drawSpectrum, drawStreet } from "./draw.js";

const LIGHT = {
  text: "#31333f", grid: "#e3e5ea", road: "#dcdee3", mark: "#ffffff", building: "#b4a999", vehicle: "#7b8794",
  glass: "#dfe6ee", ue: "#1f4fa3", station: "#31333f", truth: "#0072b2", prediction: "#d55e00", bar: "#b8c2cf",
};
const DARK = {
  text: "#e6e7eb", grid: "#2b2f38", road: "#262a33", mark: "#5a6170", building: "#5b5347", vehicle: "#8b95a3",
  glass: "#2b3240", ue: "#7db3ff", station: "#e6e7eb", truth: "#56b4e9", prediction: "#ff9d4d", bar: "#4a5362",
};
const HORIZONS = [1, 2, 3, 4, 5];

/** Whether a CSS colour is dark. */
export function isDark(colour) {
  const parts = (colour.match(/[\d.]+/g) ?? []).map(Number);
  if (parts.length < 3 || parts[3] === 0) return false;
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] < 128;
}

/** What the numbers line says of a frame. */
export function describe(drive, frame, step) {
  const parts = [`frame ${frame + 1} of ${drive.frames}`, `${drive.time[frame].toFixed(2)} s`];
  if (drive.lineOfSight) parts.push(drive.lineOfSight[frame] ? "line of sight" : "line of sight blocked");
  const best = drive.best[frame];
  if (best >= 0) parts.push(`best beam ${best}`);
  const guess = predictedFor(drive, frame, step);
  if (guess?.beams.length && best >= 0) {
    const lost = powerDb(drive, frame, best) - powerDb(drive, frame, guess.beams[0]);
    parts.push(`predicted ${guess.beams[0]} (${lost.toFixed(2)} dB lost)`);
  }
  const path = predictedTrajectory(drive, frame);
  const later = frame + step < drive.frames ? position(drive, frame + step) : null;
  if (path.length && later) {
    const error = Math.hypot(path[step - 1][0] - later[0], path[step - 1][1] - later[1]);
    parts.push(`position error ${error.toFixed(2)} m`);
  }
  const row = drive.predictions ? drive.predictions.row[frame] : -1;
  if (row >= 0) parts.push(`${drive.predictions.part[row]} part`);
  return parts.join(" \u00b7 ");
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function choice(label, values, chosen, text) {
  const select = element("select", { "aria-label": label });
  for (const value of values) {
    const option = element("option", { value }, text(value));
    if (value === chosen) option.selected = true;
    select.append(option);
  }
  return select;
}

function legend(drive) {
  const items = [
    ["truth", "measured: path driven, best beam, RSSI; rings: where the car will be"],
    ["ue", "the served car"],
  ];
  if (drive.predictions) items.splice(1, 0, ["prediction", "predicted: positions, beam (thin: second and third), RSSI"]);
  if (drive.actors) items.push(["vehicle", "other vehicles"]);
  if (drive.street) items.push(["building", "buildings"]);
  return items.map(([name, text]) => element("span", { class: "item" }, element("i", { "data-colour": name }), text));
}

/** Build the player inside `root` for a bundle; returns a function that removes it. */
export function mount(root, bundle) {
  const drive = decode(bundle);
  const clock = new Clock(drive.time);
  const seconds = 1 / drive.rate_hz;
  const street = element("canvas", { class: "street", role: "img", "aria-label": "street from above" });
  const spectrum = element("canvas", { class: "spectrum", role: "img", "aria-label": "power of 64 beams" });
  const rssi = element("canvas", { class: "rssi", role: "img", "aria-label": "RSSI over time" });
  const play = element("button", { "aria-label": "play", title: "space" }, "\u25b6");
  const back = element("button", { "aria-label": "step back", title: "left arrow" }, "\u2039");
  const forth = element("button", { "aria-label": "step forward", title: "right arrow" }, "\u203a");
  const slider = element("input", { type: "range", min: 0, max: clock.last, value: 0, "aria-label": "frame" });
  const speed = choice("speed", SPEEDS, 1, (v) => `${v}\u00d7`);
  const horizon = choice("horizon", HORIZONS, 1, (v) => `predicted ${(v * seconds).toFixed(1)} s before`);
  const numbers = element("div", { class: "numbers" });
  const box = element(
    "div",
    { class: "player", tabindex: 0 },
    element("div", { class: "views" }, street, spectrum),
    rssi,
    element("div", { class: "controls" }, back, play, forth, slider, speed, ...(drive.predictions ? [horizon] : [])),
    numbers,
    element("div", { class: "legend" }, ...legend(drive)),
  );
  root.append(box);

  let colours = LIGHT;
  let dirty = true;
  const redraw = () => (dirty = true);
  const act = (change) => () => {
    change();
    redraw();
  };
  play.onclick = act(() => clock.toggle());
  back.onclick = act(() => clock.step(-1));
  forth.onclick = act(() => clock.step(1));
  slider.oninput = act(() => clock.seek(Number(slider.value)));
  speed.onchange = act(() => clock.setSpeed(Number(speed.value)));
  horizon.onchange = redraw;
  const keys = {
    " ": () => clock.toggle(),
    ArrowLeft: () => clock.step(-1),
    ArrowRight: () => clock.step(1),
    Home: () => clock.seek(0),
    End: () => clock.seek(clock.last),
  };
  box.onkeydown = (event) => {
    const jump = event.shiftKey && event.key.startsWith("Arrow") ? 10 : 1;
    if (!(event.key in keys) || event.target.tagName === "SELECT") return;
    event.preventDefault();
    if (jump > 1) clock.step(event.key === "ArrowRight" ? jump : -jump);
    else keys[event.key]();
    redraw();
  };
  const seek = (event) => {
    const part = (event.offsetX - 50) / (rssi.clientWidth - 62);
    clock.seekTime(part * drive.time[clock.last]);
    redraw();
  };
  rssi.onpointerdown = seek;
  rssi.onpointermove = (event) => event.buttons && seek(event);

  const theme = () => {
    const page = getComputedStyle(document.querySelector(".stApp") ?? document.body).backgroundColor;
    colours = isDark(page) ? DARK : LIGHT;
    box.style.color = colours.text;
    for (const mark of box.querySelectorAll("i[data-colour]")) mark.style.background = colours[mark.dataset.colour];
    redraw();
  };
  const sizes = new ResizeObserver(redraw);
  for (const canvas of [street, spectrum, rssi]) sizes.observe(canvas);
  const themes = setInterval(theme, 1000);
  theme();

  let handle = 0;
  let shown = 0;
  const show = (now) => {
    handle = requestAnimationFrame(show);
    if (clock.tick(now)) dirty = true;
    if (!dirty) return;
    dirty = false;
    const step = Number(horizon.value);
    drawStreet(street, drive, clock.frame, step, colours);
    drawSpectrum(spectrum, drive, clock.frame, step, colours);
    drawRssi(rssi, drive, clock.frame, step, colours);
    numbers.textContent = describe(drive, clock.frame, step);
    slider.value = clock.frame;
    play.textContent = clock.playing ? "\u23f8" : "\u25b6";
    play.setAttribute("aria-label", clock.playing ? "pause" : "play");
    box.dataset.frame = clock.frame;
    box.dataset.shown = ++shown;
  };
  handle = requestAnimationFrame(show);
  return () => {
    cancelAnimationFrame(handle);
    clearInterval(themes);
    sizes.disconnect();
    box.remove();
  };
}
