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
    if (typeof e !== 'object') return { name: 'Error', message: `the function threw ${text(e)}` };
    const m = markOf(e) ?? {};
    let payload;
    if (e.name === 'ActionError') payload = e.payload;
    let message = e.message;
    if (typeof message !== 'string' || message === '') message = e.type && typeof e.type === 'string' ? e.type : text(e);
    return {
      name: typeof e.name === 'string' ? e.name : 'Error', message, stack: typeof e.stack === 'string' ? e.stack : '',
      payload, hostCode: m.hostCode, status: m.status,
    };
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

  // encodeForm is an object as a form, as axios makes it.
  function encodeForm(data) {
    const out = [];
    const add = (name, v) => {
      if (v === undefined) return;
      if (v === null) out.push(`${encodeURIComponent(name)}=`);
      else if (Array.isArray(v)) for (const item of v) add(name.endsWith('[]') ? name : `${name}[]`, item);
      else if (v instanceof Date) out.push(`${encodeURIComponent(name)}=${encodeURIComponent(v.toISOString())}`);
      else if (typeof v === 'object') for (const [k, item] of Object.entries(v)) add(`${name}[${k}]`, item);
      else out.push(`${encodeURIComponent(name)}=${encodeURIComponent(v)}`);
    };
    for (const [name, v] of Object.entries(data)) add(name, v);
    return out.join('&').replace(/%20/g, '+');
  }

  const headerOf = (headers, name) => {
    for (const [k, v] of Object.entries(headers ?? {})) if (k.toLowerCase() === name) return String(v);
    return '';
  };

  function encodeBody(data, headers) {
    if (data === undefined || data === null) return {};
    if (Object.getPrototypeOf(data) === Object.prototype && headerOf(headers, 'content-type').startsWith('application/x-www-form-urlencoded')) {
      return { body: encodeForm(data) };
    }
    if (typeof data === 'string') return { body: data };
    if (typeof URLSearchParams === 'function' && data instanceof URLSearchParams) {
      return { body: data.toString(), contentType: 'application/x-www-form-urlencoded;charset=utf-8' };
    }
    if (data instanceof ArrayBuffer) data = new Uint8Array(data);
    if (ArrayBuffer.isView(data)) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return { body: __syncline.base64(bytes), bodyEncoding: 'base64', contentType: 'application/octet-stream' };
    }
    if (data && typeof data.__multipart === 'function') return data.__multipart();
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
      return { name: this.name, message: this.message, code: this.code, status: this.status };
    }
  }

  async function http(state, config, method) {
    if (!state.open) return ask(state, 'http');
    if (typeof config === 'string') config = { endpoint: config };
    if (config === null || typeof config !== 'object' || typeof config.endpoint !== 'string') {
      throw new TypeError('an HTTP request needs a config with an endpoint, for example { endpoint: "/issues" }');
    }
    const headers = {};
    for (const [name, v] of Object.entries(config.headers ?? {})) if (v !== undefined && v !== null) headers[name] = String(v);
    const verb = String(method ?? config.method ?? 'GET').toUpperCase();
    const args = {
      method: verb, endpoint: config.endpoint, headers, query: encodeParams(config.params), ...encodeBody(config.data, headers),
      retries: config.retries, retryOn: config.retryOn ?? undefined, retryHeader: config.retryHeader ?? undefined, baseUrlOverride: config.baseUrlOverride ?? undefined,
      responseType: config.responseType,
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
    const response = { data: decodeBody(r, config.responseType), status: r.status, statusText: r.statusText, headers: r.headers, config: shown, request };
    if (r.status >= 200 && r.status < 300) return response;
    const code = r.status >= 500 ? 'ERR_BAD_RESPONSE' : 'ERR_BAD_REQUEST';
    const e = new AxiosError(`Request failed with status code ${r.status}${r.reason ? `: ${r.reason}` : ''}`, code, shown, request, response);
    // A rate limit is the world's fault, whatever status it comes with.
    mark(e, 'upstream_error', r.rateLimited ? 429 : r.status);
    throw e;
  }

  function decodeBody(r, type) {
    if (r.encoding === 'base64') {
      const bytes = __syncline.unbase64(r.body);
      return typeof Buffer === 'function' ? Buffer.from(bytes) : bytes;
    }
    if (type === 'text' || type === 'arraybuffer' || r.body === '') return r.body;
    try {
      return parse(r.body);
    } catch {
      return r.body; // as axios does without a declared type
    }
  }

  // uncontrolled makes a request that has nothing to do with the connection.
  async function uncontrolled(state, options) {
    const { url, method, headers, body } = options ?? {};
    if (url === undefined || url === null) throw new TypeError('nango.uncontrolledFetch takes { url, method, headers, body }: there is no url');
    const list = {};
    for (const [name, v] of typeof headers?.entries === 'function' ? headers.entries() : Object.entries(headers ?? {})) {
      if (v !== undefined && v !== null) list[name] = String(v);
    }
    const encoded = encodeBody(body, list);
    if (encoded.contentType && headerOf(list, 'content-type') === '') list['content-type'] = encoded.contentType;
    const r = await ask(state, 'uncontrolledFetch', {
      url: String(url), method: String(method ?? 'GET').toUpperCase(), headers: list, body: encoded.body, bodyEncoding: encoded.bodyEncoding,
    });
    return new Response(r.body === '' ? null : __syncline.unbase64(r.body), { status: r.status, statusText: r.statusText, headers: r.headers, url: r.url });
  }

  // ---- pagination ----

  // at reads a path such as "data.items[0].id"; a name with dots in it
  // ("@odata.nextLink") is one step when the value has it.
  const at = (value, path) => {
    if (!path) return value;
    if (value !== null && typeof value === 'object' && path in value) return value[path];
    for (const part of path.replace(/\[(\w+)\]/g, '.$1').split('.')) {
      if (value === null || value === undefined) return undefined;
      value = value[part];
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
    if (p.limit && p.limit_name_in_request) {
      const given = inBody ? at(request.data, p.limit_name_in_request) : typeof request.params === 'object' ? request.params?.[p.limit_name_in_request] : undefined;
      if (given === undefined || config.paginate?.limit !== undefined) set(p.limit_name_in_request, p.limit);
    }
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
    for (;;) {
      const response = await http(state, request, verb);
      const items = at(response.data, p.response_path) ?? [];
      // With links the next page does not depend on the items: functions take
      // whole responses so.
      if (!Array.isArray(items) && p.type !== 'link') {
        throw new Error(`pagination: ${p.response_path ? `"${p.response_path}" in the response` : 'the response'} is not an array; set response_path`);
      }
      let next;
      if (p.type === 'link') {
        next = p.link_rel_in_response_header ? linkOf(response.headers.link, p.link_rel_in_response_header) : at(response.data, p.link_path_in_response_body);
      } else if (p.type === 'cursor') {
        next = at(response.data, p.cursor_path_in_response);
        if (typeof next === 'string') next = next.trim();
      } else if (items.length > 0 && !(p.limit && items.length < p.limit)) {
        offset += p.offset_calculation_method === 'per-page' ? 1 : items.length;
        next = offset;
      }
      if (next === '' || next === null || next === undefined || (p.type === 'cursor' && items.length === 0)) next = undefined;
      if (typeof p.on_page === 'function') await p.on_page({ nextPageParam: next, response });
      // A page may be empty: with links there may be more behind it.
      if (items.length !== 0) yield items;
      if (next === undefined) return;
      const key = String(next);
      if (seen.has(key)) throw new Error(`pagination: the API sent the same next page twice (${key.slice(0, 200)}); stopping instead of looping forever`);
      seen.add(key);
      if (p.type === 'link') {
        // The link has the query in it already.
        request = { ...request, endpoint: key, params: undefined };
      } else {
        set(p.type === 'cursor' ? p.cursor_name_in_request : p.offset_name_in_request, next);
      }
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
  const watched = new Set([
    'get', 'post', 'put', 'patch', 'delete', 'proxy', 'batchSave', 'batchUpdate', 'batchDelete', 'setMergingStrategy', 'getRecordsByIds',
    'getCheckpoint', 'saveCheckpoint', 'clearCheckpoint', 'getMetadata', 'setMetadata', 'updateMetadata', 'getConnection',
    'trackDeletesStart', 'trackDeletesEnd', 'deleteRecordsFromPreviousExecutions', 'batchSend', 'setFieldMapping', 'getFieldMapping',
    'getToken', 'getIntegration', 'getEnvironmentVariables', 'getWebhookURL', 'triggerAction', 'triggerSync', 'startSync',
    'tryAcquireLock', 'releaseLock', 'releaseAllLocks', 'uncontrolledFetch',
  ]);

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
    const levels = ['debug', 'info', 'warn', 'error', 'off'];
    let threshold = 0;
    const nango = {
      ActionError,
      connectionId: context.connectionId,
      providerConfigKey: context.providerConfigKey,
      environmentName: context.environment,
      provider: context.provider,
      variant: context.variant,
      syncVariant: context.variant,
      runId: context.runId,
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
      setMetadata: (metadata) => inOrder('setMetadata', { metadata }),
      updateMetadata: (metadata) => inOrder('updateMetadata', { metadata }),
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
      getFlowAttributes: () => null,

      triggerAction: (key, id, name, input) => inOrder('triggerAction', { provider_config_key: key, connection_id: id, name, input }),
      triggerSync: async (key, id, sync, mode) => {
        const { name, variant } = typeof sync === 'object' && sync !== null ? sync : { name: sync };
        // A boolean is the older form: whether everything is to be fetched.
        const sync_mode = typeof mode === 'boolean' ? (mode ? 'full_refresh' : 'incremental') : mode ?? 'incremental';
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
      batchSend: (records, model) => nango.batchSave(records, model),
      setFieldMapping: (mapping) => nango.setMetadata(mapping),
      getFieldMapping: async () => (await nango.getMetadata()) ?? {},
      uncontrolledFetch: (options) => uncontrolled(state, options),

      zodValidateInput: async ({ zodSchema, input }) => {
        const parsed = zodSchema.safeParse(input);
        if (parsed.success) return parsed;
        for (const { message, path } of parsed.error.issues) log('error', [`the input is not valid at ${path.join('.') || 'the top'}: ${message}`]);
        throw new ActionError({ message: 'Invalid input provided' });
      },

      trackDeletesStart: (model) => inOrder('trackDeletesStart', { model }),
      trackDeletesEnd: async (model) => (await inOrder('trackDeletesEnd', { model })) ?? { deletedKeys: [] },

      log: async (...values) => {
        let level = 'info';
        const last = values[values.length - 1];
        if (values.length > 1 && last && typeof last === 'object' && typeof last.level === 'string' && Object.keys(last).every((k) => k === 'level' || k === 'type')) {
          values.pop();
          level = levels.includes(last.level) ? last.level : 'info';
        }
        if (level !== 'off' && levels.indexOf(level) >= threshold) log(level, values);
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
    const made = new Map();
    return new Proxy(nango, {
      get(target, name) {
        if (watched.has(name)) {
          let method = made.get(name);
          if (!method) made.set(name, (method = (...args) => tracked(state, target[name](...args))));
          return method;
        }
        if (name in target || typeof name === 'symbol' || name === 'then' || name === 'toJSON') return target[name];
        return () => {
          throw new Error(`nango.${name} is not offered by this version of Syncline`);
        };
      },
    });
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

  const define = (type) => (definition) => ({ ...definition, __type: type });
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
    return uncontrolled(current, {
      url: request.url, method: init?.method ?? request.method, headers: init?.headers ?? request.headers, body: init?.body ?? request.body,
    });
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
