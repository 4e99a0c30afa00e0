// Node's modules path, querystring, events, string_decoder, timers and os, as far
// as they are pure.
(() => {
  'use strict';
  const { modules } = __syncline;

  // ---- path: the form of POSIX; the working directory is the root ----

  const normalized = (path, absolute) => {
    const out = [];
    for (const part of path.split('/')) {
      if (part === '' || part === '.') continue;
      if (part !== '..') out.push(part);
      else if (out.length > 0 && out[out.length - 1] !== '..') out.pop();
      else if (!absolute) out.push('..');
    }
    return out.join('/');
  };
  const mustBeText = (name, v) => {
    if (typeof v !== 'string') throw Object.assign(new TypeError(`The "${name}" argument must be of type string. Received ${v === null ? 'null' : typeof v}`), { code: 'ERR_INVALID_ARG_TYPE' });
  };
  const path = {
    sep: '/', delimiter: ':',
    normalize: (p) => {
      mustBeText('path', p);
      if (p === '') return '.';
      const absolute = p.startsWith('/');
      let out = normalized(p, absolute);
      if (out === '' && !absolute) out = '.';
      if (out !== '' && p.endsWith('/')) out += '/';
      return (absolute ? '/' : '') + (absolute && out === '/' ? '' : out);
    },
    isAbsolute: (p) => { mustBeText('path', p); return p.startsWith('/'); },
    join: (...parts) => {
      for (const p of parts) mustBeText('path', p);
      const all = parts.filter((p) => p !== '').join('/');
      return all === '' ? '.' : path.normalize(all);
    },
    resolve: (...parts) => {
      let out = '';
      for (let i = parts.length - 1; i >= 0 && !out.startsWith('/'); i--) {
        mustBeText('path', parts[i]);
        if (parts[i] !== '') out = out === '' ? parts[i] : `${parts[i]}/${out}`;
      }
      return '/' + normalized(out, true);
    },
    dirname: (p) => {
      mustBeText('path', p);
      const trimmed = p.replace(/\/+$/, '');
      if (trimmed === '') return p === '' ? '.' : '/';
      const at = trimmed.lastIndexOf('/');
      if (at < 0) return '.';
      return trimmed.slice(0, at).replace(/(?!^)\/+$/, '') || '/';
    },
    basename: (p, suffix) => {
      mustBeText('path', p);
      if (suffix !== undefined && suffix !== '' && suffix === p) return '';
      const base = p.replace(/\/+$/, '').split('/').pop() ?? '';
      return suffix !== undefined && suffix !== '' && base !== suffix && base.endsWith(suffix) ? base.slice(0, -suffix.length) : base;
    },
    extname: (p) => {
      const base = path.basename(p);
      const at = base.lastIndexOf('.');
      return at <= 0 || base === '..' ? '' : base.slice(at);
    },
    relative: (from, to) => {
      const a = path.resolve(from).split('/').filter(Boolean);
      const b = path.resolve(to).split('/').filter(Boolean);
      let i = 0;
      while (i < a.length && i < b.length && a[i] === b[i]) i++;
      return [...a.slice(i).map(() => '..'), ...b.slice(i)].join('/');
    },
    parse: (p) => {
      mustBeText('path', p);
      const root = p.startsWith('/') ? '/' : '';
      const base = path.basename(p);
      const ext = path.extname(p);
      const trimmed = p.replace(/\/+$/, '');
      const at = trimmed.lastIndexOf('/');
      return { root, dir: at < 0 ? '' : at === 0 ? '/' : trimmed.slice(0, at), base, ext, name: ext ? base.slice(0, -ext.length) : base };
    },
    format: (o) => {
      const base = o.base ?? `${o.name ?? ''}${o.ext ? (o.ext.startsWith('.') ? o.ext : `.${o.ext}`) : ''}`;
      const dir = o.dir || o.root;
      return !dir ? base : dir === o.root ? `${dir}${base}` : `${dir}/${base}`;
    },
    toNamespacedPath: (p) => p,
  };
  path.posix = path;
  modules.path = path;

  // ---- querystring ----

  const escape = (s) => encodeURIComponent(String(s).toWellFormed());
  const unescape = (s) => {
    try {
      return decodeURIComponent(s);
    } catch {
      const bytes = [];
      for (const m of s.matchAll(/%([0-9a-fA-F]{2})|([^])/gu)) {
        if (m[1] !== undefined) bytes.push(parseInt(m[1], 16));
        else bytes.push(...__syncline.utf8(m[2]));
      }
      return __syncline.unutf8(Uint8Array.from(bytes));
    }
  };
  const scalar = (v) => {
    switch (typeof v) {
      case 'string': return v;
      case 'number': return Number.isFinite(v) ? String(v) : '';
      case 'bigint': case 'boolean': return String(v);
      default: return '';
    }
  };
  const querystring = {
    escape, unescape,
    stringify: (o, sep = '&', eq = '=', options) => {
      if (o === null || typeof o !== 'object') return '';
      const encode = options?.encodeURIComponent ?? querystring.escape;
      const out = [];
      for (const [k, v] of Object.entries(o)) for (const item of Array.isArray(v) ? v : [v]) out.push(encode(k) + (eq || '=') + encode(scalar(item)));
      return out.join(sep || '&');
    },
    parse: (text, sep = '&', eq = '=', options) => {
      const out = Object.create(null);
      if (typeof text !== 'string' || text === '') return out;
      const decode = options?.decodeURIComponent ?? querystring.unescape;
      const most = options?.maxKeys ?? 1000;
      let parts = text.split(sep || '&');
      if (most > 0) parts = parts.slice(0, most);
      for (const part of parts) {
        if (part === '') continue;
        const i = part.indexOf(eq || '=');
        const k = decode((i < 0 ? part : part.slice(0, i)).replace(/\+/g, ' '));
        const v = i < 0 ? '' : decode(part.slice(i + (eq || '=').length).replace(/\+/g, ' '));
        if (!(k in out)) out[k] = v;
        else if (Array.isArray(out[k])) out[k].push(v);
        else out[k] = [out[k], v];
      }
      return out;
    },
  };
  querystring.encode = querystring.stringify;
  querystring.decode = querystring.parse;
  modules.querystring = querystring;

  // ---- events ----

  class EventEmitter {
    #listeners = new Map(); // name → [{ listener, once }]
    static defaultMaxListeners = 10;
    #add(name, listener, once, first) {
      if (typeof listener !== 'function') throw Object.assign(new TypeError('The "listener" argument must be of type function.'), { code: 'ERR_INVALID_ARG_TYPE' });
      if (this.#listeners.has('newListener')) this.emit('newListener', name, listener);
      const list = this.#listeners.get(name) ?? [];
      this.#listeners.set(name, first ? [{ listener, once }, ...list] : [...list, { listener, once }]);
      return this;
    }
    on(name, listener) { return this.#add(name, listener, false, false); }
    addListener(name, listener) { return this.#add(name, listener, false, false); }
    once(name, listener) { return this.#add(name, listener, true, false); }
    prependListener(name, listener) { return this.#add(name, listener, false, true); }
    prependOnceListener(name, listener) { return this.#add(name, listener, true, true); }
    off(name, listener) {
      const list = this.#listeners.get(name) ?? [];
      const i = list.findLastIndex((l) => l.listener === listener);
      if (i < 0) return this;
      const rest = list.toSpliced(i, 1);
      if (rest.length > 0) this.#listeners.set(name, rest);
      else this.#listeners.delete(name);
      if (this.#listeners.has('removeListener')) this.emit('removeListener', name, listener);
      return this;
    }
    removeListener(name, listener) { return this.off(name, listener); }
    removeAllListeners(name) {
      if (name === undefined) this.#listeners.clear();
      else this.#listeners.delete(name);
      return this;
    }
    emit(name, ...args) {
      const list = this.#listeners.get(name);
      if (!list) {
        if (name !== 'error') return false;
        if (args[0] instanceof Error) throw args[0];
        throw Object.assign(new Error(`Unhandled error. (${typeof args[0] === 'string' ? `'${args[0]}'` : String(args[0])})`), { code: 'ERR_UNHANDLED_ERROR', context: args[0] });
      }
      for (const l of list) {
        if (l.once) this.off(name, l.listener);
        l.listener.apply(this, args);
      }
      return true;
    }
    listenerCount(name) { return this.#listeners.get(name)?.length ?? 0; }
    listeners(name) { return (this.#listeners.get(name) ?? []).map((l) => l.listener); }
    rawListeners(name) { return this.listeners(name); }
    eventNames() { return [...this.#listeners.keys()]; }
    setMaxListeners() { return this; }
    getMaxListeners() { return EventEmitter.defaultMaxListeners; }
  }
  const once = (emitter, name) => new Promise((resolve, reject) => {
    const failed = (e) => { emitter.off(name, came); reject(e); };
    const came = (...args) => { if (name !== 'error') emitter.off('error', failed); resolve(args); };
    emitter.once(name, came);
    if (name !== 'error') emitter.once('error', failed);
  });
  async function* on(emitter, name) {
    const arrived = [];
    let wake = () => {};
    let error;
    const came = (...args) => { arrived.push(args); wake(); };
    const failed = (e) => { error = e; wake(); };
    emitter.on(name, came);
    if (name !== 'error') emitter.on('error', failed);
    try {
      for (;;) {
        while (arrived.length > 0) yield arrived.shift();
        if (error !== undefined) throw error;
        await new Promise((resolve) => { wake = resolve; });
      }
    } finally {
      emitter.off(name, came);
      emitter.off('error', failed);
    }
  }
  modules.events = Object.assign(EventEmitter, { EventEmitter, once, on, errorMonitor: Symbol('events.errorMonitor'), listenerCount: (e, name) => e.listenerCount(name) });

  // ---- string_decoder ----

  class StringDecoder {
    #decoder;
    #rest = '';
    constructor(encoding = 'utf8') {
      this.encoding = String(encoding).toLowerCase().replace('utf-8', 'utf8').replace(/^(?:ucs-?2|utf-16le)$/, 'utf16le');
      if (this.encoding === 'utf8') this.#decoder = new TextDecoder('utf-8', { ignoreBOM: true });
      else if (this.encoding === 'utf16le') this.#decoder = new TextDecoder('utf-16le', { ignoreBOM: true });
    }
    write(bytes) {
      if (typeof bytes === 'string') return bytes;
      if (this.#decoder) return this.#decoder.decode(bytes, { stream: true });
      if (!this.encoding.startsWith('base64')) return Buffer.from(bytes).toString(this.encoding);
      // Three bytes are four characters.
      const all = Buffer.concat([Buffer.from(this.#rest, 'latin1'), bytes]);
      const whole = all.length - (all.length % 3);
      this.#rest = all.subarray(whole).toString('latin1');
      return all.subarray(0, whole).toString(this.encoding);
    }
    end(bytes) {
      let text = bytes === undefined ? '' : this.write(bytes);
      if (this.#decoder) text += this.#decoder.decode();
      else if (this.#rest !== '') text += Buffer.from(this.#rest, 'latin1').toString(this.encoding);
      this.#rest = '';
      return text;
    }
  }
  modules.string_decoder = { StringDecoder };

  // ---- timers ----

  const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } = globalThis;
  const sleep = (start, stop) => (ms, value, options) => new Promise((resolve, reject) => {
    const signal = options?.signal;
    if (signal?.aborted) return reject(signal.reason);
    const id = start(() => resolve(value), ms);
    signal?.addEventListener('abort', () => { stop(id); reject(signal.reason); });
    return undefined;
  });
  const promises = {
    setTimeout: sleep(setTimeout, clearTimeout),
    setImmediate: (value, options) => sleep((f) => setImmediate(f), clearImmediate)(0, value, options),
    setInterval: async function* (ms, value) { for (;;) yield await promises.setTimeout(ms, value); },
    scheduler: { wait: (ms, options) => promises.setTimeout(ms, undefined, options), yield: () => promises.setImmediate() },
  };
  modules.timers = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate, promises };
  modules['timers/promises'] = promises;

  // ---- os: what does not tell where a function runs ----

  modules.os = { EOL: '\n', platform: () => 'linux', type: () => 'Linux', arch: () => 'x64', endianness: () => 'LE', tmpdir: () => '/tmp', constants: { signals: {}, errno: {} } };
})();
