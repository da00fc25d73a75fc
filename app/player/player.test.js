import assert from "node:assert/strict";
import test from "node:test";

import { decode, position, powerDb, predictedFor, predictedTrajectory } from "./bundle.js";
import { Clock } from "./clock.js";
import { extent, ticks } from "./draw.js";
import { describe, isDark } from "./player.js";

const pack = (array, shape, type) => ({ type, shape, base64: Buffer.from(array.buffer).toString("base64") });

function bundle() {
  const frames = 4;
  const power = new Uint8Array(frames * 64);
  power[64 + 7] = 255;
  return {
    name: "drive", frames, rate_hz: 10, power_unit: "dBW", boresight_rad: null, street: null, patterns: null,
    time_s: pack(Float32Array.from([0, 0.1, 0.2, 0.3]), [4], "float32"),
    power: { low_db: -80, step_db: 0.1, ...pack(power, [4, 64], "uint8") },
    best_beam: pack(Int16Array.from([0, 7, 0, -1]), [4], "int16"),
    rssi_db: pack(Float32Array.from([1, 2, 3, NaN]), [4], "float32"),
    measured_m: pack(Float32Array.from([0, 10, 1, 10, 2, 10, NaN, NaN]), [4, 2], "float32"),
    true_m: null, line_of_sight: null, actors: null,
    predictions: {
      model: "m", part: ["test"],
      t: pack(Int32Array.from([0]), [1], "int32"),
      trajectory_m: pack(Float32Array.from([1, 10, 2, 10, 3, 10, 4, 10, 5, 10]), [1, 5, 2], "float32"),
      top_beams: pack(Int16Array.from([7, 8, 9, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]), [1, 5, 3], "int16"),
      rssi_db: pack(Float32Array.from([2, 3, 4, 5, 6]), [1, 5], "float32"),
    },
  };
}

test("powers come back in dB", () => {
  const drive = decode(bundle());
  assert.equal(powerDb(drive, 0, 0), -80);
  assert.ok(Math.abs(powerDb(drive, 1, 7) + 54.5) < 1e-9);
});

test("an unknown position is null", () => {
  const drive = decode(bundle());
  assert.deepEqual(position(drive, 1), [1, 10]);
  assert.equal(position(drive, 3), null);
});

test("a prediction is found by the frame that it is for", () => {
  const drive = decode(bundle());
  assert.deepEqual(predictedFor(drive, 1, 1), { beams: [7, 8, 9], rssi: 2 });
  assert.deepEqual(predictedFor(drive, 2, 2).beams, [1, 2, 3]);
  assert.equal(predictedFor(drive, 1, 2), null);
  assert.equal(predictedFor(drive, 0, 1), null);
});

test("the predicted trajectory belongs to the last observed frame", () => {
  const drive = decode(bundle());
  assert.equal(predictedTrajectory(drive, 0).length, 5);
  assert.deepEqual(predictedTrajectory(drive, 1), []);
});

test("a frame is described with its units", () => {
  const drive = decode(bundle());
  assert.match(describe(drive, 1, 1), /frame 2 of 4 . 0\.10 s . best beam 7 . predicted 7 \(0\.00 dB lost\)/);
  assert.match(describe(drive, 0, 1), /position error 0\.00 m . test part/);
});

test("the clock plays in the time of the recording", () => {
  const clock = new Clock([0, 0.1, 0.2, 0.3]);
  clock.play();
  clock.tick(1000);
  assert.equal(clock.frame, 0);
  clock.tick(1110);
  assert.equal(clock.frame, 1);
  clock.setSpeed(2);
  clock.tick(2000);
  clock.tick(2120);
  assert.equal(clock.frame, 3);
  assert.equal(clock.playing, false);
  clock.play();
  assert.equal(clock.frame, 0);
});

test("steps and jumps stay inside the recording", () => {
  const clock = new Clock([0, 0.1, 0.2]);
  clock.step(-1);
  assert.equal(clock.frame, 0);
  clock.seek(99);
  assert.equal(clock.frame, 2);
  clock.step(-10);
  assert.equal(clock.frame, 0);
});

test("a moment on the time axis is the frame nearest to it, also where frames are unevenly spaced", () => {
  const clock = new Clock([0, 0.1, 5, 5.1]);
  clock.seekTime(2.4);
  assert.equal(clock.frame, 1);
  clock.seekTime(4);
  assert.equal(clock.frame, 2);
  clock.seekTime(99);
  assert.equal(clock.frame, 3);
});

test("ticks are round and inside", () => {
  assert.deepEqual(ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks(3, 3, 5), [3]);
});

test("the view holds the base station and the drive", () => {
  const box = extent(decode(bundle()));
  assert.ok(box.west < 0 && box.east > 2 && box.south < 0 && box.north > 10);
});

test("a dark page is told from a light one", () => {
  assert.ok(isDark("rgb(14, 17, 23)"));
  assert.ok(!isDark("rgb(255, 255, 255)"));
  assert.ok(!isDark("rgba(0, 0, 0, 0)"));
});
