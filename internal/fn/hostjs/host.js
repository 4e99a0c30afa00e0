// The JavaScript side of the host API. It runs before the bundle, in every
// context, and leaves three things behind:
//
//   __syncline.module          what `import … from 'nango'` resolves to
//   __syncline.run(...)        starts one call; the engine drives the event loop
//   __syncline.settle(...)     hands over the result of a host call or timer
//
// Only strings cross the boundary. The engine provides
//   __sl_call(id, method, args)     queues a host call; true: the run is over
//   __sl_timer(id, milliseconds)    starts a timer; -1 ends it
//   __sl_log(level, message, data)  adds a log line
//   __sl_end(ok, text)              ends the call
(() => {
  'use strict';
  const { __sl_call, __sl_timer, __sl_log, __sl_end } = globalThis;
  for (const name of ['__sl_call', '__sl_timer', '__sl_log', '__sl_end']) delete globalThis[name];

  // Intrinsics that user code could replace between two runs.
  const parse = JSON.parse;
  const stringify = JSON.stringify;

  let lastID = 0;
  const waiting = new Map(); // id → [resolve, reject, state]
  const timers = new Map(); // id → callback

  function ask(state, method, args) {
    if (!state.open) {
      return Promise.reject(new Error(`nango.${method} was called after the function had returned; await every call`));
    }
    state.pending++;
    const id = ++lastID;
    const p = new Promise((resolve, reject) => waiting.set(id, [resolve, reject, state]));
    if (__sl_call(id, method, stringify(args ?? {}))) state.open = false;
    return p;
  }

  function settle(id, kind, text) {
    if (kind === 'timer') {
      const callback = timers.get(id);
      timers.delete(id);
      if (callback) callback();
      return;
    }
    const entry = waiting.get(id);
    if (!entry) return;
    waiting.delete(id);
    const [resolve, reject, state] = entry;
    settled(state, 'pending');
    if (kind === 'ok') resolve(text === '' ? undefined : parse(text));
    else reject(hostError(parse(text)));
  }

  function hostError({ name, message, code, netCode }) {
    const e = new Error(message);
    if (name) e.name = name;
    if (netCode) e.code = netCode;
    mark(e, code, 0);
    return e;
  }

  // What an error has to do with the host is kept where user code does not see
  // it, so that the engine can tell the world's faults from the function's.
  const marks = new WeakMap();
  function mark(e, hostCode, status) {
    marks.set(e, { hostCode, status });
  }
  function markOf(e) {
    for (let i = 0; i < 10 && e !== null && typeof e === 'object'; i++, e = e.cause) {
      const m = marks.get(e);
      if (m) return m;
    }
    return undefined;
  }

  // HostPromise is what host calls return to user code. It knows whether
  // somebody looks at its outcome, since a failure that nobody sees must still
  // fail the run.
  class HostPromise extends Promise {
    static get [Symbol.species]() { return Promise; }
    #watch;
    constructor(executor, watch) {
      super(executor);
      this.#watch = watch;
    }
    then(onFulfilled, onRejected) {
      this.#watch.used = true;
      this.#watch.onRejected ??= onRejected;
      return super.then(onFulfilled, onRejected);
    }
  }

  // tracked makes a HostPromise of a host call's promise.
  function tracked(state, promise) {
    const watch = { used: false, onRejected: undefined };
    const site = new Error().stack;
    state.watched++;
    return new HostPromise((resolve, reject) => promise.then((v) => {
      settled(state, 'watched');
      resolve(v);
    }, (e) => {
      addSite(e, site);
      state.failures.push({ watch, error: e, late: state.draining });
      settled(state, 'watched');
      reject(e);
    }), watch);
  }

  // settled counts down what a call waits for before it ends.
  function settled(state, count) {
    state[count]--;
    if (idle(state) && state.drained) state.drained();
  }
  const idle = (state) => state.pending === 0 && state.queued === 0 && state.watched === 0;

  // addSite adds to an error of the host where user code made the call: the
  // error was made when the answer came, in nobody's code.
  function addSite(e, site) {
    if (marks.has(e) && typeof e.stack === 'string') e.stack = e.stack.trimEnd() + '\n' + site;
  }

  // unseen is a failure that the function does not know of: nobody looked at
  // it, or it came after the function had returned and no handler was given
  // for it. (Between the two lies what cannot be seen: a helper that awaits
  // the call and is not awaited itself, and fails before the function returns.)
  function unseen(state) {
    const isNative = (f) => typeof f !== 'function' || /\[native code\]\s*\}\s*$/.test(Function.prototype.toString.call(f));
    return state.failures.find(({ watch, late }) => !watch.used || (late && isNative(watch.onRejected)));
  }

  function describe(e) {
    if (e === null) return { name: 'Error', message: 'the function threw null', null: true };
    if (typeof e !== 'object') {
      const shown = text(e);
      // No value of a script's: QuickJS had no memory left to make the error.
      return { name: 'Error', message: `the function threw ${shown}`, null: shown === '[unsupported type]' || undefined };
    }
    const m = markOf(e) ?? {};
    let payload;
    if (e.name === 'ActionError') payload = e.payload;
    let message = e.message;
    if (typeof message !== 'string' || message === '') message = e.type && typeof e.type === 'string' ? e.type : text(e);
    return {
      name: typeof e.name === 'string' ? e.name : 'Error', message, stack: typeof e.stack === 'string' ? e.stack : '',
      payload, hostCode: m.hostCode, status: m.status, upstream: upstreamOf(e),
    };
  }

  // upstreamOf is the answer that an axios error carries, as callers of actions
  // get it: its body as an object, bounded.
  function upstreamOf(e) {
    const r = e.isAxiosError === true ? e.response : undefined;
    if (r === null || typeof r !== 'object' || !Number.isInteger(r.status)) return undefined;
    const headers = {};
    for (const [name, v] of Object.entries(r.headers ?? {})) {
      const key = name.toLowerCase();
      if (key === 'content-type' || key.startsWith('x-rate')) headers[key] = String(v);
    }
    let body = r.data;
    let written;
    try {
      written = stringify(body);
    } catch {
      written = undefined;
    }
    if (written === undefined || body === '') body = {};
    else if (written.length > 65536) body = { message: `${written.slice(0, 4096)}… (${written.length} characters)` };
    else if (typeof body !== 'object' || body === null) body = { message: body };
    return { status: r.status, headers, body };
  }

  function text(v) {
    if (typeof v === 'string') return v;
    if (v instanceof Error) return v.stack ? `${v.name}: ${v.message}\n${v.stack}` : `${v.name}: ${v.message}`;
    try {
      return stringify(v) ?? String(v);
    } catch {
      return String(v);
    }
  }

  function log(level, values) {
    const [first, ...rest] = values;
    let data = '';
    if (typeof first === 'object' && first !== null && !(first instanceof Error)) {
      try {
        data = stringify(first);
      } catch {
        data = '';
      }
    }
    __sl_log(level, [first, ...rest].map(text).join(' '), data);
  }

  // ---- HTTP ----

  function encodeParams(params) {
    if (params === undefined || params === null) return '';
    if (typeof params === 'string') return params.replace(/^\?/, '');
    if (typeof URLSearchParams === 'function' && params instanceof URLSearchParams) return params.toString();
    const out = [];
    const put = (name, v) => out.push(`${encodeURIComponent(name)}=${encodeURIComponent(v)}`);
    const add = (name, v) => {
      if (v === undefined || v === null) return;
      // Lists are joined, as Nango's proxy does; what an API wants otherwise is
      // written as a string.
      if (Array.isArray(v)) put(name, v.map((item) => (item instanceof Date ? item.toISOString() : item ?? '')).join(','));
      else if (v instanceof Date) put(name, v.toISOString());
      else if (typeof v === 'object') for (const [k, item] of Object.entries(v)) add(`${name}[${k}]`, item);
      else put(name, v);
    };
    for (const [name, v] of Object.entries(params)) add(name, v);
    return out.join('&');
  }

  // withoutNames is an endpoint less the query parameters that params has too:
  // what is said beside an endpoint replaces what it says itself.
  function withoutNames(endpoint, params) {
    const at = endpoint.indexOf('?');
    if (at < 0 || params === undefined || params === null || typeof params !== 'object') return endpoint;
    const names = new Set();
    const given = typeof params.keys === 'function' ? [...params.entries()] : Object.entries(params);
    for (const [name, v] of given) if (v !== undefined && v !== null) names.add(name);
    const left = endpoint.slice(at + 1).split('&').filter((part) => {
      const name = part.split('=', 1)[0].replace(/\+/g, ' ');
      try {
        return !names.has(decodeURIComponent(name));
      } catch {
        return !names.has(name);
      }
    });
    return endpoint.slice(0, at) + (left.length > 0 ? '?' + left.join('&') : '');
  }

  // encodeForm is an object as a form, as axios makes it.
  function encodeForm(data) {
    const out = [];
    const encode = (v) => encodeURIComponent(v).replace(/%20/g, '+').replace(/[!'()~]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());
    const put = (name, v) => out.push(`${encode(name)}=${encode(v instanceof Date ? v.toISOString() : v)}`);
    const nested = (v) => typeof v === 'object' && v !== null && !(v instanceof Date);
    const add = (name, v, top) => {
      if (v === undefined || v === null) return;
      if (!nested(v)) put(name, v);
      else if (ArrayBuffer.isView(v)) put(name, base64(v));
      else if (top && Array.isArray(v) && !v.some(nested)) for (const item of v) add(name.endsWith('[]') ? name : `${name}[]`, item);
      else for (const [k, item] of Object.entries(v)) add(`${name}[${k}]`, item);
    };
    for (const [name, v] of Object.entries(data)) add(name, v, true);
    return out.join('&');
  }

  const viewOf = (v) => (v instanceof ArrayBuffer ? new Uint8Array(v) : new Uint8Array(v.buffer, v.byteOffset, v.byteLength));
  const base64 = (v) => (__syncline.base64 ?? ((b) => Buffer.from(b).toString('base64')))(viewOf(v));
  const unbase64 = (text) => (__syncline.unbase64 ?? ((t) => new Uint8Array(Buffer.from(t, 'base64'))))(text);
  const isBytes = (v) => v instanceof ArrayBuffer || ArrayBuffer.isView(v);
  const isBlob = (v) => v !== null && typeof v === 'object' && typeof v.arrayBuffer === 'function' && typeof v.size === 'number';
  const isForm = (v) => v !== null && typeof v === 'object' && v[Symbol.toStringTag] === 'FormData' && typeof v.entries === 'function';

  // multipart is a form of fields and files as a request body. Fields that are
  // bytes have no file name unless one was given.
  async function multipart(entries) {
    const boundary = '----syncline' + Array.from({ length: 4 }, () => Math.random().toString(36).slice(2, 10).padEnd(8, '0')).join('');
    const quote = (v) => String(v).replace(/\r\n?|\n/g, '%0D%0A').replace(/"/g, '%22');
    const encoder = new TextEncoder();
    const chunks = [];
    for (const [name, v] of entries) {
      const file = isBlob(v) ? `; filename="${quote(typeof v.name === 'string' ? v.name : 'blob')}"` : '';
      const type = isBlob(v) ? v.type || 'application/octet-stream' : isBytes(v) ? 'application/octet-stream' : '';
      chunks.push(encoder.encode(`--${boundary}\r\nContent-Disposition: form-data; name="${quote(name)}"${file}\r\n${type ? `Content-Type: ${type}\r\n` : ''}\r\n`));
      if (isBlob(v)) chunks.push(new Uint8Array(await v.arrayBuffer()));
      else if (isBytes(v)) chunks.push(viewOf(v));
      else chunks.push(encoder.encode(typeof v === 'object' && v !== null && !(v instanceof Date) ? stringify(v) : String(v)));
      chunks.push(encoder.encode('\r\n'));
    }
    chunks.push(encoder.encode(`--${boundary}--\r\n`));
    const all = new Uint8Array(chunks.reduce((n, c) => n + c.length, 0));
    let at = 0;
    for (const c of chunks) {
      all.set(c, at);
      at += c.length;
    }
    return { body: base64(all), bodyEncoding: 'base64', contentType: `multipart/form-data; boundary=${boundary}` };
  }

  const headerOf = (headers, name) => {
    for (const [k, v] of Object.entries(headers ?? {})) if (k.toLowerCase() === name) return String(v);
    return '';
  };
  const withoutHeader = (headers, name) => {
    for (const k of Object.keys(headers)) if (k.toLowerCase() === name) delete headers[k];
  };

  // encodeBody is a body as it is sent, by its kind and its content type, as axios
  // does it. It takes a content type without a boundary from headers.
  function encodeBody(data, headers) {
    if (data === undefined || data === null) return {};
    const type = headerOf(headers, 'content-type').toLowerCase();
    if (isForm(data) || (typeof data === 'object' && type === 'multipart/form-data' && Object.getPrototypeOf(data) === Object.prototype)) {
      if (!type.includes('boundary=')) withoutHeader(headers, 'content-type');
      return multipart(isForm(data) ? data.entries() : Object.entries(data));
    }
    if (typeof data === 'string') {
      if (!type.includes('application/json')) return { body: data, contentType: 'application/x-www-form-urlencoded' };
      try {
        parse(data);
        return { body: data.trim() };
      } catch {
        return { body: stringify(data) }; // a text as a JSON document
      }
    }
    if (data[Symbol.toStringTag] === 'URLSearchParams') return { body: data.toString(), contentType: 'application/x-www-form-urlencoded;charset=utf-8' };
    if (isBytes(data)) return { body: base64(data), bodyEncoding: 'base64', contentType: 'application/octet-stream' };
    if (isBlob(data)) return data.arrayBuffer().then((b) => ({ body: base64(b), bodyEncoding: 'base64', contentType: data.type || 'application/octet-stream' }));
    if (typeof data === 'object' && type.startsWith('application/x-www-form-urlencoded')) return { body: encodeForm(data) };
    return { body: stringify(data), contentType: 'application/json' };
  }

  class AxiosError extends Error {
    constructor(message, code, config, request, response) {
      super(message);
      this.name = 'AxiosError';
      this.isAxiosError = true;
      this.code = code;
      this.config = config;
      this.request = request;
      this.response = response;
      if (response) this.status = response.status;
    }
    toJSON() {
      return { name: this.name, message: this.message, stack: this.stack, config: this.config, code: this.code, status: this.status };
    }
  }

  // headersOf makes headers readable as axios's: by name in any case too. What it
  // adds is not enumerable.
  function headersOf(headers) {
    const find = (name) => Object.keys(headers).find((k) => k.toLowerCase() === String(name).toLowerCase());
    const hidden = (name, value) => {
      if (!Object.prototype.hasOwnProperty.call(headers, name)) Object.defineProperty(headers, name, { value, configurable: true, writable: true });
    };
    hidden('get', (name) => headers[find(name)]);
    hidden('has', (name) => find(name) !== undefined);
    hidden('toJSON', () => ({ ...headers }));
    return headers;
  }

  async function http(state, config, method) {
    if (!state.open) return ask(state, 'http');
    if (typeof config === 'string') config = { endpoint: config };
    if (config === null || typeof config !== 'object' || typeof config.endpoint !== 'string') {
      throw new TypeError('an HTTP request needs a config with an endpoint, for example { endpoint: "/issues" }');
    }
    const headers = {};
    for (const [name, v] of typeof config.headers?.entries === 'function' ? config.headers.entries() : Object.entries(config.headers ?? {})) {
      if (v !== undefined && v !== null) headers[name] = String(v);
    }
    const verb = String(method ?? config.method ?? 'GET').toUpperCase();
    // A GET has no body. What is falsy is none either.
    let body = verb === 'GET' || verb === 'HEAD' || !config.data ? {} : encodeBody(config.data, headers);
    if (typeof body.then === 'function') body = await body; // others are asked at once, in call order
    const args = {
      method: verb, endpoint: withoutNames(config.endpoint, config.params), headers, query: encodeParams(config.params), ...body,
      retries: Number(config.retries) || undefined, retryOn: Array.isArray(config.retryOn) ? config.retryOn.map(Number) : undefined,
      retryHeader: config.retryHeader ?? undefined, baseUrlOverride: config.baseUrlOverride ? String(config.baseUrlOverride) : undefined,
      responseType: config.responseType === 'stream' ? 'arraybuffer' : config.responseType ?? undefined,
      decompress: config.decompress === undefined || config.decompress === null ? undefined : String(config.decompress) !== 'false',
      timeoutMs: config.timeout > 0 ? Math.ceil(config.timeout) : undefined,
      providerConfigKey: config.providerConfigKey ?? undefined, connectionId: config.connectionId ?? undefined,
    };
    const shown = { ...config, method: verb.toLowerCase(), url: config.endpoint };
    let r;
    try {
      r = await ask(state, 'http', args);
    } catch (e) {
      const m = markOf(e);
      const wrapped = new AxiosError(e.message, e.code ?? 'ERR_NETWORK', shown, {}, undefined);
      if (m) mark(wrapped, m.hostCode, 0);
      throw wrapped;
    }
    const request = { path: r.url, method: verb };
    const response = { data: decodeBody(r, config.responseType), status: r.status, statusText: r.statusText, headers: headersOf(r.headers ?? {}), config: shown, request };
    if (r.status >= 200 && r.status < 300) return response;
    const code = r.status >= 500 ? 'ERR_BAD_RESPONSE' : 'ERR_BAD_REQUEST';
    const e = new AxiosError(`Request failed with status code ${r.status}${r.reason ? `: ${r.reason}` : ''}`, code, shown, request, response);
    // A rate limit is the world's fault, whatever status it comes with.
    mark(e, 'upstream_error', r.rateLimited ? 429 : r.status);
    throw e;
  }

  function decodeBody(r, type) {
    if (r.encoding === 'base64') {
      const bytes = unbase64(r.body);
      const data = typeof Buffer === 'function' ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) : bytes;
      return type === 'stream' ? streamOf(data) : data;
    }
    const body = r.body.startsWith('\ufeff') ? r.body.slice(1) : r.body;
    if (body === '' || (type !== undefined && type !== null && type !== 'json')) return body;
    try {
      return parse(body);
    } catch {
      return body; // as axios does without a declared type
    }
  }

  // streamOf is a body, which is here as a whole, in the form of a stream: to be
  // iterated over, or read by its events.
  function streamOf(data) {
    const on = (name, listener) => {
      if (name === 'data') queueMicrotask(() => listener(data));
      if (name === 'end' || name === 'close') setTimeout(listener, 0);
      return stream;
    };
    const stream = {
      readable: true, on, once: on,
      async* [Symbol.asyncIterator]() { if (data.length > 0) yield data; },
    };
    return stream;
  }

  // uncontrolled makes a request that has nothing to do with the connection.
  async function uncontrolled(state, options) {
    const { url, method, headers, body } = options ?? {};
    if (url === undefined || url === null) throw new TypeError('nango.uncontrolledFetch takes { url, method, headers, body }: there is no url');
    const list = {};
    for (const [name, v] of typeof headers?.entries === 'function' ? headers.entries() : Object.entries(headers ?? {})) {
      if (v !== undefined && v !== null) list[name] = String(v);
    }
    const encoded = body === '' ? {} : typeof body === 'string' ? { body, contentType: 'text/plain;charset=UTF-8' } : await encodeBody(body, list);
    if (body?.[Symbol.toStringTag] === 'URLSearchParams') encoded.contentType = 'application/x-www-form-urlencoded;charset=UTF-8'; // as fetch has it
    if (encoded.contentType && headerOf(list, 'content-type') === '') list['content-type'] = encoded.contentType;
    const r = await ask(state, 'uncontrolledFetch', {
      url: String(url), method: String(method ?? 'GET').toUpperCase(), headers: list, body: encoded.body, bodyEncoding: encoded.bodyEncoding,
    });
    const empty = r.body === '' || [101, 204, 205, 304].includes(r.status);
    const response = new Response(empty ? null : unbase64(r.body), { status: r.status, statusText: r.statusText, headers: r.headers });
    Object.defineProperty(response, 'url', { value: r.url ?? String(url), enumerable: true });
    return response;
  }

  // ---- pagination ----

  // at reads a path such as "data.items[0].id" or 'links["next page"]'; a name
  // with dots in it ("@odata.nextLink") is one step when the value has it.
  const at = (value, path) => {
    if (!path) return value;
    if (value !== null && typeof value === 'object' && path in value) return value[path];
    for (const [, quoted, plain] of String(path).matchAll(/\[\s*(?:"([^"]*)"|'[^']*')\s*\]|([^.[\]]+)/g)) {
      if (value === null || value === undefined) return undefined;
      value = value[quoted ?? plain];
    }
    return value;
  };

  // withPath is a copy of a body with the value at a path, whose steps are made
  // where they are missing.
  const withPath = (body, [step, ...rest], v) => {
    const copy = Array.isArray(body) ? [...body] : { ...body };
    copy[step] = rest.length === 0 ? v : withPath(body?.[step] ?? (/^\d+$/.test(rest[0]) ? [] : {}), rest, v);
    return copy;
  };

  function linkOf(header, rel) {
    for (const part of String(header ?? '').split(/,\s*(?=<)/)) {
      const m = /^\s*<([^>]*)>(.*)$/s.exec(part);
      if (!m) continue;
      for (const p of m[2].split(';')) {
        const [name, v] = p.split('=').map((s) => s.trim());
        if (name?.toLowerCase() === 'rel' && v && v.replace(/^"|"$/g, '').split(/\s+/).includes(rel)) return m[1];
      }
    }
    return undefined;
  }

  async function* paginate(state, defaults, config, site) {
    try {
      yield* pages(state, defaults, config);
    } catch (e) {
      addSite(e, site);
      throw e;
    }
  }

  async function* pages(state, defaults, config) {
    if (config === null || typeof config !== 'object') throw new TypeError('nango.paginate takes a config with an endpoint');
    const p = { ...(defaults ?? {}), ...(config.paginate ?? {}) };
    const kinds = { link: 1, cursor: 1, offset: 1 };
    if (!kinds[p.type]) {
      throw new Error(
        p.type ? `pagination type ${text(p.type)} is not one of link, cursor, offset` :
          'the provider has no default pagination: pass paginate with a type (link, cursor or offset)');
    }
    const verb = String(config.method ?? 'GET').toUpperCase();
    const inBody = p.in_body ?? ['POST', 'PUT', 'PATCH'].includes(verb);
    let request = { ...config, method: verb };
    delete request.paginate;
    const set = (name, v) => {
      if (!name) return;
      if (inBody) request.data = withPath(request.data ?? {}, name.split('.'), v);
      else if (typeof request.params === 'string') request.params = `${request.params.replace(new RegExp(`(^|&)${name}=[^&]*`), '')}&${name}=${encodeURIComponent(v)}`.replace(/^&/, '');
      else request.params = { ...(request.params ?? {}), [name]: v };
    };
    if (p.limit) set(p.limit_name_in_request, p.limit);
    let offset = Number(p.offset_start_value ?? 0);
    if (p.type === 'offset') {
      if (!p.offset_name_in_request) throw new Error('offset pagination needs offset_name_in_request');
      set(p.offset_name_in_request, offset);
    }
    if (p.type === 'cursor' && (!p.cursor_name_in_request || !p.cursor_path_in_response)) {
      throw new Error('cursor pagination needs cursor_name_in_request and cursor_path_in_response');
    }
    if (p.type === 'link' && !p.link_rel_in_response_header && !p.link_path_in_response_body) {
      throw new Error('link pagination needs link_rel_in_response_header or link_path_in_response_body');
    }
    const seen = new Set();
    let last; // the next page that the page before named, and what that page was
    for (;;) {
      const response = await http(state, request, verb);
      const items = at(response.data, p.response_path) ?? [];
      if (p.type === 'link') {
        // The next page does not depend on the items: functions take whole
        // responses so, and a page may be empty with more behind it.
        yield items;
        const next = (p.link_rel_in_response_header && linkOf(response.headers.link, p.link_rel_in_response_header)) || at(response.data, p.link_path_in_response_body);
        if (typeof p.on_page === 'function') await p.on_page({ nextPageParam: next ?? undefined, response });
        if (typeof next !== 'string' || next === '' || next === last) return;
        if (seen.has(next)) throw new Error(`pagination: the links of the API go round in a circle: ${next.slice(0, 200)} was a page before`);
        seen.add(next);
        last = next;
        // The link has the query in it already.
        request = { ...request, endpoint: next, params: undefined };
        continue;
      }
      if (!Array.isArray(items)) {
        if (items === '' || (typeof items === 'object' && Object.keys(items).length === 0)) return;
        throw new Error(`pagination: ${p.response_path ? `"${p.response_path}" in the response` : 'the response'} is not an array; set response_path`);
      }
      if (items.length === 0) return;
      yield items;
      if (p.type === 'offset') {
        if (p.limit && items.length < Number(p.limit)) return;
        if (typeof p.on_page === 'function') await p.on_page({ nextPageParam: offset, response });
        offset += p.offset_calculation_method === 'per-page' ? 1 : items.length;
        set(p.offset_name_in_request, offset);
        continue;
      }
      let next = at(response.data, p.cursor_path_in_response);
      if (typeof next === 'string') next = next.trim();
      if (next === '' || (typeof next !== 'string' && typeof next !== 'number')) next = undefined;
      if (typeof p.on_page === 'function') await p.on_page({ nextPageParam: next, response });
      if (next === undefined) return;
      // Some APIs give one cursor for all pages; but then the pages differ.
      const page = next === last?.next ? stringify(items) : undefined;
      if (page !== undefined && page === last.page) {
        throw new Error(`pagination: the API sent the same page and the same cursor twice (${String(next).slice(0, 200)}); stopping instead of looping forever`);
      }
      last = { next, page };
      set(p.cursor_name_in_request, next);
    }
  }

  // ---- the nango object ----

  class ActionError extends Error {
    constructor(payload) {
      super(typeof payload?.message === 'string' ? payload.message : 'ActionError');
      this.name = 'ActionError';
      this.type = 'action_script_runtime_error';
      this.payload = payload;
    }
  }

  // watched are the methods that wait for the host: their failures are counted.
  const watched = [
    'get', 'post', 'put', 'patch', 'delete', 'proxy', 'batchSave', 'batchUpdate', 'batchDelete', 'setMergingStrategy', 'getRecordsByIds',
    'getCheckpoint', 'saveCheckpoint', 'clearCheckpoint', 'getMetadata', 'setMetadata', 'updateMetadata', 'getConnection',
    'trackDeletesStart', 'trackDeletesEnd', 'deleteRecordsFromPreviousExecutions', 'batchSend', 'setFieldMapping', 'getFieldMapping',
    'getToken', 'getIntegration', 'getEnvironmentVariables', 'getWebhookURL', 'triggerAction', 'triggerSync', 'startSync',
    'tryAcquireLock', 'releaseLock', 'releaseAllLocks', 'uncontrolledFetch',
  ];

  // oldLevels are levels of logs as they were once called.
  const oldLevels = { verbose: 'debug', silly: 'debug', http: 'info' };

  function makeNango(state, context) {
    // Calls that change state run one after another in the order in which
    // they were made, also when they are not awaited.
    let queue = Promise.resolve();
    const inOrder = (method, args) => {
      const p = state.queued === 0 ? ask(state, method, args) : queue.then(() => ask(state, method, args));
      state.queued++;
      const done = () => settled(state, 'queued');
      queue = p.then(done, done);
      return p;
    };
    const reject = (message) => Promise.reject(new TypeError(message));
    const batch = (method) => (records, model) => {
      if (!Array.isArray(records)) return reject(`nango.${method} takes an array of records, got ${text(records)?.slice(0, 100)}`);
      if (typeof model !== 'string' || model === '') return reject(`nango.${method} takes the model's name as second argument`);
      if (records.length === 0) return Promise.resolve(true);
      return inOrder(method, { model, records });
    };
    const verb = (method) => (config) => http(state, config, method);
    // What changes metadata answers like an HTTP request.
    const changed = async (method, metadata) => {
      await inOrder(method, { metadata });
      const data = { connection_id: context.connectionId, provider_config_key: context.providerConfigKey, metadata };
      return { data, status: method === 'setMetadata' ? 201 : 200, statusText: method === 'setMetadata' ? 'Created' : 'OK', headers: headersOf({}), config: {}, request: {} };
    };
    const levels = ['debug', 'info', 'warn', 'error', 'off'];
    let threshold = 0;
    const say = (level, values) => {
      if (levels.indexOf(level) >= threshold) log(level, values);
    };
    const nango = {
      ActionError,
      connectionId: context.connectionId,
      providerConfigKey: context.providerConfigKey,
      environmentName: context.environment,
      provider: context.provider,
      variant: context.variant || 'base',
      syncVariant: context.variant || 'base',
      runId: context.runId,
      scriptType: context.functionType,
      isCLI: false,
      lastSyncDate: context.lastSyncDate ? new Date(context.lastSyncDate) : undefined,

      get: verb('GET'), post: verb('POST'), put: verb('PUT'), patch: verb('PATCH'), delete: verb('DELETE'),
      proxy: (config) => http(state, config),
      paginate: (config) => paginate(state, context.paginate, config, new Error().stack),

      batchSave: batch('batchSave'),
      batchUpdate: batch('batchUpdate'),
      batchDelete: batch('batchDelete'),
      setMergingStrategy: (merging, model) => inOrder('setMergingStrategy', { model, strategy: merging?.strategy ?? merging, field: merging?.field }),
      getRecordsByIds: async (ids, model) => {
        const found = new Map();
        if (!Array.isArray(ids)) throw new TypeError('nango.getRecordsByIds takes an array of ids');
        if (ids.length === 0) return found;
        const records = await inOrder('getRecordsByIds', { model, ids });
        for (const id of ids) {
          const key = typeof id === 'number' ? stringify(id) : id;
          if (Object.prototype.hasOwnProperty.call(records, key)) found.set(id, records[key]);
        }
        return found;
      },

      getCheckpoint: async () => (await inOrder('getCheckpoint')) ?? null,
      saveCheckpoint: (checkpoint) => inOrder('saveCheckpoint', { checkpoint }),
      clearCheckpoint: () => inOrder('clearCheckpoint'),
      getMetadata: () => inOrder('getMetadata'),
      setMetadata: (metadata) => changed('setMetadata', metadata),
      updateMetadata: (metadata) => changed('updateMetadata', metadata),
      getConnection: (key, id, options) => inOrder('getConnection', {
        provider_config_key: key || undefined, connection_id: id || undefined,
        refresh_token: options?.refreshToken, force_refresh: options?.forceRefresh || options?.refreshGithubAppJwtToken || undefined,
      }),
      // What calls are made with: a token, a pair of them, or all credentials.
      getToken: async () => {
        const { credentials } = await inOrder('getConnection', {});
        switch (credentials?.type) {
          case 'OAUTH2': case 'APP': return credentials.access_token;
          case 'OAUTH1': return { oAuthToken: credentials.oauth_token, oAuthTokenSecret: credentials.oauth_token_secret };
        }
        return credentials;
      },
      getIntegration: (queries) => ask(state, 'getIntegration', { include: queries?.include }),
      getEnvironmentVariables: () => ask(state, 'getEnvironmentVariables'),
      getWebhookURL: () => ask(state, 'getWebhookURL'),
      getFlowAttributes: () => ({}),

      triggerSync: async (key, id, sync, mode) => {
        const { name, variant } = typeof sync === 'object' && sync !== null ? sync : { name: sync };
        // Older forms are a boolean, whether everything is to be fetched, and the mode by name.
        let sync_mode = mode ?? 'incremental';
        if (typeof sync_mode === 'boolean') sync_mode = sync_mode ? 'full_refresh' : 'incremental';
        else if (typeof sync_mode === 'object') sync_mode = mode.emptyCache ? 'full_refresh_and_clear_cache' : mode.reset ? 'full_refresh' : 'incremental';
        await inOrder('triggerSync', { provider_config_key: key, connection_id: id, name, variant, sync_mode });
      },
      startSync: async (key, syncs, id) => {
        if (!Array.isArray(syncs)) throw new TypeError('nango.startSync takes an array of syncs as second argument');
        const list = syncs.map((sync) => (typeof sync === 'object' && sync !== null ? { name: sync.name, variant: sync.variant } : { name: sync }));
        await inOrder('startSync', { provider_config_key: key, connection_id: id ?? context.connectionId, syncs: list });
      },
      tryAcquireLock: async ({ key, ttlMs } = {}) => {
        if (typeof key !== 'string' || key === '') throw new TypeError('nango.tryAcquireLock takes { key, ttlMs }: the key is not a text');
        if (!(Number(ttlMs) > 0)) throw new TypeError('nango.tryAcquireLock takes { key, ttlMs }: the time is not a number of milliseconds');
        return inOrder('tryAcquireLock', { key, ttl_ms: Math.ceil(Number(ttlMs)) });
      },
      releaseLock: async ({ key } = {}) => inOrder('releaseLock', { key }),
      releaseAllLocks: async () => { await inOrder('releaseAllLocks'); },

      listRecords: async function* (model, options) {
        let cursor = options?.cursor;
        do {
          const page = await inOrder('listRecords', { model, cursor });
          yield* page.records;
          cursor = page.next_cursor ?? undefined;
        } while (cursor !== undefined);
      },
      deleteRecordsFromPreviousExecutions: (model) => inOrder('deleteRecordsFromPreviousExecutions', { model }),
      batchSend: batch('batchSave'),
      setFieldMapping: (mapping) => changed('setMetadata', mapping),
      getFieldMapping: async () => (await inOrder('getMetadata'))?.fieldMapping ?? {},
      uncontrolledFetch: (options) => uncontrolled(state, options),

      zodValidateInput: async ({ zodSchema, input }) => {
        const parsed = zodSchema.safeParse(input);
        if (parsed.success) return parsed;
        for (const { message, path } of parsed.error.issues) say('error', [`the input is not valid at ${path.join('.') || 'the top'}: ${message}`]);
        throw new ActionError({ message: 'Invalid input provided' });
      },

      triggerAction: async (...given) => {
        // With the action's name alone it is one of the same connection.
        const own = given.length < 3 || typeof given[1] !== 'string' || typeof given[2] !== 'string';
        const [key, id, name, input] = own ? [undefined, undefined, ...given] : given;
        if (typeof name !== 'string' || name === '') throw new TypeError('nango.triggerAction takes an integration, a connection, the name of an action, and its input');
        return ask(state, 'triggerAction', { provider_config_key: key ?? '', connection_id: id ?? '', name, input });
      },
      trackDeletesStart: (model) => inOrder('trackDeletesStart', { model }),
      trackDeletesEnd: async (model) => (await inOrder('trackDeletesEnd', { model })) ?? { deletedKeys: [] },

      log: async (...values) => {
        if (values.length === 0) return;
        const last = values[values.length - 1];
        let level = 'info';
        if (values.length > 1 && last !== null && typeof last === 'object' && typeof last.level === 'string') {
          const named = oldLevels[last.level] ?? last.level;
          if (levels.includes(named)) {
            level = named;
            // What else is in it is data.
            const { level: _, type, ...rest } = last;
            values.pop();
            if (Object.keys(rest).length > 0) values.push(rest);
          }
        }
        if (level !== 'off') say(level, values);
      },
      setLogger: ({ level } = {}) => {
        if (!levels.includes(level)) throw new TypeError(`nango.setLogger takes a level: ${levels.join(', ')}`);
        threshold = levels.indexOf(level);
      },
    };
    if (context.webhook) {
      const { type, headers, deliveryId, receivedAt } = context.webhook;
      nango.webhook = { type, headers, deliveryId, receivedAt: new Date(receivedAt) };
    }
    for (const name of watched) {
      const method = nango[name];
      nango[name] = (...args) => tracked(state, method(...args));
    }
    return nango;
  }

  // stopClock makes the clock stand, for fixtures. Such a context is not used again.
  function stopClock(at) {
    const Real = globalThis.Date;
    const time = +new Real(at);
    globalThis.Date = class Date extends Real {
      constructor(...args) {
        if (args.length === 0) super(time);
        else super(...args);
      }
      static now() { return time; }
    };
  }

  // ---- one call ----

  let current; // the call that runs, or ran last

  function run(entry, contextText, inputText) {
    const state = current = { open: true, pending: 0, queued: 0, watched: 0, drained: undefined, draining: false, failures: [] };
    const finish = async (ok, value) => {
      // Calls that were made and not awaited still count, and so do their failures.
      state.draining = true;
      while (!idle(state)) {
        await new Promise((resolve) => (state.drained = resolve));
        state.drained = undefined;
        // Code that waited for the last result may go on to the next call.
        for (let i = 0; i < 20 && idle(state); i++) await undefined;
      }
      state.open = false;
      timers.clear();
      const failure = ok ? unseen(state) : undefined;
      if (failure) __sl_end(false, stringify(describe(failure.error)));
      else __sl_end(ok, value);
    };
    (async () => {
      const definition = globalThis.__syncline_fn?.default ?? globalThis.__syncline_fn;
      const handler = definition?.[entry];
      if (typeof handler !== 'function') throw new Error(`the function has no ${entry}`);
      const context = parse(contextText);
      if (context.now) stopClock(context.now);
      const nango = makeNango(state, context);
      return handler.call(definition, nango, ...(inputText === '' ? [] : [parse(inputText)]));
    })().then(
      (v) => finish(true, v === undefined ? 'null' : stringify(v) ?? 'null'),
      (e) => finish(false, stringify(describe(e))),
    ).catch((e) => __sl_end(false, stringify(describe(e))));
  }

  const define = (type) => (definition) => ({ ...definition, type: type === 'on-event' ? 'onEvent' : type, __type: type });
  const module = {
    createSync: define('sync'),
    createAction: define('action'),
    createOnEvent: define('on-event'),
    ActionError,
    AxiosError,
  };

  globalThis.__syncline = { module, run, settle };

  // fetch is what nango.uncontrolledFetch is, in the words of the web.
  globalThis.fetch = async (input, init) => {
    if (!current) throw new Error('fetch is possible only when the function runs');
    const request = typeof input === 'object' && input !== null && typeof input.url === 'string' ? input : { url: String(input) };
    let body = init?.body ?? request.body;
    if (typeof body?.getReader === 'function') { // a stream, as Node has it
      const bytes = new Uint8Array(await (body === request.body ? request : new Response(body)).arrayBuffer());
      try {
        body = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
      } catch {
        body = bytes;
      }
    }
    return uncontrolled(current, { url: request.url, method: init?.method ?? request.method, headers: init?.headers ?? request.headers, body });
  };

  const delay = (ms) => Math.min(Math.max(0, Number(ms) || 0), 86_400_000);
  const timer = (name, callback, ms, repeat, args) => {
    if (typeof callback !== 'function') throw new TypeError(`${name} takes a function`);
    const id = ++lastID;
    timers.set(id, () => {
      if (repeat) {
        timers.set(id, again);
        __sl_timer(id, Math.max(1, delay(ms)));
      }
      callback(...args);
    });
    const again = timers.get(id);
    __sl_timer(id, delay(ms));
    return id;
  };
  const clear = (id) => {
    if (timers.delete(id)) __sl_timer(id, -1);
  };
  globalThis.setTimeout = (callback, ms, ...args) => timer('setTimeout', callback, ms, false, args);
  globalThis.setInterval = (callback, ms, ...args) => timer('setInterval', callback, ms, true, args);
  globalThis.setImmediate = (callback, ...args) => timer('setImmediate', callback, 0, false, args);
  globalThis.clearTimeout = globalThis.clearInterval = globalThis.clearImmediate = clear;
  globalThis.queueMicrotask ??= (callback) => { Promise.resolve().then(callback); };
  const say = (level) => (...values) => log(level, values);
  globalThis.console = { log: say('info'), info: say('info'), debug: say('debug'), warn: say('warn'), error: say('error'), trace: say('debug') };
})();
