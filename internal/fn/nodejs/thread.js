// A thread of the engine node: one realm of JavaScript with one bundle in it. It
// takes from the realm what would reach beyond it, runs the host module, and
// then what the supervisor asks for.
'use strict';
(() => {
  const { parentPort, workerData } = require('node:worker_threads');
  const vm = require('node:vm');
  const net = require('node:net');
  const http = require('node:http');
  const https = require('node:https');
  const { Duplex } = require('node:stream');
  const dgram = require('node:dgram');
  const dns = require('node:dns');
  const { isBuiltin } = require('node:module');
  const native = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate, console };
  const post = parentPort.postMessage.bind(parentPort);
  const { room, logRoom } = workerData;

  // ---- what reaches beyond ----

  // refused stands for what is not offered: it may be held and passed on, as
  // packages do when they are loaded, and throws when it is used.
  function refused(what, why) {
    const use = () => { throw Object.assign(new Error(`${what} is not possible in a function: ${why}`), { code: 'ERR_ACCESS_DENIED' }); };
    return new Proxy(function () {}, {
      get: (target, name) => (typeof name === 'symbol' ? undefined : name === 'prototype' ? target.prototype : name === '__esModule' ? false : refused(`${what}.${name}`, why)),
      apply: use, construct: use,
    });
  }
  const deny = (object, name, value) => Object.defineProperty(object, name, { value, configurable: false, writable: false });

  const network = 'it has no network of its own; use nango.get, nango.post …, fetch, or a package that speaks HTTP';
  for (const [object, what, names] of [
    [net.Socket.prototype, 'a connection', ['connect']],
    [net.Server.prototype, 'a server', ['listen']],
    [dgram.Socket.prototype, 'a datagram', ['bind', 'send', 'connect', 'addMembership']],
  ]) {
    for (const name of names) deny(object, name, refused(what, network));
  }
  for (const object of [dns, dns.promises]) {
    for (const name of Object.keys(object)) {
      if (/^(?:lookup|resolve|reverse|Resolver|setServers)/.test(name)) deny(object, name, refused(`dns.${name}`, network));
    }
  }
  const modules = {
    child_process: 'it has no processes', cluster: 'it has no processes', worker_threads: 'it has one thread', inspector: 'it is not debugged from within',
    'inspector/promises': 'it is not debugged from within', module: 'what it needs is in its bundle', v8: 'it does not change the engine', repl: 'it has no terminal',
    wasi: 'it has no files', trace_events: 'it is not traced from within',
  };
  const loaded = require;
  const offered = (name) => {
    const plain = String(name).replace(/^node:/, '');
    if (Object.hasOwn(modules, plain)) return refused(`the module ${plain}`, modules[plain]);
    if (!isBuiltin(name)) throw Object.assign(new Error(`Cannot find module '${name}'`), { code: 'MODULE_NOT_FOUND' });
    return loaded(name);
  };
  for (const name of ['kill', '_kill', 'abort', 'exit', 'reallyExit', 'binding', '_linkedBinding', 'dlopen', '_debugProcess', '_debugEnd', 'chdir', 'umask', 'setSourceMapsEnabled', 'execve', 'loadEnvFile']) {
    if (name in process) deny(process, name, refused(`process.${name}`, 'the process is not its own'));
  }
  deny(process, 'getBuiltinModule', offered);
  Object.defineProperty(globalThis, 'require', { value: offered, writable: true, configurable: true });
  // "module" leads to all modules.
  for (const name of ['module', 'exports', '__filename', '__dirname', 'WebSocket', 'EventSource', 'BroadcastChannel', 'MessageChannel', 'MessagePort']) delete globalThis[name];
  // The host module counts the failures that nobody sees; others are none.
  process.on('unhandledRejection', () => {});

  // ---- the host ----

  let limits;
  let ended = true;
  let asks = 0; // that have no answer yet
  let calls = 0;
  let inFlight = 0; // characters that wait for the host: they are in nobody's heap
  const sizes = new Map(); // of the asks
  const timers = new Set();

  const maxLogLine = 1 << 20;
  const failed = (text) => finish(false, text, true);
  function finish(ok, text, broken = false) {
    if (ended) return;
    ended = true;
    for (const t of timers) t.clear(t.handle);
    timers.clear();
    post({ type: 'end', ok, text, broken });
  }

  // cut has the run ended by a limit. The end comes from outside; what goes on
  // until then would do harm.
  function cut(why) {
    post({ type: 'limit', ...why });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  }

  globalThis.__sl_call = (id, method, args) => {
    if (ended) return true;
    calls++;
    inFlight += args.length;
    if (calls > limits.HostCalls || inFlight > limits.Memory) {
      cut({ name: calls > limits.HostCalls ? 'host_calls' : '' });
    }
    asks++;
    sizes.set(id, args.length);
    post({ type: 'ask', id, method, args });
    return false;
  };
  globalThis.__sl_timer = () => {};
  globalThis.__sl_log = (level, message, data) => {
    if (message.length > maxLogLine) message = message.slice(0, maxLogLine).toWellFormed();
    if (data.length > maxLogLine) data = '';
    const size = message.length + data.length + 64;
    // A flood waits for the pipe: what waits would pile up in the supervisor.
    while (Atomics.load(room, 0) > logRoom) Atomics.wait(room, 0, Atomics.load(room, 0), 100);
    Atomics.add(room, 0, size);
    post({ type: 'log', level, message, data, size });
  };
  globalThis.__sl_end = (ok, text) => finish(ok, text);

  vm.runInThisContext(workerData.host, { filename: 'nango' });
  const { run, settle } = globalThis.__syncline;

  // ---- HTTP of packages ----

  // What packages send with Node's http and https goes to the host, as what
  // nango.uncontrolledFetch sends does: a connection ends at a server in this
  // thread, which asks the host.
  const { fetch } = globalThis;
  class End extends Duplex {
    other;
    #written;
    _read() {
      const written = this.#written;
      this.#written = undefined;
      written?.();
    }
    _write(chunk, _, written) {
      if (this.other.destroyed || chunk.length === 0) return process.nextTick(written);
      this.other.#written = written;
      this.other.push(chunk);
    }
    _final(done) {
      this.other.push(null);
      done();
    }
    _destroy(error, done) {
      if (!this.other.destroyed) process.nextTick(() => this.other.destroy());
      done(error);
    }
    setKeepAlive() { return this; }
    setNoDelay() { return this; }
    setTimeout() { return this; }
    ref() { return this; }
    unref() { return this; }
  }
  const inner = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0, maxHeaderSize: 1 << 20 }, async (request, response) => {
    const { socket } = request;
    try {
      const parts = [];
      for await (const part of request) parts.push(part);
      const headers = { ...request.headers };
      for (const name of ['host', 'connection', 'keep-alive', 'content-length', 'transfer-encoding', 'accept-encoding', 'expect']) delete headers[name];
      const answer = await fetch(new URL(request.url, socket.origin).href, { method: request.method, headers, body: parts.length > 0 ? Buffer.concat(parts) : undefined });
      const body = Buffer.from(await answer.arrayBuffer());
      const left = [...answer.headers].filter(([name]) => !['connection', 'content-encoding', 'content-length', 'transfer-encoding'].includes(name.toLowerCase()));
      response.writeHead(answer.status, answer.statusText, [...left, ['content-length', String(body.length)], ['connection', 'close']].flat());
      response.end(body);
    } catch (e) {
      socket.other.destroy(Object.assign(new Error(e.message), { code: e.code ?? 'ECONNREFUSED' }));
    }
  });
  for (const [agent, scheme] of [[http.Agent, 'http'], [https.Agent, 'https']]) {
    agent.prototype.createConnection = (options) => {
      const near = new End(), far = new End();
      near.other = far;
      far.other = near;
      far.origin = `${scheme}://${options.host}:${options.port}`;
      inner.emit('connection', far);
      process.nextTick(() => near.emit(scheme === 'https' ? 'secureConnect' : 'connect'));
      return near;
    };
  }

  // Timers are Node's own, which packages rely upon; those of a run end with it.
  const maxTimers = 1000;
  function timed(start, clear, repeats) {
    return (callback, ...rest) => {
      if (typeof callback !== 'function') throw new TypeError('The "callback" argument must be of type function');
      if (timers.size >= maxTimers) cut({ name: 'timers', most: maxTimers });
      const timer = { clear, handle: undefined };
      timer.handle = start((...args) => {
        if (!repeats) timers.delete(timer);
        callback(...args);
      }, ...rest);
      timers.add(timer);
      byHandle.set(timer.handle, timer);
      return timer.handle;
    };
  }
  const byHandle = new WeakMap();
  const cleared = (clear) => (handle) => {
    if (handle !== null && typeof handle === 'object') timers.delete(byHandle.get(handle));
    clear(handle);
  };
  globalThis.setTimeout = timed(native.setTimeout, native.clearTimeout, false);
  globalThis.setInterval = timed(native.setInterval, native.clearInterval, true);
  globalThis.setImmediate = timed(native.setImmediate, native.clearImmediate, false);
  globalThis.clearTimeout = cleared(native.clearTimeout);
  globalThis.clearInterval = cleared(native.clearInterval);
  globalThis.clearImmediate = cleared(native.clearImmediate);
  globalThis.console = Object.assign(Object.create(native.console), globalThis.console);

  // idle notices a function that waits for what nothing can settle any more.
  let quiet = 0;
  native.setInterval(() => {
    const busy = ended || asks > 0 || timers.size > 0 || process.getActiveResourcesInfo().some((name) => name !== 'MessagePort' && name !== 'Timeout' && name !== 'TTYWrap' && name !== 'PipeWrap');
    quiet = busy ? 0 : quiet + 1;
    if (quiet > 3) {
      failed(JSON.stringify({ name: 'Error', message: 'the function waits for a promise that never settles: nothing is left that could settle it' }));
    }
  }, 25).unref();

  // ---- what the supervisor asks for ----

  function evaluate(source, filename) {
    const script = new vm.Script(source.text, { filename, cachedData: source.cached });
    script.runInThisContext();
    return source.cached && !script.cachedDataRejected ? undefined : script;
  }

  parentPort.on('message', (m) => {
    if (m.type === 'settle') {
      asks--;
      inFlight -= sizes.get(m.id) ?? 0;
      sizes.delete(m.id);
      if (!ended) settle(m.id, m.ok ? 'ok' : 'error', m.text);
      return;
    }
    limits = m.limits;
    ended = false;
    asks = calls = inFlight = quiet = 0;
    sizes.clear();
    if (m.bundle) {
      try {
        const library = m.library && evaluate(m.library, 'library.js');
        const bundle = evaluate(m.bundle, 'function.js');
        post({ type: 'loaded', bundle: bundle?.createCachedData(), library: library?.createCachedData() });
      } catch (e) {
        failed(JSON.stringify({ name: String(e?.name ?? 'Error'), message: String(e?.message ?? e), stack: String(e?.stack ?? '') }));
        return;
      }
    }
    run(m.entry, m.context, m.input);
  });
})();
