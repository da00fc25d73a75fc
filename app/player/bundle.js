// Decodes the replay bundle that app/bundle.py makes.

const VIEWS = {
  uint8: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  float32: Float32Array,
};

/** A packed array {type, shape, base64} as {shape, values}; null stays null. */
export function unpack(packed) {
  if (!packed) return null;
  const text = atob(packed.base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return { shape: packed.shape, values: new VIEWS[packed.type](bytes.buffer) };
}

/** The bundle with every array unpacked, and for each frame the row of the window that ends there (-1 for none). */
export function decode(bundle) {
  const drive = {
    ...bundle,
    time: unpack(bundle.time_s).values,
    power: unpack(bundle.power).values,
    lowDb: bundle.power.low_db,
    stepDb: bundle.power.step_db,
    best: unpack(bundle.best_beam).values,
    rssi: unpack(bundle.rssi_db).values,
    measured: unpack(bundle.measured_m).values,
    truth: unpack(bundle.true_m)?.values ?? null,
    lineOfSight: unpack(bundle.line_of_sight)?.values ?? null,
    patterns: unpack(bundle.patterns),
    actors: null,
    predictions: null,
  };
  if (bundle.actors) {
    const kind = unpack(bundle.actors.kind);
    drive.actors = {
      classes: bundle.actors.classes,
      count: kind.shape[1],
      kind: kind.values,
      box: unpack(bundle.actors.box).values,
    };
  }
  if (bundle.predictions) {
    const t = unpack(bundle.predictions.t).values;
    const row = new Int32Array(bundle.frames).fill(-1);
    t.forEach((frame, i) => (row[frame] = i));
    drive.predictions = {
      model: bundle.predictions.model,
      part: bundle.predictions.part,
      row,
      trajectory: unpack(bundle.predictions.trajectory_m).values,
      top: unpack(bundle.predictions.top_beams).values,
      rssi: unpack(bundle.predictions.rssi_db).values,
      steps: 5,
    };
  }
  return drive;
}

/** Power [dB] of a beam in a frame. */
export function powerDb(drive, frame, beam) {
  return drive.lowDb + drive.stepDb * drive.power[frame * 64 + beam];
}

/** True position of the UE, or the measured one of a real recording; null where it is unknown. */
export function position(drive, frame) {
  const source = drive.truth ?? drive.measured;
  const x = source[2 * frame];
  return Number.isFinite(x) ? [x, source[2 * frame + 1]] : null;
}

/** What was predicted `step` frames (1 to 5) earlier for `frame`: {beams, rssi}, or null. */
export function predictedFor(drive, frame, step) {
  const p = drive.predictions;
  const row = p && frame - step >= 0 ? p.row[frame - step] : -1;
  if (row < 0) return null;
  const at = row * p.steps + step - 1;
  const beams = [...p.top.subarray(3 * at, 3 * at + 3)];
  return { beams: beams[0] < 0 ? [] : beams, rssi: p.rssi[at] };
}

/** The trajectory predicted at `frame`: up to five points, or []. */
export function predictedTrajectory(drive, frame) {
  const p = drive.predictions;
  const row = p ? p.row[frame] : -1;
  if (row < 0) return [];
  const points = [];
  for (let k = 0; k < p.steps; k++) {
    const at = 2 * (row * p.steps + k);
    if (Number.isFinite(p.trajectory[at])) points.push([p.trajectory[at], p.trajectory[at + 1]]);
  }
  return points;
}
