// Globals of modern Node that QuickJS does not have and that nearly every
// bundle may touch: text encoding, base64, structuredClone.
(() => {
  'use strict';
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const values = new Int16Array(128).fill(-1);
  for (let i = 0; i < 64; i++) values[alphabet.charCodeAt(i)] = i;
  values['-'.charCodeAt(0)] = 62;
  values['_'.charCodeAt(0)] = 63;

  __syncline.native = __sl_native;
  delete globalThis.__sl_native;

  __syncline.base64 = (bytes) => {
    const out = [];
    for (let i = 0; i < bytes.length; i += 3) {
      const n = (bytes[i] << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
      out.push(alphabet[n >> 18], alphabet[(n >> 12) & 63], i + 1 < bytes.length ? alphabet[(n >> 6) & 63] : '=', i + 2 < bytes.length ? alphabet[n & 63] : '=');
    }
    return out.join('');
  };
  __syncline.unbase64 = (text) => {
    const out = new Uint8Array(Math.floor((text.length * 3) / 4));
    let n = 0, bits = 0, length = 0;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      const v = c < 128 ? values[c] : -1;
      if (v < 0) continue;
      n = ((n << 6) | v) & 0xffffff;
      bits += 6;
      if (bits >= 8) {
        bits -= 8;
        out[length++] = (n >> bits) & 255;
      }
    }
    return out.slice(0, length);
  };
  __syncline.utf8 = (s) => {
    s = String(s);
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

  globalThis.TextEncoder = class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(s = '') { return __syncline.utf8(s); }
  };
  globalThis.TextDecoder = class TextDecoder {
    constructor(label = 'utf-8') {
      if (!/^utf-?8$/i.test(label)) throw new RangeError(`TextDecoder: only utf-8 is offered, not ${label}`);
    }
    get encoding() { return 'utf-8'; }
    decode(data = new Uint8Array()) {
      const b = data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return __syncline.unutf8(b[0] === 0xef && b[1] === 0xbb && b[2] === 0xbf ? b.subarray(3) : b);
    }
  };
  globalThis.btoa = (s) => {
    const bytes = Uint8Array.from(String(s), (c) => {
      const v = c.charCodeAt(0);
      if (v > 255) throw new Error('btoa: the string has a character outside of Latin-1');
      return v;
    });
    return __syncline.base64(bytes);
  };
  globalThis.atob = (s) => Array.from(__syncline.unbase64(String(s)), (b) => String.fromCharCode(b)).join('');

  globalThis.structuredClone = (value) => {
    const seen = new Map();
    const clone = (v) => {
      if (typeof v === 'function' || typeof v === 'symbol') throw new Error(`structuredClone: a ${typeof v} cannot be cloned`);
      if (v === null || typeof v !== 'object') return v;
      if (seen.has(v)) return seen.get(v);
      let out;
      const keep = (o) => { seen.set(v, o); return o; };
      if (v instanceof Date) return keep(new Date(v));
      if (v instanceof RegExp) return keep(new RegExp(v.source, v.flags));
      if (v instanceof Map) { out = keep(new Map()); for (const [k, x] of v) out.set(clone(k), clone(x)); return out; }
      if (v instanceof Set) { out = keep(new Set()); for (const x of v) out.add(clone(x)); return out; }
      if (v instanceof ArrayBuffer) return keep(v.slice(0));
      if (ArrayBuffer.isView(v)) return keep(new v.constructor(v));
      if (v instanceof Error) { out = keep(new v.constructor(v.message)); out.stack = v.stack; return out; }
      out = keep(Array.isArray(v) ? new Array(v.length) : {});
      for (const k of Object.keys(v)) out[k] = clone(v[k]);
      return out;
    };
    return clone(value);
  };
})();
