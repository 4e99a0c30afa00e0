// The worker of the engine node: the main thread of a Node.js process. It speaks
// the protocol of package worker on standard input and output, runs each call in
// a thread of its own (thread.js), and ends threads that pass a limit. User code
// never runs in this thread, so it answers whatever functions do.
'use strict';
const { Worker } = require('node:worker_threads');

const kind = { hello: 1, run: 2, cancel: 3, ask: 4, answer: 5, log: 6, done: 7, ping: 8, pong: 9, setup: 10 };
const protocol = 2;
const maxFrame = 256 * 1024 * 1024;
const mib = 1024 * 1024;

const memoryLimit = Number(process.env.SYNCLINE_WORKER_MEMORY) || 0;
const exitMemory = 86;
const loadTime = 10_000; // milliseconds for the top level of a bundle
const warmThreads = 16; // that are kept idle
const warmCalls = 1000;
const warmAge = 600_000; // milliseconds
const maxSources = 500;
const logRoom = 4 * mib; // bytes of log lines that wait for the pipe, of one thread

// ---- frames ----

function write(type, run, parts, sent) {
  const length = parts.reduce((n, p) => n + p.length, 0);
  if (length > maxFrame) throw new RangeError(`a message of ${length} bytes between server and function; the limit is ${maxFrame}`);
  const head = Buffer.alloc(9);
  head[0] = type;
  head.writeUInt32BE(run, 1);
  head.writeUInt32BE(length, 5);
  process.stdout.write(length < 65536 ? Buffer.concat([head, ...parts]) : head);
  if (length >= 65536) for (const p of parts) process.stdout.write(p);
  if (sent) process.stdout.write('', sent);
}

const u32 = (n) => {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(n);
  return b;
};

let chunks = [];
let held = 0;
function take(n) {
  if (chunks.length > 1) chunks = [Buffer.concat(chunks)];
  const out = chunks[0].subarray(0, n);
  chunks[0] = chunks[0].subarray(n);
  held -= n;
  return out;
}
let head;
process.stdin.on('data', (chunk) => {
  chunks.push(chunk);
  held += chunk.length;
  for (;;) {
    if (!head) {
      if (held < 9) return;
      const b = take(9);
      head = { type: b[0], run: b.readUInt32BE(1), length: b.readUInt32BE(5) };
    }
    if (held < head.length) return;
    const frame = head;
    head = undefined;
    received(frame.type, frame.run, frame.length === 0 ? Buffer.alloc(0) : take(frame.length));
  }
});
// When the server is gone nothing that runs here matters.
process.stdin.on('end', () => process.exit(0));
process.stdin.on('error', () => process.exit(1));
process.stdout.on('error', () => process.exit(1));
const parent = process.ppid;
setInterval(() => { if (process.ppid !== parent) process.exit(1); }, 1000).unref();

function received(type, id, payload) {
  switch (type) {
    case kind.setup:
      setup = JSON.parse(payload.toString());
      for (const [early, p] of tooEarly.splice(0)) start(early, p);
      break;
    case kind.run:
      if (setup) start(id, payload);
      else tooEarly.push([id, payload]);
      break;
    case kind.cancel: {
      const run = runs.get(id);
      if (run) fail(run, { kind: 'coded', code: 'unavailable', message: 'the run was canceled' }, false);
      break;
    }
    case kind.answer: {
      const run = runs.get(id);
      const asked = run?.asks.get(payload.readUInt32BE(0));
      if (!asked) break;
      run.asks.delete(payload.readUInt32BE(0));
      asked(payload[4] === 0, payload.toString('utf8', 5));
      break;
    }
    case kind.ping: write(kind.pong, 0, []); break;
    default: process.exit(1);
  }
}

// ---- threads ----

let setup; // the sources of threads
const tooEarly = []; // runs that came before them
const runs = new Map(); // id → run
const sources = new Map(); // hash → { text, library, cached }
const warm = new Map(); // key → thread, oldest first
let spare; // a thread without a bundle

// A thread is one realm. It has a bundle from its first run on, and stays with it.
function makeThread(memory) {
  const room = new Int32Array(new SharedArrayBuffer(4)); // bytes of log lines under way
  const worker = new Worker(setup.thread, {
    eval: true, env: { TZ: 'UTC' }, stdout: true, stderr: true,
    workerData: { host: setup.host, room, logRoom },
    resourceLimits: { maxOldGenerationSizeMb: Math.max(16, Math.ceil(memory / mib)), maxYoungGenerationSizeMb: 16, stackSizeMb: 4 },
  });
  const thread = { worker, memory, room, made: Date.now(), calls: 0, run: undefined, key: '', dead: false };
  worker.on('message', (m) => said(thread, m));
  worker.on('error', (e) => died(thread, e));
  worker.on('messageerror', (e) => died(thread, e));
  worker.on('exit', () => died(thread));
  for (const [stream, level] of [[worker.stdout, 'info'], [worker.stderr, 'warn']]) {
    stream.setEncoding('utf8');
    stream.on('data', (text) => {
      if (thread.run) logged(thread.run, level, text.trimEnd(), '', 0);
    });
  }
  return thread;
}

function end(thread) {
  if (thread.dead) return;
  thread.dead = true;
  if (warm.get(thread.key) === thread) warm.delete(thread.key);
  if (spare === thread) spare = undefined;
  void thread.worker.terminate();
}

function takeThread(run) {
  const known = run.key && warm.get(run.key);
  if (known) {
    warm.delete(run.key);
    return known;
  }
  let thread = spare;
  spare = undefined;
  if (thread && thread.memory !== run.limits.Memory) {
    end(thread);
    thread = undefined;
  }
  thread ??= makeThread(run.limits.Memory);
  // The next one is made while this one works.
  setImmediate(() => { spare ??= makeThread(run.limits.Memory); });
  return thread;
}

function keep(thread, key) {
  if (thread.dead || !key || warm.has(key) || thread.calls >= warmCalls || Date.now() - thread.made > warmAge) return end(thread);
  thread.key = key;
  warm.set(key, thread);
  if (warm.size > warmThreads) end(warm.values().next().value);
}

// died tells why a thread has ended by itself.
function died(thread, e) {
  const { run } = thread;
  end(thread);
  if (!run) return;
  if (e?.code === 'ERR_WORKER_OUT_OF_MEMORY') return fail(run, memoryError(run));
  const error = e instanceof Error ? e : undefined;
  fail(run, {
    kind: 'script', name: typeof error?.name === 'string' ? error.name : 'Error',
    message: error ? error.message : e === undefined ? 'the function ended its own thread' : `the function threw ${String(e)}`, stack: ownFrames(error?.stack),
  });
}

// ownFrames is a stack less what is not of the bundle.
function ownFrames(stack) {
  const out = [];
  for (const line of String(stack ?? '').split('\n')) {
    const m = /^\s*at (?:async )?(?:(.*) \()?function\.js:(\d+):(\d+)\)?$/.exec(line);
    if (m) out.push(`    at ${m[1] ?? '<anonymous>'} (function.js:${m[2]}:${m[3]})`);
  }
  return out.join('\n');
}

// ---- runs ----

function start(id, payload) {
  const length = payload.readUInt32BE(0);
  const head = JSON.parse(payload.toString('utf8', 4, 4 + length));
  const run = {
    id, head, limits: head.limits, input: payload.toString('utf8', 4 + length), key: head.warmKey ? `${head.warmKey}\0${head.bundleHash}\0${head.limits.Memory}` : '',
    asks: new Map(), lastAsk: 0, thread: undefined, began: Date.now(), loaded: false, active: undefined, lines: 0,
  };
  runs.set(id, run);
  watch();
  begin(run).catch((e) => fail(run, e?.wire ?? { kind: 'coded', code: 'internal', message: `the worker cannot start a run: ${e?.message ?? e}` }));
}

async function begin(run) {
  const bundle = await sourceOf(run, run.head.bundleHash, '');
  const library = bundle.library ? await sourceOf(run, bundle.library, JSON.stringify(bundle.library)) : undefined;
  if (!runs.has(run.id)) return;
  const thread = run.thread = takeThread(run);
  thread.run = run;
  thread.calls++;
  run.began = Date.now();
  const message = { type: 'run', entry: run.head.entry, context: JSON.stringify(run.head.context), input: run.input, limits: run.limits };
  run.loaded = thread.calls > 1;
  if (!run.loaded) {
    message.bundle = { text: bundle.text, cached: bundle.cached };
    message.library = library && { text: library.text, cached: library.cached };
  }
  run.base = thread.worker.performance.eventLoopUtilization().active;
  if (run.input.length > run.limits.Memory / 2) return fail(run, memoryError(run));
  thread.worker.postMessage(message);
}

// sourceOf is a bundle or library; the server is asked for those that are not here.
async function sourceOf(run, hash, args) {
  let s = sources.get(hash);
  if (!s) {
    const text = await new Promise((resolve, reject) => ask(run, '$bundle', args, (ok, t) => (ok ? resolve(t) : reject(Object.assign(new Error('no bundle'), { wire: wireOf(t) })))));
    const named = args === '' ? /^\/\/# syncline-library=([0-9a-f]{64})\n/.exec(text) : null;
    s = { text, library: named?.[1], cached: undefined };
    if (sources.size >= maxSources) sources.delete(sources.keys().next().value);
    sources.set(hash, s);
  }
  return s;
}

function wireOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { kind: 'coded', code: 'internal', message: text };
  }
}

function ask(run, method, args, answered) {
  const id = ++run.lastAsk;
  run.asks.set(id, answered);
  const name = Buffer.from(method);
  try {
    write(kind.ask, run.id, [u32(id), Buffer.from([name.length]), name, Buffer.from(args)]);
  } catch (e) {
    run.asks.delete(id);
    answered(false, JSON.stringify({ kind: 'coded', code: 'too_large', message: e.message }));
  }
}

// said handles what a thread says.
function said(thread, m) {
  const { run } = thread;
  if (!run) return;
  switch (m.type) {
    case 'loaded':
      run.loaded = true;
      for (const [hash, cached] of [[run.head.bundleHash, m.bundle], [sources.get(run.head.bundleHash)?.library, m.library]]) {
        const s = hash && cached && sources.get(hash);
        if (s) s.cached ??= cached;
      }
      break;
    case 'ask': {
      ask(run, m.method, m.args, (ok, text) => {
        if (!ok) {
          const w = wireOf(text);
          text = JSON.stringify(w.kind === 'host' ? { name: w.name, message: w.message, code: w.code, netCode: w.netCode } : { message: w.message, code: w.code });
        }
        // A thread whose heap a text does not fit into takes the process with it.
        if (text.length > run.limits.Memory / 2) fail(run, memoryError(run));
        else thread.worker.postMessage({ type: 'settle', id: m.id, ok, text });
      });
      break;
    }
    case 'limit': // that the thread has noticed
      if (m.name === 'host_calls') {
        return fail(run, limit('host_calls', `the run made more than ${run.limits.HostCalls} host calls`, 'look for an endless loop, and save records in batches'));
      }
      if (m.name === 'timers') return fail(run, limit('', `the run has more than ${m.most} timers`, 'look for an endless loop around setTimeout'));
      return fail(run, limit('', `the run has host calls of more than ${Math.floor(run.limits.Memory / mib)} MiB under way`, 'await every call, or raise --run-memory-limit'));
    case 'log': logged(run, m.level, m.message, m.data, m.size); break;
    case 'end': {
      if (!m.ok) {
        const e = JSON.parse(m.text);
        return fail(run, {
          kind: 'script', name: e.name, message: e.message, stack: ownFrames(e.stack), payload: e.payload, code: e.hostCode, status: e.status, upstream: e.upstream,
        }, !m.broken);
      }
      const value = Buffer.from(m.text);
      if (value.length > run.limits.Output) {
        return fail(run, limit('output', `the function returned ${value.length} bytes; the limit is ${run.limits.Output}`), true);
      }
      finish(run, Buffer.from([0]), value, true);
      break;
    }
  }
}

function logged(run, level, message, data, size) {
  const release = () => {
    if (size === 0 || !run.thread) return;
    Atomics.sub(run.thread.room, 0, size);
    Atomics.notify(run.thread.room, 0);
  };
  // The host counts what is dropped; a flood is not carried over the pipe.
  if (++run.lines > 10 * run.limits.LogLines) return release();
  const line = { at: new Date().toISOString(), level, message };
  let text = JSON.stringify(line);
  if (data) text = text.slice(0, -1) + ',"data":' + data + '}';
  write(kind.log, run.id, [Buffer.from(text)], release);
}

const limit = (field, message, hint) => ({ kind: 'coded', code: 'limit_exceeded', field, message, hint });
const memoryError = (run) => limit('memory', `the run used more than its ${Math.floor(run.limits.Memory / mib)} MiB of memory`, 'save records page by page instead of collecting them, or raise --run-memory-limit');

// fail ends a run with an error. Its thread is kept only when whole is true:
// otherwise its state is unknown.
function fail(run, wire, whole = false) {
  finish(run, Buffer.from([1]), Buffer.from(JSON.stringify(wire)), whole);
}

function finish(run, outcome, value, whole) {
  if (!runs.delete(run.id)) return;
  const { thread } = run;
  if (thread) {
    thread.run = undefined;
    if (whole) keep(thread, run.key);
    else end(thread);
  }
  write(kind.done, run.id, [outcome, value]);
}

// ---- limits ----

const shown = (ns) => {
  const s = ns / 1e9;
  const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60, rest = Math.round((s % 60) * 1000) / 1000;
  return s < 1 ? `${Math.round(ns / 1e6)}ms` : `${h ? `${h}h` : ''}${h || m ? `${m}m` : ''}${rest}s`;
};

let watching;
function watch() {
  watching ??= setInterval(look, 25);
}

let over = 0; // for how many looks the process has had too much memory
function look() {
  const now = Date.now();
  let busiest;
  for (const run of runs.values()) {
    if (!run.thread) continue;
    const active = run.thread.worker.performance.eventLoopUtilization().active - run.base;
    run.recent = active - (run.active ?? 0);
    run.active = active;
    if (!busiest || run.recent > busiest.recent) busiest = run;
    if (!run.loaded && now - run.began > loadTime) {
      fail(run, limit('', `loading the bundle took longer than ${loadTime / 1000}s`, 'move work from the top level of the file into exec or onWebhook'));
    } else if (now - run.began > run.limits.Wall / 1e6) {
      fail(run, limit('wall', `the run took longer than ${shown(run.limits.Wall)}`, 'save checkpoints, so that the next run goes on from there, or raise the limit (--poll-wall-limit, --webhook-wall-limit)'));
    } else if (active > run.limits.CPU / 1e6) {
      fail(run, limit('cpu', `the run computed for longer than ${shown(run.limits.CPU)}`, 'waiting for external APIs is not counted; look for an endless loop or a slow regular expression, or raise --run-cpu-limit'));
    }
  }
  // Threads bound their heaps; buffers are outside of them.
  const used = process.memoryUsage.rss();
  if (memoryLimit > 0 && used > memoryLimit) {
    if (busiest && over++ === 0) fail(busiest, memoryError(busiest));
    else if (over++ > 40) process.exit(exitMemory);
  } else {
    over = 0;
  }
  if (runs.size === 0) {
    clearInterval(watching);
    watching = undefined;
  }
}

write(kind.hello, 0, [Buffer.from(JSON.stringify({ protocol }))]);
