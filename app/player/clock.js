// Playback: which frame is shown at which moment. Knows nothing of drawing.

export const SPEEDS = [0.25, 0.5, 1, 2, 4];

export class Clock {
  constructor(time) {
    this.time = time;
    this.frame = 0;
    this.speed = 1;
    this.playing = false;
    this._anchor = null;
  }

  get last() {
    return this.time.length - 1;
  }

  /** Start, from the beginning when the end is reached. */
  play() {
    if (this.frame >= this.last) this.frame = 0;
    this.playing = this.last > 0;
    this._anchor = null;
  }

  pause() {
    this.playing = false;
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Show a frame; out of range is the nearest one. */
  seek(frame) {
    this.frame = Math.min(this.last, Math.max(0, Math.round(frame)));
    this._anchor = null;
  }

  /** Show the frame nearest to a time from the start [s]: frames need not be evenly spaced. */
  seekTime(seconds) {
    let nearest = 0;
    for (let k = 1; k <= this.last; k++) {
      if (Math.abs(this.time[k] - seconds) < Math.abs(this.time[nearest] - seconds)) nearest = k;
    }
    this.seek(nearest);
  }

  /** Pause and move by some frames. */
  step(frames) {
    this.pause();
    this.seek(this.frame + frames);
  }

  setSpeed(speed) {
    this.speed = speed;
    this._anchor = null;
  }

  /** Advance to a wall-clock moment [ms]; returns whether the frame changed. */
  tick(now) {
    if (!this.playing) return false;
    if (this._anchor === null) this._anchor = { now, time: this.time[this.frame] };
    const target = this._anchor.time + ((now - this._anchor.now) / 1000) * this.speed;
    const before = this.frame;
    while (this.frame < this.last && this.time[this.frame + 1] <= target) this.frame++;
    if (this.frame >= this.last) this.pause();
    return this.frame !== before;
  }
}
