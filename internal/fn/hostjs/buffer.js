// Buffer, and Node's module buffer.
(() => {
  'use strict';
  const kinds = {
    utf8: 'utf8', 'utf-8': 'utf8', base64: 'base64', base64url: 'base64url', hex: 'hex', latin1: 'latin1', binary: 'latin1', ascii: 'ascii',
    utf16le: 'utf16le', 'utf-16le': 'utf16le', ucs2: 'utf16le', 'ucs-2': 'utf16le',
  };
  const kindOf = (encoding) => {
    const kind = kinds[encoding] ?? kinds[String(encoding).toLowerCase()];
    if (kind) return kind;
    const e = new TypeError(`Unknown encoding: ${encoding}`);
    e.code = 'ERR_UNKNOWN_ENCODING';
    throw e;
  };
  const textBytes = (text, encoding = 'utf8') => {
    switch (kindOf(encoding)) {
      case 'utf8': return __syncline.utf8(text);
      case 'base64': case 'base64url': return __syncline.unbase64(text);
      case 'hex': {
        const pairs = /^(?:[0-9a-fA-F]{2})*/.exec(text)[0];
        return Uint8Array.fromHex(pairs);
      }
      case 'utf16le': {
        const out = new Uint8Array(text.length * 2);
        for (let i = 0; i < text.length; i++) {
          const c = text.charCodeAt(i);
          out[2 * i] = c & 255;
          out[2 * i + 1] = c >> 8;
        }
        return out;
      }
    }
    const out = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
    return out;
  };
  const chars = (bytes, mask) => {
    let s = '';
    for (let i = 0; i < bytes.length; i += 4096) s += String.fromCharCode.apply(null, mask === 255 ? bytes.subarray(i, i + 4096) : bytes.subarray(i, i + 4096).map((b) => b & mask));
    return s;
  };
  const bytesText = (b, encoding = 'utf8') => {
    switch (kindOf(encoding)) {
      case 'utf8': return __syncline.unutf8(b);
      case 'base64': return __syncline.base64(b);
      case 'base64url': return __syncline.base64(b).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
      case 'hex': return Uint8Array.prototype.toHex.call(b);
      case 'latin1': return chars(b, 255);
      case 'ascii': return chars(b, 127);
    }
    let s = '';
    for (let i = 0; i + 1 < b.length; i += 2) s += String.fromCharCode(b[i] | (b[i + 1] << 8));
    return s;
  };
  const outOfRange = (name, range, value) => {
    const e = new RangeError(`The value of "${name}" is out of range. It must be ${range}. Received ${value}`);
    e.code = 'ERR_OUT_OF_RANGE';
    return e;
  };
  const wrongType = (name, types, value) => {
    const e = new TypeError(`The ${name} must be ${types}. Received ${value === null || value === undefined ? value : `type ${typeof value}`}`);
    e.code = 'ERR_INVALID_ARG_TYPE';
    return e;
  };
  const bytesOf = (v, encoding) => {
    if (typeof v === 'string') return textBytes(v, encoding);
    if (v instanceof ArrayBuffer) return new Uint8Array(v);
    if (ArrayBuffer.isView(v)) return new Uint8Array(v.buffer, v.byteOffset, v.byteLength);
    throw wrongType('argument', 'a string, a Buffer, or an ArrayBuffer', v);
  };

  class Buffer extends Uint8Array {
    static get [Symbol.species]() { return Buffer; }
    static from(v, encoding, length) {
      if (typeof v === 'string') return Buffer.#own(textBytes(v, encoding));
      if (v === null || v === undefined || typeof v === 'number' || typeof v === 'boolean') {
        throw wrongType('first argument', 'of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object', v);
      }
      if (v instanceof ArrayBuffer || Object.prototype.toString.call(v) === '[object SharedArrayBuffer]') return new Buffer(v, encoding ?? 0, length ?? v.byteLength - (encoding ?? 0));
      if (v.type === 'Buffer' && Array.isArray(v.data)) v = v.data;
      const value = typeof v.valueOf === 'function' ? v.valueOf() : v;
      if (typeof value === 'string') return Buffer.from(value, encoding);
      const out = new Buffer(v.length ?? 0);
      for (let i = 0; i < out.length; i++) out[i] = v[i];
      return out;
    }
    static #own(bytes) { return new Buffer(bytes.buffer, bytes.byteOffset, bytes.byteLength); }
    static alloc(n, fill = 0, encoding) {
      if (!(n >= 0 && n <= 2 ** 31)) throw outOfRange('size', '>= 0 && <= 2147483648', n);
      const b = new Buffer(n);
      return fill === 0 || n === 0 ? b : b.fill(fill, 0, n, encoding);
    }
    static allocUnsafe(n) { return Buffer.alloc(n); }
    static allocUnsafeSlow(n) { return Buffer.alloc(n); }
    static concat(list, length) {
      if (!Array.isArray(list)) throw wrongType('"list" argument', 'an instance of Array', list);
      length ??= list.reduce((n, b) => n + b.length, 0);
      const out = Buffer.alloc(length);
      let at = 0;
      for (const b of list) {
        if (at >= length) break;
        out.set(b.length > length - at ? b.subarray(0, length - at) : b, at);
        at += b.length;
      }
      return out;
    }
    static byteLength(v, encoding) { return typeof v === 'string' ? textBytes(v, encoding).length : bytesOf(v).byteLength; }
    static isBuffer(v) { return v instanceof Buffer; }
    static isEncoding(e) { return typeof e === 'string' && kinds[e.toLowerCase()] !== undefined; }
    static compare(a, b) {
      const n = Math.min(a.length, b.length);
      for (let i = 0; i < n; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
      return a.length === b.length ? 0 : a.length < b.length ? -1 : 1;
    }
    get parent() { return this.buffer; }
    get offset() { return this.byteOffset; }
    toString(encoding, start = 0, end = this.length) {
      start = Math.max(0, start | 0);
      end = Math.min(this.length, end);
      if (end <= start) return '';
      return bytesText(start === 0 && end === this.length ? this : this.subarray(start, end), encoding);
    }
    toLocaleString(encoding, start, end) { return this.toString(encoding, start, end); }
    toJSON() { return { type: 'Buffer', data: Array.from(this) }; }
    inspect() {
      const shown = this.subarray(0, 50).toString('hex').replace(/..(?=.)/g, '$& ');
      return `<Buffer${shown ? ' ' + shown : ''}${this.length > 50 ? ` ... ${this.length - 50} more byte${this.length === 51 ? '' : 's'}` : ''}>`;
    }
    equals(other) { return Buffer.compare(this, bytesOf(other)) === 0; }
    compare(other, a = 0, b = other.length, c = 0, d = this.length) { return Buffer.compare(this.subarray(c, d), other.subarray(a, b)); }
    subarray(start, end) {
      const part = Uint8Array.prototype.subarray.call(this, start, end);
      return part instanceof Buffer ? part : new Buffer(part.buffer, part.byteOffset, part.length);
    }
    slice(start, end) { return this.subarray(start, end); }
    copy(target, at = 0, start = 0, end = this.length) {
      const part = this.subarray(start, Math.min(end, start + target.length - at));
      target.set(part, at);
      return part.length;
    }
    fill(v, start = 0, end = this.length, encoding) {
      if (typeof start === 'string') [encoding, start, end] = [start, 0, this.length];
      else if (typeof end === 'string') [encoding, end] = [end, this.length];
      if (typeof v === 'number' || typeof v === 'boolean') return Uint8Array.prototype.fill.call(this, Number(v) & 255, start, end);
      const bytes = bytesOf(v, encoding);
      if (bytes.length === 0) return Uint8Array.prototype.fill.call(this, 0, start, end);
      for (let i = start; i < end; i++) this[i] = bytes[(i - start) % bytes.length];
      return this;
    }
    write(text, offset = 0, length, encoding) {
      if (typeof offset === 'string') [encoding, offset] = [offset, 0];
      if (typeof length === 'string') [encoding, length] = [length, undefined];
      let bytes = textBytes(text, encoding);
      const room = Math.min(length ?? Infinity, this.length - offset);
      if (bytes.length > room) {
        let cut = room;
        // A character is written whole or not at all.
        if (kindOf(encoding ?? 'utf8') === 'utf8') while (cut > 0 && (bytes[cut] & 0xc0) === 0x80) cut--;
        bytes = bytes.subarray(0, cut);
      }
      this.set(bytes, offset);
      return bytes.length;
    }
    #find(v, from, encoding, backward) {
      if (typeof from === 'string') [encoding, from] = [from, undefined];
      const what = typeof v === 'number' ? Uint8Array.of(v) : bytesOf(v, encoding);
      const last = this.length - what.length;
      from = from === undefined || Number.isNaN(Number(from)) ? (backward ? last : 0) : Math.trunc(from);
      if (from < 0) from = backward ? this.length + from : Math.max(0, this.length + from);
      for (let i = backward ? Math.min(from, last) : from; backward ? i >= 0 : i <= last; backward ? i-- : i++) {
        let k = 0;
        while (k < what.length && this[i + k] === what[k]) k++;
        if (k === what.length) return i;
      }
      return -1;
    }
    indexOf(v, from, encoding) { return this.#find(v, from, encoding, false); }
    lastIndexOf(v, from, encoding) { return this.#find(v, from, encoding, true); }
    includes(v, from, encoding) { return this.indexOf(v, from, encoding) >= 0; }
    #swap(n) {
      if (this.length % n !== 0) throw new RangeError(`Buffer size must be a multiple of ${n * 8}-bits`);
      for (let i = 0; i < this.length; i += n) Uint8Array.prototype.subarray.call(this, i, i + n).reverse();
      return this;
    }
    swap16() { return this.#swap(2); }
    swap32() { return this.#swap(4); }
    swap64() { return this.#swap(8); }
    #number(offset, size, little, signed) {
      if (offset + size > this.length || offset < 0) throw outOfRange('offset', `>= 0 and <= ${this.length - size}`, offset);
      let v = 0;
      for (let i = 0; i < size; i++) v = v * 256 + this[little ? offset + size - 1 - i : offset + i];
      return signed && v >= 2 ** (8 * size - 1) ? v - 2 ** (8 * size) : v;
    }
    #put(v, offset, size, little) {
      if (offset + size > this.length || offset < 0) throw outOfRange('offset', `>= 0 and <= ${this.length - size}`, offset);
      v = Math.trunc(Number(v));
      if (v < 0) v += 2 ** (8 * size);
      for (let i = 0; i < size; i++) {
        this[little ? offset + i : offset + size - 1 - i] = v % 256;
        v = Math.floor(v / 256);
      }
      return offset + size;
    }
    static {
      const define = (name, value) => Object.defineProperty(Buffer.prototype, name, { value, writable: true, configurable: true });
      const both = (name, value) => { define(name, value); define(name.replace('UInt', 'Uint'), value); };
      for (const [bits, size] of [[8, 1], [16, 2], [32, 4]]) {
        for (const end of size === 1 ? [''] : ['LE', 'BE']) {
          const little = end === 'LE';
          both(`readUInt${bits}${end}`, function (at = 0) { return this.#number(at, size, little, false); });
          define(`readInt${bits}${end}`, function (at = 0) { return this.#number(at, size, little, true); });
          both(`writeUInt${bits}${end}`, function (v, at = 0) { return this.#put(v, at, size, little); });
          define(`writeInt${bits}${end}`, function (v, at = 0) { return this.#put(v, at, size, little); });
        }
      }
      for (const end of ['LE', 'BE']) {
        const little = end === 'LE';
        both(`readUInt${end}`, function (at, size) { return this.#number(at, size, little, false); });
        define(`readInt${end}`, function (at, size) { return this.#number(at, size, little, true); });
        both(`writeUInt${end}`, function (v, at, size) { return this.#put(v, at, size, little); });
        define(`writeInt${end}`, function (v, at, size) { return this.#put(v, at, size, little); });
        for (const [name, kind, size] of [['Float', 'Float32', 4], ['Double', 'Float64', 8], ['BigInt64', 'BigInt64', 8], ['BigUInt64', 'BigUint64', 8]]) {
          both(`read${name}${end}`, function (at = 0) { return new DataView(this.buffer, this.byteOffset, this.length)[`get${kind}`](at, little); });
          both(`write${name}${end}`, function (v, at = 0) {
            new DataView(this.buffer, this.byteOffset, this.length)[`set${kind}`](at, v, little);
            return at + size;
          });
        }
      }
    }
  }
  Buffer.poolSize = 8192;
  globalThis.Buffer = Buffer;
  __syncline.modules.buffer = {
    Buffer, kMaxLength: 2 ** 31, constants: { MAX_LENGTH: 2 ** 31, MAX_STRING_LENGTH: 2 ** 29 }, atob: globalThis.atob, btoa: globalThis.btoa,
    get Blob() { return globalThis.Blob; },
    get File() { return globalThis.File; },
    isUtf8: (b) => { const t = __syncline.unutf8(bytesOf(b)); return Buffer.compare(__syncline.utf8(t), bytesOf(b)) === 0; },
    isAscii: (b) => bytesOf(b).every((v) => v < 128),
    transcode: (b, from, to) => Buffer.from(Buffer.from(b).toString(from), to),
  };
  __syncline.bytesOf = bytesOf;
})();
