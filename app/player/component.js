// The only file that knows Streamlit: mounts the player, anew whenever another drive is chosen.

import { mount } from "./player.js";

const mounted = new WeakMap();

export default function (component) {
  const { data, parentElement } = component;
  const before = mounted.get(parentElement);
  if (before?.key === data.key) return;
  before?.unmount();
  mounted.set(parentElement, { key: data.key, unmount: mount(parentElement, data.bundle) });
}
