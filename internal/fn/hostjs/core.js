// Globals of modern Node that QuickJS does not have and that nearly every
// bundle may touch: text encoding, base64, structuredClone, performance.
(() => {
  'use strict';
  __syncline.native = __sl_native;
  delete globalThis.__sl_native;

  const native = __syncline.native;
  const toBase64 = Uint8Array.prototype.toBase64;
  const fromBase64 = Uint8Array.fromBase64;
  __syncline.base64 = (bytes) => toBase64.call(bytes);
  // unbase64 takes both alphabets and leaves out what is in neither, as Node does.
  __syncline.unbase64 = (text) => {
    try {
      return fromBase64(text);
    } catch {
      text = text.replace(/=[^]*$/, '').replace(/-/g, '+').replace(/_/g, '/').replace(/[^A-Za-z0-9+/]/g, '');
      return fromBase64(text.length % 4 === 1 ? text.slice(0, -1) : text);
    }
  };
  // Texts longer than this are converted by the engine.
  const long = 128;
  __syncline.utf8 = (s) => {
    s = String(s);
    if (s.length > long) return fromBase64(native('utf8', s.toWellFormed()));
    const out = [];
    for (let i = 0; i < s.length; i++) {
      let c = s.codePointAt(i);
      if (c > 0xffff) i++;
      else if (c >= 0xd800 && c < 0xe000) c = 0xfffd;
      if (c < 0x80) out.push(c);
      else if (c < 0x800) out.push(0xc0 | (c >> 6), 0x80 | (c & 63));
      else if (c < 0x10000) out.push(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
      else out.push(0xf0 | (c >> 18), 0x80 | ((c >> 12) & 63), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
    }
    return Uint8Array.from(out);
  };
  // unutf8 replaces what is not UTF-8, one U+FFFD for each maximal bad part.
  __syncline.unutf8 = (b) => {
    if (b.length > long) {
      const text = native('unutf8', toBase64.call(b));
      if (text !== '') return text.slice(1);
    }
    const out = [];
    let part = [];
    const push = (c) => {
      part.push(c);
      if (part.length === 4096) {
        out.push(String.fromCodePoint(...part));
        part = [];
      }
    };
    for (let i = 0; i < b.length;) {
      const c = b[i];
      if (c < 0x80) {
        push(c);
        i++;
        continue;
      }
      const need = c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 0;
      let v = c & (0x3f >> need), k = 1;
      for (; need && k <= need; k++) {
        const d = b[i + k];
        const low = k === 1 && c === 0xe0 ? 0xa0 : k === 1 && c === 0xf0 ? 0x90 : 0x80;
        const high = k === 1 && c === 0xed ? 0x9f : k === 1 && c === 0xf4 ? 0x8f : 0xbf;
        if (!(d >= low && d <= high)) break;
        v = (v << 6) | (d & 63);
      }
      if (need && k === need + 1) push(v);
      else push(0xfffd);
      i += k;
    }
    out.push(String.fromCodePoint(...part));
    return out.join('');
  };

  // DOMException has the codes that it had before errors had names.
  const codes = {
    IndexSizeError: 1, NotFoundError: 8, NotSupportedError: 9, InvalidStateError: 11, SyntaxError: 12, InvalidAccessError: 15,
    InvalidCharacterError: 5, NetworkError: 19, AbortError: 20, QuotaExceededError: 22, TimeoutError: 23, DataCloneError: 25,
  };
  class DOMException extends Error {
    #name;
    constructor(message = '', name = 'Error') {
      super(message);
      this.#name = typeof name === 'object' && name !== null ? String(name.name ?? 'Error') : String(name);
      if (typeof name === 'object' && name !== null && 'cause' in name) this.cause = name.cause;
    }
    get name() { return this.#name; }
    get code() { return codes[this.#name] ?? 0; }
  }
  globalThis.DOMException = DOMException;

  globalThis.TextEncoder = class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(s = '') { return __syncline.utf8(s); }
    encodeInto(s, into) {
      let read = 0, written = 0;
      for (const c of String(s)) {
        const bytes = __syncline.utf8(c);
        if (written + bytes.length > into.length) break;
        into.set(bytes, written);
        written += bytes.length;
        read += c.length;
      }
      return { read, written };
    }
  };

  // Labels of encodings, by https://encoding.spec.whatwg.org/; "latin1" and
  // "ascii" are windows-1252 there.
  const labels = {
    'utf-8': 'utf-8', utf8: 'utf-8', 'unicode-1-1-utf-8': 'utf-8', 'utf-16le': 'utf-16le', 'utf-16': 'utf-16le', 'ucs-2': 'utf-16le', unicode: 'utf-16le',
    'utf-16be': 'utf-16be', latin1: 'windows-1252', 'iso-8859-1': 'windows-1252', iso8859_1: 'windows-1252', 'iso8859-1': 'windows-1252', l1: 'windows-1252',
    ascii: 'windows-1252', 'us-ascii': 'windows-1252', 'windows-1252': 'windows-1252', cp1252: 'windows-1252',
  };
  const high = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';
  // incomplete is how many bytes at the end of b begin a character that goes on.
  const incomplete = (b) => {
    for (let k = 1; k <= Math.min(3, b.length); k++) {
      const c = b[b.length - k];
      if (c >= 0xc0) return (c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2) > k ? k : 0;
      if (c < 0x80) return 0;
    }
    return 0;
  };
  globalThis.TextDecoder = class TextDecoder {
    #encoding;
    #fatal;
    #keepMark;
    #rest = new Uint8Array(0);
    #begun = false;
    constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
      this.#encoding = labels[String(label).trim().toLowerCase()];
      if (!this.#encoding) throw new RangeError(`The "${label}" encoding is not supported`);
      this.#fatal = Boolean(fatal);
      this.#keepMark = Boolean(ignoreBOM);
    }
    get encoding() { return this.#encoding; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#keepMark; }
    decode(data = new Uint8Array(0), { stream = false } = {}) {
      let b = data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      if (this.#rest.length > 0) {
        const all = new Uint8Array(this.#rest.length + b.length);
        all.set(this.#rest);
        all.set(b, this.#rest.length);
        b = all;
      }
      const keep = !stream ? 0 : this.#encoding === 'utf-8' ? incomplete(b) : this.#encoding.startsWith('utf-16') ? b.length % 2 : 0;
      this.#rest = b.slice(b.length - keep);
      b = b.subarray(0, b.length - keep);
      let text = '';
      if (this.#encoding === 'utf-8') {
        text = __syncline.unutf8(b);
        if (this.#fatal && text.includes('\ufffd')) {
          // One that was written is three bytes of the input.
          const again = __syncline.utf8(text);
          if (again.length !== b.length || again.some((v, i) => v !== b[i])) throw new TypeError('The encoded data was not valid for encoding utf-8');
        }
      } else if (this.#encoding === 'windows-1252') {
        for (const v of b) text += v >= 0x80 && v < 0xa0 ? high[v - 0x80] : String.fromCharCode(v);
      } else {
        const big = this.#encoding === 'utf-16be';
        for (let i = 0; i + 1 < b.length; i += 2) text += String.fromCharCode(big ? (b[i] << 8) | b[i + 1] : b[i] | (b[i + 1] << 8));
        if (b.length % 2 === 1) text += '\ufffd';
        text = text.toWellFormed();
      }
      if (!this.#begun && !this.#keepMark && text.startsWith('\ufeff')) text = text.slice(1);
      this.#begun = stream && (this.#begun || text !== '');
      return text;
    }
  };
  globalThis.btoa = (s) => {
    s = String(s);
    const bytes = new Uint8Array(s.length);
    for (let i = 0; i < s.length; i++) {
      const v = s.charCodeAt(i);
      if (v > 255) throw new DOMException('Invalid character', 'InvalidCharacterError');
      bytes[i] = v;
    }
    return __syncline.base64(bytes);
  };
  globalThis.atob = (s) => {
    s = String(s).replace(/[\t\n\f\r ]/g, '');
    if (s.length % 4 === 0) s = s.replace(/={1,2}$/, '');
    if (s.length % 4 === 1 || /[^A-Za-z0-9+/]/.test(s)) throw new DOMException('The string to be decoded is not correctly encoded.', 'InvalidCharacterError');
    let out = '';
    for (const b of fromBase64(s)) out += String.fromCharCode(b);
    return out;
  };

  globalThis.structuredClone = (value) => {
    const seen = new Map();
    const clone = (v) => {
      if (typeof v === 'function' || typeof v === 'symbol') throw new DOMException(`${String(v)} could not be cloned.`, 'DataCloneError');
      if (v === null || typeof v !== 'object') return v;
      if (seen.has(v)) return seen.get(v);
      let out;
      const keep = (o) => { seen.set(v, o); return o; };
      if (v instanceof Date) return keep(new Date(v));
      if (v instanceof RegExp) return keep(new RegExp(v.source, v.flags));
      if (v instanceof Boolean || v instanceof Number || v instanceof String) return keep(Object(v.valueOf()));
      if (v instanceof Map) { out = keep(new Map()); for (const [k, x] of [...v]) out.set(clone(k), clone(x)); return out; }
      if (v instanceof Set) { out = keep(new Set()); for (const x of [...v]) out.add(clone(x)); return out; }
      if (v instanceof ArrayBuffer) return keep(v.slice(0));
      if (v instanceof DataView) return keep(new DataView(v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength)));
      if (ArrayBuffer.isView(v)) {
        // Of a class of its own (Buffer), the kind beneath it.
        const Kind = globalThis[v[Symbol.toStringTag]];
        return keep(Kind.from(v));
      }
      if (v instanceof Promise || v instanceof WeakMap || v instanceof WeakSet || v instanceof WeakRef) {
        throw new DOMException(`#<${v.constructor.name}> could not be cloned.`, 'DataCloneError');
      }
      if (v instanceof Error) {
        const Kind = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError }[v.name] ?? Error;
        out = keep(new Kind(v.message));
        out.stack = v.stack;
        if ('cause' in v) out.cause = clone(v.cause);
        return out;
      }
      out = keep(Array.isArray(v) ? new Array(v.length) : {});
      for (const k of Object.keys(v)) out[k] = clone(v[k]);
      return out;
    };
    return clone(value);
  };

  globalThis.global = globalThis;
  const began = Date.now();
  globalThis.performance = { timeOrigin: began, now: () => Date.now() - began, mark() {}, measure() {}, toJSON: () => ({ timeOrigin: began }) };
  Error.captureStackTrace ??= (target) => {
    Object.defineProperty(target, 'stack', { value: new Error().stack, configurable: true, writable: true });
  };
  Array.fromAsync ??= async (items, map, self) => {
    const out = [];
    const take = async (v) => { out.push(map ? await map.call(self, v, out.length) : v); };
    if (items[Symbol.asyncIterator] || items[Symbol.iterator]) for await (const v of items) await take(v);
    else for (let i = 0; i < items.length; i++) await take(await items[i]);
    return out;
  };
  // The modules of Node's own that bundles import register themselves here.
  __syncline.modules = {};
})();
