// Buffer and the part of Node's crypto that pure functions use.
(() => {
  'use strict';
  const toBytes = (v, encoding = 'utf8') => {
    if (typeof v !== 'string') {
      if (v instanceof ArrayBuffer) return new Uint8Array(v);
      if (ArrayBuffer.isView(v)) return new Uint8Array(v.buffer, v.byteOffset, v.byteLength);
      return Uint8Array.from(v);
    }
    switch (String(encoding).toLowerCase()) {
      case 'utf8': case 'utf-8': return __syncline.utf8(v);
      case 'base64': case 'base64url': return __syncline.unbase64(v);
      case 'hex': return Uint8Array.from((v.match(/^(?:[0-9a-fA-F]{2})*/)[0].match(/../g) ?? []), (h) => parseInt(h, 16));
      case 'latin1': case 'binary': return Uint8Array.from(v, (c) => c.charCodeAt(0) & 255);
      case 'ascii': return Uint8Array.from(v, (c) => c.charCodeAt(0) & 255);
      case 'utf16le': case 'ucs2': case 'utf-16le': {
        const out = new Uint8Array(v.length * 2);
        for (let i = 0; i < v.length; i++) { out[2 * i] = v.charCodeAt(i) & 255; out[2 * i + 1] = v.charCodeAt(i) >> 8; }
        return out;
      }
    }
    throw new TypeError(`Unknown encoding: ${encoding}`);
  };
  const fromBytes = (b, encoding = 'utf8') => {
    switch (String(encoding).toLowerCase()) {
      case 'utf8': case 'utf-8': return __syncline.unutf8(b);
      case 'base64': return __syncline.base64(b);
      case 'base64url': return __syncline.base64(b).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
      case 'hex': return Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('');
      case 'latin1': case 'binary': return Array.from(b, (x) => String.fromCharCode(x)).join('');
      case 'ascii': return Array.from(b, (x) => String.fromCharCode(x & 127)).join('');
      case 'utf16le': case 'ucs2': case 'utf-16le': {
        let s = '';
        for (let i = 0; i + 1 < b.length; i += 2) s += String.fromCharCode(b[i] | (b[i + 1] << 8));
        return s;
      }
    }
    throw new TypeError(`Unknown encoding: ${encoding}`);
  };

  class Buffer extends Uint8Array {
    static from(v, encoding, length) {
      if (v instanceof ArrayBuffer) return new Buffer(v, encoding ?? 0, length ?? v.byteLength - (encoding ?? 0));
      if (v?.type === 'Buffer' && Array.isArray(v.data)) v = v.data;
      const bytes = toBytes(v, encoding);
      const b = new Buffer(bytes.length);
      b.set(bytes);
      return b;
    }
    static alloc(n, fill = 0, encoding) {
      const b = new Buffer(n);
      if (fill === 0 || n === 0) return b;
      const bytes = typeof fill === 'number' ? [fill] : toBytes(fill, encoding);
      for (let i = 0; i < n; i++) b[i] = bytes[i % bytes.length];
      return b;
    }
    static allocUnsafe(n) { return new Buffer(n); }
    static concat(list, length = list.reduce((n, b) => n + b.length, 0)) {
      const out = new Buffer(length);
      let at = 0;
      for (const b of list) {
        if (at >= length) break;
        out.set(b.subarray(0, length - at), at);
        at += b.length;
      }
      return out;
    }
    static byteLength(v, encoding) { return typeof v === 'string' ? toBytes(v, encoding).length : v.byteLength; }
    static isBuffer(v) { return v instanceof Buffer; }
    static isEncoding(e) { return /^(utf-?8|base64(url)?|hex|latin1|binary|ascii|utf-?16le|ucs2)$/i.test(e); }
    static compare(a, b) {
      const n = Math.min(a.length, b.length);
      for (let i = 0; i < n; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
      return a.length === b.length ? 0 : a.length < b.length ? -1 : 1;
    }
    toString(encoding, start = 0, end = this.length) { return fromBytes(this.subarray(start, end), encoding); }
    toJSON() { return { type: 'Buffer', data: Array.from(this) }; }
    equals(other) { return Buffer.compare(this, other) === 0; }
    compare(other) { return Buffer.compare(this, other); }
    write(s, offset = 0, encoding = 'utf8') {
      const bytes = toBytes(s, encoding).subarray(0, this.length - offset);
      this.set(bytes, offset);
      return bytes.length;
    }
    readUInt8(i = 0) { return this[i]; }
    readUInt16BE(i = 0) { return (this[i] << 8) | this[i + 1]; }
    readUInt32BE(i = 0) { return ((this[i] << 24) | (this[i + 1] << 16) | (this[i + 2] << 8) | this[i + 3]) >>> 0; }
    writeUInt8(v, i = 0) { this[i] = v; return i + 1; }
    writeUInt32BE(v, i = 0) { this[i] = v >>> 24; this[i + 1] = v >>> 16; this[i + 2] = v >>> 8; this[i + 3] = v; return i + 4; }
  }

  const digest = (op, algorithm, key) => {
    const chunks = [];
    return {
      update(data, encoding) { chunks.push(Buffer.from(data, encoding)); return this; },
      digest(encoding) {
        const text = __syncline.native(op, String(algorithm).toLowerCase(), __syncline.base64(Buffer.concat(chunks)), key === undefined ? '' : __syncline.base64(toBytes(key)));
        if (text === '') throw new Error(`crypto: the algorithm ${algorithm} is not offered; use sha1, sha256, sha384, sha512 or md5`);
        const b = Buffer.from(text, 'base64');
        return encoding ? b.toString(encoding) : b;
      },
    };
  };
  const crypto = {
    randomUUID: () => __syncline.native('uuid'),
    randomBytes: (n) => Buffer.from(__syncline.native('random', String(n)), 'base64'),
    getRandomValues: (array) => {
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      bytes.set(__syncline.unbase64(__syncline.native('random', String(bytes.length))));
      return array;
    },
    createHash: (algorithm) => digest('hash', algorithm),
    createHmac: (algorithm, key) => digest('hmac', algorithm, key),
    timingSafeEqual: (a, b) => {
      if (a.length !== b.length) throw new RangeError('Input buffers must have the same byte length');
      let d = 0;
      for (let i = 0; i < a.length; i++) d |= a[i] ^ b[i];
      return d === 0;
    },
  };
  crypto.webcrypto = crypto;
  Object.assign(globalThis, { Buffer, crypto });
})();
