// What of Node's process has nothing to do with the machine: no environment, no
// arguments. It is there only for bundles that speak of it.
(() => {
  'use strict';
  const began = Date.now();
  const hrtime = (since) => {
    const ms = Date.now() - began;
    const now = [Math.floor(ms / 1000), (ms % 1000) * 1e6];
    if (!since) return now;
    return now[1] < since[1] ? [now[0] - since[0] - 1, now[1] - since[1] + 1e9] : [now[0] - since[0], now[1] - since[1]];
  };
  hrtime.bigint = () => BigInt(Date.now() - began) * 1000000n;
  globalThis.process = {
    env: {}, argv: [], version: 'v20.0.0', versions: {}, platform: 'linux', cwd: () => '/', uptime: () => (Date.now() - began) / 1000, hrtime,
    emitWarning: (w) => console.warn(w), nextTick: (f, ...args) => queueMicrotask(() => f(...args)),
  };
  __syncline.modules.process = globalThis.process;
})();
