// URL, URLSearchParams, Headers, FormData, Blob, Request and Response. Parsing of
// URLs is done by the engine (__syncline.native), so that there is one parser.
(() => {
  'use strict';
  const formEncode = (s) => encodeURIComponent(String(s).toWellFormed()).replace(/%20/g, '+').replace(/[!'()~]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());
  const formDecode = (s) => {
    s = s.replace(/\+/g, ' ');
    try {
      return decodeURIComponent(s);
    } catch {
      // What is not UTF-8, or no escape at all, stays as far as it can be read.
      const bytes = [];
      for (let i = 0; i < s.length; i++) {
        const hex = /^%([0-9a-fA-F]{2})/.exec(s.slice(i, i + 3));
        if (hex) {
          bytes.push(parseInt(hex[1], 16));
          i += 2;
        } else {
          const c = String.fromCodePoint(s.codePointAt(i));
          bytes.push(...__syncline.utf8(c));
          i += c.length - 1;
        }
      }
      return __syncline.unutf8(Uint8Array.from(bytes));
    }
  };

  class URLSearchParams {
    #list = [];
    #changed = () => {};
    constructor(init = '') {
      if (typeof init === 'string') {
        for (const part of init.replace(/^\?/, '').split('&')) {
          if (part === '') continue;
          const i = part.indexOf('=');
          this.#list.push(i < 0 ? [formDecode(part), ''] : [formDecode(part.slice(0, i)), formDecode(part.slice(i + 1))]);
        }
      } else if (typeof init?.[Symbol.iterator] === 'function') {
        for (const pair of init) {
          const both = [...pair];
          if (both.length !== 2) throw new TypeError('Each query pair must be an iterable [name, value] tuple');
          this.#list.push([String(both[0]), String(both[1])]);
        }
      } else {
        for (const [k, v] of Object.entries(init ?? {})) this.#list.push([k, String(v)]);
      }
    }
    static _bind(params, changed) { params.#changed = changed; return params; }
    static _reset(params, search) { params.#list = new URLSearchParams(search).#list; }
    get size() { return this.#list.length; }
    append(k, v) { this.#list.push([String(k), String(v)]); this.#changed(); }
    delete(k, v) { this.#list = this.#list.filter(([n, x]) => n !== String(k) || (v !== undefined && x !== String(v))); this.#changed(); }
    get(k) { return this.#list.find(([n]) => n === String(k))?.[1] ?? null; }
    getAll(k) { return this.#list.filter(([n]) => n === String(k)).map(([, v]) => v); }
    has(k, v) { return this.#list.some(([n, x]) => n === String(k) && (v === undefined || x === String(v))); }
    set(k, v) {
      const i = this.#list.findIndex(([n]) => n === String(k));
      if (i < 0) this.#list.push([String(k), String(v)]);
      else {
        this.#list[i] = [String(k), String(v)];
        this.#list = this.#list.filter(([n], j) => j <= i || n !== String(k));
      }
      this.#changed();
    }
    sort() { this.#list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)); this.#changed(); }
    forEach(f, self) { for (const [k, v] of this.#list) f.call(self, v, k, this); }
    *keys() { for (const [k] of this.#list) yield k; }
    *values() { for (const [, v] of this.#list) yield v; }
    *entries() { for (const [k, v] of this.#list) yield [k, v]; }
    [Symbol.iterator]() { return this.entries(); }
    toString() { return this.#list.map(([k, v]) => `${formEncode(k)}=${formEncode(v)}`).join('&'); }
  }

  // URL keeps the parts that the engine makes of a text; one that is set has the
  // whole made anew.
  class URL {
    #p;
    #params;
    constructor(href, base) {
      const text = __syncline.native('url', String(href), base === undefined ? '' : String(base));
      if (text === '') {
        const e = new TypeError('Invalid URL');
        e.code = 'ERR_INVALID_URL';
        e.input = String(href);
        if (base !== undefined) e.base = String(base);
        throw e;
      }
      this.#p = JSON.parse(text);
    }
    static canParse(href, base) { return __syncline.native('url', String(href), base === undefined ? '' : String(base)) !== ''; }
    static parse(href, base) { return URL.canParse(href, base) ? new URL(href, base) : null; }
    #set(part, value) {
      const text = __syncline.native('seturl', this.#p.href, part, String(value));
      if (text !== '') this.#p = JSON.parse(text);
      if (part === 'search' && this.#params) URLSearchParams._reset(this.#params, this.#p.search);
    }
    get protocol() { return this.#p.protocol; }
    set protocol(v) { this.#set('protocol', v); }
    get username() { return this.#p.username; }
    set username(v) { this.#set('username', v); }
    get password() { return this.#p.password; }
    set password(v) { this.#set('password', v); }
    get hostname() { return this.#p.hostname; }
    set hostname(v) { this.#set('hostname', v); }
    get port() { return this.#p.port; }
    set port(v) { this.#set('port', v); }
    get host() { return this.#p.host; }
    set host(v) { this.#set('host', v); }
    get origin() { return /^(https?|ftp|wss?):$/.test(this.#p.protocol) ? `${this.#p.protocol}//${this.#p.host}` : 'null'; }
    get pathname() { return this.#p.pathname; }
    set pathname(v) { this.#set('pathname', v); }
    get search() { return this.#p.search; }
    set search(v) { this.#set('search', v); }
    get hash() { return this.#p.hash; }
    set hash(v) { this.#set('hash', v); }
    get searchParams() {
      this.#params ??= URLSearchParams._bind(new URLSearchParams(this.#p.search), () => {
        const search = this.#params.toString();
        this.#p = JSON.parse(__syncline.native('seturl', this.#p.href, 'search', search));
      });
      return this.#params;
    }
    get href() { return this.#p.href; }
    set href(v) {
      this.#p = new URL(v).#p;
      if (this.#params) URLSearchParams._reset(this.#params, this.#p.search);
    }
    toString() { return this.href; }
    toJSON() { return this.href; }
  }
  // Parts are enumerable, as in Node: they are seen by those who look.
  for (const name of ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'searchParams', 'hash', 'toString', 'toJSON']) {
    Object.defineProperty(URL.prototype, name, { enumerable: true });
  }

  class Headers {
    #map = new Map();
    #cookies = [];
    constructor(init) {
      const pairs = typeof init?.[Symbol.iterator] === 'function' ? init : Object.entries(init ?? {});
      for (const [k, v] of pairs) this.append(k, v);
    }
    static #name(k) {
      k = String(k);
      if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(k)) throw new TypeError(`Headers: ${k.slice(0, 100)} is not the name of a header`);
      return k.toLowerCase();
    }
    static #value(v) {
      v = String(v).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '');
      if (/[\0\r\n]/.test(v)) throw new TypeError('Headers: the value of a header has no line breaks');
      return v;
    }
    append(k, v) {
      k = Headers.#name(k);
      v = Headers.#value(v);
      if (k === 'set-cookie') this.#cookies.push(v);
      this.#map.set(k, this.#map.has(k) ? `${this.#map.get(k)}, ${v}` : v);
    }
    set(k, v) {
      this.delete(k);
      this.append(k, v);
    }
    getSetCookie() { return [...this.#cookies]; }
    get(k) { return this.#map.get(String(k).toLowerCase()) ?? null; }
    has(k) { return this.#map.has(String(k).toLowerCase()); }
    delete(k) {
      k = Headers.#name(k);
      if (k === 'set-cookie') this.#cookies = [];
      this.#map.delete(k);
    }
    forEach(f, self) { for (const [k, v] of this) f.call(self, v, k, this); }
    *entries() { yield* [...this.#map].sort(([a], [b]) => (a < b ? -1 : 1)); }
    *keys() { for (const [k] of this.entries()) yield k; }
    *values() { for (const [, v] of this.entries()) yield v; }
    [Symbol.iterator]() { return this.entries(); }
  }

  const bytesOf = (v) => {
    if (v === undefined || v === null) return new Uint8Array(0);
    if (v instanceof ArrayBuffer) return new Uint8Array(v.slice(0));
    if (ArrayBuffer.isView(v)) return new Uint8Array(v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength));
    if (v instanceof Blob) return Blob._bytes(v).slice();
    return __syncline.utf8(v);
  };
  const join = (parts) => {
    const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const p of parts) {
      all.set(p, at);
      at += p.length;
    }
    return all;
  };

  class Blob {
    #bytes;
    #type;
    constructor(parts = [], options = {}) {
      this.#bytes = join([...parts].map(bytesOf));
      this.#type = String(options?.type ?? '').toLowerCase();
    }
    static _bytes(blob) { return blob.#bytes; }
    get size() { return this.#bytes.length; }
    get type() { return this.#type; }
    async text() { return __syncline.unutf8(this.#bytes); }
    async arrayBuffer() { return this.#bytes.slice().buffer; }
    async bytes() { return this.#bytes.slice(); }
    slice(start, end, type = '') { return new Blob([this.#bytes.slice(start, end)], { type }); }
  }

  class File extends Blob {
    #name;
    #lastModified;
    constructor(parts, name, options = {}) {
      super(parts, options);
      this.#name = String(name);
      this.#lastModified = options?.lastModified ?? Date.now();
    }
    get name() { return this.#name; }
    get lastModified() { return this.#lastModified; }
  }

  // Body is what Request and Response have in common. Bodies are in memory: there
  // are no streams.
  class Body {
    #bytes;
    #used = false;
    constructor(body) { this.#bytes = body === null || body === undefined ? undefined : bytesOf(body); }
    #take() {
      if (this.#used) throw new TypeError('Body is unusable: Body has already been read');
      this.#used = this.#bytes !== undefined;
      return this.#bytes ?? new Uint8Array(0);
    }
    _copy() {
      if (this.#used) throw new TypeError('Body has already been read');
      return this.#bytes ?? null;
    }
    get bodyUsed() { return this.#used; }
    async text() { return __syncline.unutf8(this.#take()).replace(/^\ufeff/, ''); }
    async json() { return JSON.parse(await this.text()); }
    async arrayBuffer() { return this.#take().slice().buffer; }
    async bytes() { return this.#take().slice(); }
    async blob() { return new Blob([this.#take()], { type: this.headers.get('content-type') ?? '' }); }
    async formData() {
      if (/^multipart\//i.test(this.headers.get('content-type') ?? '')) throw new TypeError('formData() reads forms that are URL-encoded, not multipart ones');
      const form = new FormData();
      for (const [k, v] of new URLSearchParams(await this.text())) form.append(k, v);
      return form;
    }
  }

  class Response extends Body {
    constructor(body = null, init = {}) {
      super(body);
      this.status = init?.status ?? 200;
      this.statusText = init?.statusText ?? '';
      this.headers = new Headers(init?.headers);
      this.url = init?.url ?? '';
      this.redirected = false;
      this.type = 'default';
      if (typeof body === 'string' && !this.headers.has('content-type')) this.headers.set('content-type', 'text/plain;charset=UTF-8');
    }
    get ok() { return this.status >= 200 && this.status < 300; }
    clone() { return new Response(this._copy(), this); }
    static json(data, init = {}) {
      const headers = new Headers(init?.headers);
      if (!headers.has('content-type')) headers.set('content-type', 'application/json');
      return new Response(JSON.stringify(data), { ...init, headers });
    }
    static error() { return new Response(null, { status: 0 }); }
  }

  class Request extends Body {
    constructor(input, init = {}) {
      const from = input instanceof Request ? input : undefined;
      const body = init?.body ?? (from ? from._copy() : null);
      super(body);
      this.url = from ? from.url : String(input);
      this.method = String(init?.method ?? from?.method ?? 'GET').toUpperCase();
      this.headers = new Headers(init?.headers ?? from?.headers);
      this.body = body;
    }
    clone() { return new Request(this); }
  }

  // entryOf is a value of a form: a text, or a file. Bytes are taken for a file too.
  const entryOf = (v, filename) => {
    if (v instanceof Blob) return v instanceof File && filename === undefined ? v : new File([v], filename ?? (v instanceof File ? v.name : 'blob'), { type: v.type });
    if (v instanceof ArrayBuffer || ArrayBuffer.isView(v)) return new File([v], filename ?? 'blob');
    return filename === undefined ? String(v) : new File([String(v)], filename);
  };

  class FormData {
    #list = [];
    append(k, v, filename) { this.#list.push([String(k), entryOf(v, filename)]); }
    set(k, v, filename) {
      k = String(k);
      const i = this.#list.findIndex(([n]) => n === k);
      if (i < 0) return this.append(k, v, filename);
      this.#list[i] = [k, entryOf(v, filename)];
      this.#list = this.#list.filter(([n], j) => j <= i || n !== k);
    }
    delete(k) { this.#list = this.#list.filter(([n]) => n !== String(k)); }
    get(k) { return this.#list.find(([n]) => n === String(k))?.[1] ?? null; }
    getAll(k) { return this.#list.filter(([n]) => n === String(k)).map(([, v]) => v); }
    has(k) { return this.#list.some(([n]) => n === String(k)); }
    *entries() { for (const [k, v] of this.#list) yield [k, v]; }
    [Symbol.iterator]() { return this.entries(); }
    *keys() { for (const [k] of this.#list) yield k; }
    *values() { for (const [, v] of this.#list) yield v; }
    forEach(f, self) { for (const [k, v] of this.#list) f.call(self, v, k, this); }
  }

  for (const [name, c] of Object.entries({ URL, URLSearchParams, Headers, FormData, Blob, File, Request, Response })) {
    Object.defineProperty(c.prototype, Symbol.toStringTag, { value: name, configurable: true });
  }
  Object.assign(globalThis, { URL, URLSearchParams, Headers, FormData, Blob, File, Request, Response });
  __syncline.modules.url = {
    URL, URLSearchParams,
    fileURLToPath: (url) => {
      const u = typeof url === 'string' ? new URL(url) : url;
      if (u.protocol !== 'file:') throw new TypeError('The URL must be of scheme file');
      return decodeURIComponent(u.pathname);
    },
    pathToFileURL: (path) => new URL('file://' + encodeURI(String(path)).replace(/[?#]/g, encodeURIComponent)),
    domainToASCII: (domain) => (URL.canParse(`http://${domain}`) ? new URL(`http://${domain}`).hostname : ''),
    urlToHttpOptions: (u) => ({
      protocol: u.protocol, hostname: u.hostname.replace(/^\[|\]$/g, ''), hash: u.hash, search: u.search, pathname: u.pathname, path: `${u.pathname}${u.search}`, href: u.href,
      ...(u.port !== '' ? { port: Number(u.port) } : {}), ...(u.username || u.password ? { auth: `${decodeURIComponent(u.username)}:${decodeURIComponent(u.password)}` } : {}),
    }),
    // The older form: a plain object, and no error for what is no URL.
    parse: (text, query = false) => {
      text = String(text).trim();
      const m = /^([a-z][a-z0-9+.-]*:)?(\/\/)?(?:([^@/?#]*)@)?([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$/i.exec(text);
      const host = m[2] ? m[4] : '';
      const [, hostname = '', port = null] = /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(host) ?? [undefined, host];
      const special = /^(?:https?|ftp|wss?|file):$/i.test(m[1] ?? '');
      const pathname = (m[2] ? m[5] : (m[3] !== undefined ? m[3] + '@' : '') + m[4] + m[5]) || (special && host ? '/' : '');
      const search = m[6] ?? null;
      const parts = {
        protocol: m[1]?.toLowerCase() ?? null, slashes: m[2] ? true : null, auth: m[2] && m[3] !== undefined ? decodeURIComponent(m[3]) : null, host: m[2] ? host.toLowerCase() : null,
        port: port || null, hostname: m[2] ? hostname.toLowerCase().replace(/^\[|\]$/g, '') : null, hash: m[7] ?? null, search,
        query: query ? Object.fromEntries(new URLSearchParams(search ?? '')) : search === null ? null : search.slice(1), pathname: pathname || null,
        path: (pathname || '') + (search ?? '') || null,
      };
      parts.href = `${parts.protocol ?? ''}${m[2] ? '//' : ''}${m[2] && m[3] !== undefined ? m[3] + '@' : ''}${parts.host ?? ''}${parts.pathname ?? ''}${search ?? ''}${parts.hash ?? ''}`;
      return parts;
    },
    format: (u) => {
      if (typeof u === 'string') return __syncline.modules.url.parse(u).href;
      if (u instanceof URL) return u.href;
      const protocol = u.protocol ? u.protocol.replace(/:?$/, ':') : '';
      const host = u.host ?? (u.hostname ? (u.hostname.includes(':') ? `[${u.hostname}]` : u.hostname) + (u.port ? `:${u.port}` : '') : '');
      const search = u.search ?? (u.query && typeof u.query === 'object' ? `?${String(new URLSearchParams(u.query)).replace(/\+/g, '%20')}` : '');
      const slashes = u.slashes || /^(?:https?|ftp|wss?|file):$/.test(protocol) ? '//' : '';
      const path = u.pathname ?? '';
      return `${protocol}${host || slashes ? slashes : ''}${u.auth ? `${encodeURIComponent(u.auth).replace(/%3A/i, ':')}@` : ''}${host}${host && path && !path.startsWith('/') ? '/' : ''}${path}` +
        `${search && !search.startsWith('?') ? '?' : ''}${search === '?' ? '' : search}${u.hash ? u.hash.replace(/^#?/, '#') : ''}`;
    },
    resolve: (from, to) => {
      const base = new URL(to, new URL(from, 'resolve://'));
      return base.protocol === 'resolve:' ? base.pathname + base.search + base.hash : base.href;
    },
  };
})();
