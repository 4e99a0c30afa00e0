// URL, URLSearchParams, Headers, FormData, Blob, Request and Response. Parsing of URLs is done by the
// engine (__syncline.native), so that there is one parser.
(() => {
  'use strict';
  const formEncode = (s) => encodeURIComponent(String(s)).replace(/%20/g, '+').replace(/[!'()~]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());
  const formDecode = (s) => {
    s = s.replace(/\+/g, ' ');
    try {
      return decodeURIComponent(s);
    } catch {
      return s;
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
        for (const [k, v] of init) this.#list.push([String(k), String(v)]);
      } else {
        for (const [k, v] of Object.entries(init ?? {})) this.#list.push([k, String(v)]);
      }
    }
    static _bind(params, changed) { params.#changed = changed; return params; }
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

  class URL {
    #p;
    #params;
    constructor(href, base) {
      const text = __syncline.native('url', String(href), base === undefined ? '' : String(base));
      if (text === '') throw new TypeError(`Invalid URL: ${String(href).slice(0, 200)}`);
      this.#p = JSON.parse(text);
    }
    static canParse(href, base) { return __syncline.native('url', String(href), base === undefined ? '' : String(base)) !== ''; }
    static parse(href, base) { return URL.canParse(href, base) ? new URL(href, base) : null; }
    get protocol() { return this.#p.protocol; }
    set protocol(v) { this.#p.protocol = String(v).replace(/:?$/, ':'); }
    get username() { return this.#p.username; }
    set username(v) { this.#p.username = encodeURIComponent(v); }
    get password() { return this.#p.password; }
    set password(v) { this.#p.password = encodeURIComponent(v); }
    get hostname() { return this.#p.hostname; }
    set hostname(v) { this.#p.hostname = String(v); }
    get port() { return this.#p.port; }
    set port(v) { this.#p.port = String(v); }
    get host() { return this.#p.hostname + (this.#p.port ? ':' + this.#p.port : ''); }
    set host(v) { const [h, p = ''] = String(v).split(':'); this.#p.hostname = h; this.#p.port = p; }
    get origin() { return /^(https?|ftp|wss?):$/.test(this.#p.protocol) ? `${this.#p.protocol}//${this.host}` : 'null'; }
    get pathname() { return this.#p.pathname; }
    set pathname(v) { this.#p.pathname = encodeURI(String(v)).replace(/^\/?/, '/').replace(/[?#]/g, encodeURIComponent); }
    get search() { return this.#p.search; }
    set search(v) { v = String(v).replace(/^\?/, ''); this.#p.search = v ? '?' + v : ''; this.#params = undefined; }
    get hash() { return this.#p.hash; }
    set hash(v) { v = String(v).replace(/^#/, ''); this.#p.hash = v ? '#' + v : ''; }
    get searchParams() {
      this.#params ??= URLSearchParams._bind(new URLSearchParams(this.#p.search), () => {
        const s = this.#params.toString();
        this.#p.search = s ? '?' + s : '';
      });
      return this.#params;
    }
    get href() {
      const p = this.#p;
      if (p.opaque) return `${p.protocol}${p.opaque}${p.search}${p.hash}`;
      const user = p.username || p.password ? `${p.username}${p.password ? ':' + p.password : ''}@` : '';
      return `${p.protocol}//${user}${this.host}${p.pathname}${p.search}${p.hash}`;
    }
    set href(v) { this.#p = JSON.parse(__syncline.native('url', String(v), '') || 'null') ?? this.#p; this.#params = undefined; }
    toString() { return this.href; }
    toJSON() { return this.href; }
  }

  class Headers {
    #map = new Map();
    constructor(init = {}) {
      const pairs = typeof init?.[Symbol.iterator] === 'function' ? init : Object.entries(init);
      for (const [k, v] of pairs) this.append(k, v);
    }
    append(k, v) { k = String(k).toLowerCase(); this.#map.set(k, this.#map.has(k) ? `${this.#map.get(k)}, ${v}` : String(v)); }
    set(k, v) { this.#map.set(String(k).toLowerCase(), String(v)); }
    get(k) { return this.#map.get(String(k).toLowerCase()) ?? null; }
    has(k) { return this.#map.has(String(k).toLowerCase()); }
    delete(k) { this.#map.delete(String(k).toLowerCase()); }
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

  class FormData {
    #list = [];
    append(k, v, filename) { this.#list.push([String(k), v, filename]); }
    set(k, v, filename) { this.delete(k); this.append(k, v, filename); }
    delete(k) { this.#list = this.#list.filter(([n]) => n !== String(k)); }
    get(k) { return this.#list.find(([n]) => n === String(k))?.[1] ?? null; }
    getAll(k) { return this.#list.filter(([n]) => n === String(k)).map(([, v]) => v); }
    has(k) { return this.#list.some(([n]) => n === String(k)); }
    *entries() { for (const [k, v] of this.#list) yield [k, v]; }
    [Symbol.iterator]() { return this.entries(); }
    __multipart() {
      const boundary = '----syncline' + __syncline.native('uuid').replace(/-/g, '');
      const quote = (s) => String(s).replace(/\r\n?|\n/g, '%0D%0A').replace(/"/g, '%22');
      const chunks = [];
      for (const [k, v, filename] of this.#list) {
        const bytes = v instanceof Blob || v instanceof ArrayBuffer || ArrayBuffer.isView(v) ? bytesOf(v) : undefined;
        const type = (v instanceof Blob && v.type) || 'application/octet-stream';
        const file = bytes || filename ? `; filename="${quote(filename ?? (v instanceof File ? v.name : 'blob'))}"\r\nContent-Type: ${type}` : '';
        chunks.push(__syncline.utf8(`--${boundary}\r\nContent-Disposition: form-data; name="${quote(k)}"${file}\r\n\r\n`), bytes ?? __syncline.utf8(v), __syncline.utf8('\r\n'));
      }
      chunks.push(__syncline.utf8(`--${boundary}--\r\n`));
      const all = new Uint8Array(chunks.reduce((n, c) => n + c.length, 0));
      let at = 0;
      for (const c of chunks) {
        all.set(c, at);
        at += c.length;
      }
      return { body: __syncline.base64(all), bodyEncoding: 'base64', contentType: `multipart/form-data; boundary=${boundary}` };
    }
  }

  Object.assign(globalThis, { URL, URLSearchParams, Headers, FormData, Blob, File, Request, Response });
})();
