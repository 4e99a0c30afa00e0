// Node's module crypto, and the global crypto of the web. The engine computes;
// what is given piece by piece is kept until the end and computed at once.
(() => {
  'use strict';
  const { native, base64, bytesOf } = __syncline;
  const { Buffer } = globalThis;

  const fail = (Kind, message, code) => {
    const e = new Kind(message);
    if (code) e.code = code;
    return e;
  };
  const perform = (op, request) => {
    const out = JSON.parse(native('crypto', op, JSON.stringify(request)));
    if (out.error) throw fail({ ERR_CRYPTO_INVALID_KEYLEN: RangeError, ERR_CRYPTO_INVALID_IV: TypeError }[out.code] ?? Error, out.error, out.code);
    return out;
  };
  const send = (v, encoding) => base64(bytesOf(v, encoding));
  const given = (text, encoding) => {
    const b = Buffer.from(text ?? '', 'base64');
    return encoding && encoding !== 'buffer' ? b.toString(encoding) : b;
  };

  // ---- hashes ----

  const computed = (op, algorithm, data, key) => {
    const text = native(op, String(algorithm), data, key ?? '');
    if (text === '') {
      throw fail(Error, `Digest method not supported: ${algorithm} (offered are md5, sha1, sha224, sha256, sha384, sha512, sha3-* and ripemd160; others need engine: 'node')`, 'ERR_CRYPTO_INVALID_DIGEST');
    }
    return text;
  };
  class Hash {
    #op;
    #algorithm;
    #key;
    #chunks;
    #done = false;
    constructor(op, algorithm, key, chunks = []) {
      this.#op = op;
      this.#algorithm = algorithm;
      this.#key = key;
      this.#chunks = chunks;
      if (chunks.length === 0) computed(op, algorithm, '', key); // an unknown name is noticed at once
    }
    update(data, encoding) {
      if (this.#done) throw fail(Error, 'Digest already called', 'ERR_CRYPTO_HASH_FINALIZED');
      this.#chunks.push(Buffer.from(bytesOf(data, encoding)));
      return this;
    }
    digest(encoding) {
      if (this.#done) throw fail(Error, 'Digest already called', 'ERR_CRYPTO_HASH_FINALIZED');
      this.#done = true;
      return given(computed(this.#op, this.#algorithm, base64(Buffer.concat(this.#chunks)), this.#key), encoding);
    }
    copy() { return new Hash(this.#op, this.#algorithm, this.#key, [...this.#chunks]); }
  }

  // ---- keys ----

  class KeyObject {
    constructor(type, der, kind, details) {
      Object.defineProperty(this, 'type', { value: type, enumerable: true });
      Object.defineProperty(this, '_der', { value: der });
      if (type === 'secret') return;
      Object.defineProperty(this, 'asymmetricKeyType', { value: kind, enumerable: true });
      Object.defineProperty(this, 'asymmetricKeyDetails', { value: details, enumerable: true });
    }
    get symmetricKeySize() { return this.type === 'secret' ? Buffer.from(this._der, 'base64').length : undefined; }
    export({ format = 'pem', type, passphrase, cipher } = {}) {
      if (this.type === 'secret') {
        const b = Buffer.from(this._der, 'base64');
        return format === 'jwk' ? { kty: 'oct', k: b.toString('base64url') } : b;
      }
      if (passphrase || cipher) throw fail(Error, "keys with a passphrase are not offered; run the function on Node (engine: 'node')");
      const { out } = perform('export', { key: { der: this._der }, format, kind: type ?? '' });
      return format === 'jwk' ? out.jwk : format === 'der' ? Buffer.from(out.der, 'base64') : out.pem;
    }
    equals(other) { return other instanceof KeyObject && this.type === other.type && this._der === other._der; }
  }
  const input = (key) => {
    if (key instanceof KeyObject) return { der: key._der };
    if (key instanceof CryptoKey) return { der: key._key };
    if (typeof key === 'string') return { pem: key };
    if (key instanceof ArrayBuffer || ArrayBuffer.isView(key)) {
      const text = Buffer.from(bytesOf(key)).toString('latin1');
      return text.includes('-----BEGIN') ? { pem: text } : { der: base64(bytesOf(key)) };
    }
    if (key !== null && typeof key === 'object') {
      if (key.format === 'jwk') return { jwk: key.key };
      if (key.key !== undefined) {
        if (key.passphrase) return { ...input(key.key), passphrase: true };
        return typeof key.key === 'string' && key.encoding ? { der: base64(Buffer.from(key.key, key.encoding)) } : input(key.key);
      }
    }
    throw fail(TypeError, 'The "key" argument must be of type string or an instance of ArrayBuffer, Buffer, KeyObject, or an object with one of them', 'ERR_INVALID_ARG_TYPE');
  };
  const keyObject = (key, want) => {
    const { key: k } = perform('key', { key: { ...input(key), want } });
    return new KeyObject(k.type, k.der, k.kind, k.kind === 'rsa' ? { modulusLength: k.bits, publicExponent: 65537n } : k.curve ? { namedCurve: k.curve } : {});
  };
  const secret = (key, encoding) => (key instanceof KeyObject || key instanceof CryptoKey ? key._der ?? key._key : send(key, encoding));

  const constants = {
    RSA_PKCS1_PADDING: 1, RSA_NO_PADDING: 3, RSA_PKCS1_OAEP_PADDING: 4, RSA_PKCS1_PSS_PADDING: 6,
    RSA_PSS_SALTLEN_DIGEST: -1, RSA_PSS_SALTLEN_AUTO: -2, RSA_PSS_SALTLEN_MAX_SIGN: -2,
  };
  const signing = (algorithm, data, key) => ({
    key: input(key), hash: algorithm ?? '', data, padding: key?.padding === constants.RSA_PKCS1_PSS_PADDING ? 'pss' : 'pkcs1',
    salt: key?.saltLength ?? -2, encoding: key?.dsaEncoding ?? 'der',
  });
  class Signer {
    #algorithm;
    #chunks = [];
    constructor(algorithm) {
      this.#algorithm = algorithm;
      computed('hash', algorithm, '');
    }
    update(data, encoding) {
      this.#chunks.push(Buffer.from(bytesOf(data, encoding)));
      return this;
    }
    write(data, encoding) { this.update(data, encoding); return true; }
    end(data, encoding) { if (data !== undefined) this.update(data, encoding); return this; }
    _request(key) { return signing(this.#algorithm, base64(Buffer.concat(this.#chunks)), key); }
  }
  class Sign extends Signer {
    sign(key, encoding) { return given(perform('sign', this._request(key)).data, encoding); }
  }
  class Verify extends Signer {
    verify(key, signature, encoding) { return perform('verify', { ...this._request(key), signature: send(signature, encoding) }).ok === true; }
  }

  const rsa = (decrypt, want) => (key, data) => {
    const padding = key?.padding ?? constants.RSA_PKCS1_OAEP_PADDING;
    if (padding !== constants.RSA_PKCS1_PADDING && padding !== constants.RSA_PKCS1_OAEP_PADDING) throw fail(Error, 'RSA is offered with the paddings OAEP and PKCS #1');
    return given(perform('rsa', {
      key: { ...input(key), want }, decrypt, data: send(data), padding: padding === constants.RSA_PKCS1_PADDING ? 'pkcs1' : 'oaep',
      hash: key?.oaepHash ?? 'sha1', label: key?.oaepLabel ? send(key.oaepLabel) : '',
    }).data);
  };

  // ---- ciphers ----

  class Cipher {
    #request;
    #chunks = [];
    #done = false;
    #tag;
    constructor(name, key, iv, options, decrypt) {
      this.#request = { cipher: String(name), secret: secret(key), iv: iv === null || iv === undefined ? '' : send(iv), decrypt, tagSize: options?.authTagLength ?? 16 };
      perform('cipher', { ...this.#request, decrypt: false, data: '' }); // what is wrong with it is noticed at once
    }
    update(data, from, to) {
      this.#chunks.push(Buffer.from(bytesOf(data, from)));
      return to && to !== 'buffer' ? '' : Buffer.alloc(0);
    }
    final(encoding) {
      if (this.#done) throw fail(Error, 'Unsupported state');
      this.#done = true;
      const out = perform('cipher', { ...this.#request, data: base64(Buffer.concat(this.#chunks)) });
      if (out.tag) this.#tag = Buffer.from(out.tag, 'base64');
      return given(out.data, encoding);
    }
    setAutoPadding(pad = true) { this.#request.plain = !pad; return this; }
    setAAD(data, options) { this.#request.aad = send(data, options?.encoding); return this; }
    setAuthTag(tag, encoding) { this.#request.tag = send(tag, encoding); return this; }
    getAuthTag() {
      if (!this.#tag) throw fail(Error, 'Invalid state for operation getAuthTag', 'ERR_CRYPTO_INVALID_STATE');
      return this.#tag;
    }
  }

  // ---- derivation and randomness ----

  const later = (f) => (...args) => {
    const callback = args.pop();
    if (typeof callback !== 'function') throw fail(TypeError, 'The "callback" argument must be of type function', 'ERR_INVALID_ARG_TYPE');
    let error = null, out;
    try {
      out = f(...args);
    } catch (e) {
      error = e;
    }
    setTimeout(() => callback(error, out), 0);
  };
  const pbkdf2Sync = (password, salt, iterations, length, hash) => given(perform('pbkdf2', { secret: send(password), saltBytes: send(salt), iterations, length, hash }).data);
  const scryptSync = (password, salt, length, { N, r, p, cost, blockSize, parallelization } = {}) => given(perform('scrypt', {
    secret: send(password), saltBytes: send(salt), length, n: N ?? cost ?? 16384, r: r ?? blockSize ?? 8, p: p ?? parallelization ?? 1,
  }).data);
  const hkdfSync = (hash, key, salt, info, length) => {
    const b = given(perform('hkdf', { hash, secret: secret(key), saltBytes: send(salt), info: send(info), length }).data);
    return b.buffer.slice(b.byteOffset, b.byteOffset + b.length);
  };
  const random = (n) => {
    const text = native('random', String(n));
    if (text === '' && n !== 0) throw fail(RangeError, 'The value of "size" is out of range. It must be >= 0 && <= 1048576.', 'ERR_OUT_OF_RANGE');
    return Buffer.from(text, 'base64');
  };
  const getRandomValues = (array) => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    if (bytes.length > 65536) throw new DOMException('The requested length exceeds 65,536 bytes', 'QuotaExceededError');
    bytes.set(random(bytes.length));
    return array;
  };
  const randomInt = (min, max, callback) => {
    if (max === undefined || typeof max === 'function') [min, max, callback] = [0, min, max];
    const range = max - min;
    if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max) || range <= 0 || range > 2 ** 48 - 1) throw fail(RangeError, 'The value of "max" is out of range.', 'ERR_OUT_OF_RANGE');
    const limit = 2 ** 48 - (2 ** 48 % range);
    let v;
    do v = random(6).readUIntBE(0, 6); while (v >= limit);
    v = min + (v % range);
    if (typeof callback !== 'function') return v;
    setTimeout(() => callback(null, v), 0);
    return undefined;
  };

  // ---- the web's ----

  const nameOf = (a) => String(typeof a === 'string' ? a : a?.name).toUpperCase();
  const hashOf = (a) => (typeof a === 'string' ? a : a?.name);
  class CryptoKey {
    constructor(type, algorithm, extractable, usages, key) {
      Object.assign(this, { type, algorithm, extractable, usages: [...usages] });
      Object.defineProperty(this, '_key', { value: key });
    }
  }
  const notOffered = (what) => new DOMException(`${what} is not offered; run the function on Node (engine: 'node')`, 'NotSupportedError');
  const buffer = (text) => {
    const b = Buffer.from(text ?? '', 'base64');
    return b.buffer.slice(b.byteOffset, b.byteOffset + b.length);
  };
  const may = (key, usage) => {
    if (!key.usages.includes(usage)) throw new DOMException(`The key may not be used to ${usage}`, 'InvalidAccessError');
  };
  const signature = (a, key, data) => {
    const name = key.algorithm.name.toUpperCase();
    return {
      key: { der: key._key }, data: send(data), hash: hashOf(a.hash ?? key.algorithm.hash) ?? '', encoding: name === 'ECDSA' ? 'ieee-p1363' : 'der',
      padding: name === 'RSA-PSS' ? 'pss' : 'pkcs1', salt: a.saltLength ?? -2,
    };
  };
  const operation = (error) => new DOMException(error.message, 'OperationError');
  const cipher = (decrypt) => async (a, key, data) => {
    may(key, decrypt ? 'decrypt' : 'encrypt');
    const name = nameOf(a);
    try {
      if (name === 'RSA-OAEP') return buffer(perform('rsa', { key: { der: key._key }, decrypt, data: send(data), padding: 'oaep', hash: hashOf(key.algorithm.hash), label: a.label ? send(a.label) : '' }).data);
      const mode = { 'AES-GCM': 'gcm', 'AES-CBC': 'cbc', 'AES-CTR': 'ctr' }[name];
      if (!mode) throw notOffered(name);
      const bits = Buffer.from(key._key, 'base64').length * 8;
      const size = (a.tagLength ?? 128) / 8;
      const request = { cipher: `aes-${bits}-${mode}`, secret: key._key, iv: send(a.iv ?? a.counter), decrypt, tagSize: size, aad: a.additionalData ? send(a.additionalData) : '' };
      const bytes = Buffer.from(bytesOf(data));
      if (mode !== 'gcm') return buffer(perform('cipher', { ...request, data: base64(bytes) }).data);
      if (decrypt) return buffer(perform('cipher', { ...request, data: base64(bytes.subarray(0, -size)), tag: base64(bytes.subarray(-size)) }).data);
      const out = perform('cipher', { ...request, data: base64(bytes) });
      return buffer(base64(Buffer.concat([Buffer.from(out.data ?? '', 'base64'), Buffer.from(out.tag, 'base64')])));
    } catch (e) {
      throw e instanceof DOMException ? e : operation(e);
    }
  };
  const deriveBits = async (a, key, length) => {
    const request = { secret: key._key, saltBytes: send(a.salt), hash: hashOf(a.hash), length: length / 8 };
    if (nameOf(a) === 'PBKDF2') return buffer(perform('pbkdf2', { ...request, iterations: a.iterations }).data);
    if (nameOf(a) === 'HKDF') return buffer(perform('hkdf', { ...request, info: send(a.info) }).data);
    throw notOffered(nameOf(a));
  };
  const subtle = {
    digest: async (a, data) => buffer(computed('hash', hashOf(a), send(data))),
    importKey: async (format, data, a, extractable, usages) => {
      const algorithm = typeof a === 'string' ? { name: a } : { ...a, ...(a.hash ? { hash: typeof a.hash === 'string' ? { name: a.hash } : a.hash } : {}) };
      if (format === 'raw' && nameOf(a) !== 'ECDSA' && nameOf(a) !== 'ED25519') return new CryptoKey('secret', { ...algorithm, length: bytesOf(data).length * 8 }, extractable, usages, send(data));
      if (format === 'jwk' && data.kty === 'oct') return new CryptoKey('secret', algorithm, extractable, usages, base64(Buffer.from(data.k, 'base64url')));
      if (!['jwk', 'pkcs8', 'spki'].includes(format)) throw notOffered(`Importing keys as ${format}`);
      try {
        const { key } = perform('key', { key: format === 'jwk' ? { jwk: data } : { der: send(data) } });
        return new CryptoKey(key.type, algorithm, extractable, usages, key.der);
      } catch (e) {
        throw new DOMException(e.message, 'DataError');
      }
    },
    exportKey: async (format, key) => {
      if (!key.extractable) throw new DOMException('key is not extractable', 'InvalidAccessException');
      if (key.type === 'secret') return format === 'jwk' ? { kty: 'oct', k: Buffer.from(key._key, 'base64').toString('base64url'), ext: true, key_ops: key.usages } : buffer(key._key);
      const { out } = perform('export', { key: { der: key._key }, format: format === 'jwk' ? 'jwk' : 'der', kind: format === 'jwk' ? '' : format });
      return format === 'jwk' ? { ...out.jwk, ext: true, key_ops: key.usages } : buffer(out.der);
    },
    generateKey: async (a, extractable, usages) => {
      const name = nameOf(a);
      if (!/^(?:AES-(?:GCM|CBC|CTR)|HMAC)$/.test(name)) throw notOffered(`Generating keys of ${name}`);
      const bits = a.length ?? (name === 'HMAC' ? { 'SHA-384': 1024, 'SHA-512': 1024 }[hashOf(a.hash).toUpperCase()] ?? 512 : 256);
      return subtle.importKey('raw', random(bits / 8), a, extractable, usages);
    },
    sign: async (a, key, data) => {
      may(key, 'sign');
      if (nameOf(a) === 'HMAC') return buffer(computed('hmac', hashOf(key.algorithm.hash), send(data), key._key));
      return buffer(perform('sign', signature(a, key, data)).data);
    },
    verify: async (a, key, mac, data) => {
      may(key, 'verify');
      if (nameOf(a) === 'HMAC') return crypto.timingSafeEqual(Buffer.from(computed('hmac', hashOf(key.algorithm.hash), send(data), key._key), 'base64'), Buffer.from(bytesOf(mac)), true);
      return perform('verify', { ...signature(a, key, data), signature: send(mac) }).ok === true;
    },
    encrypt: cipher(false),
    decrypt: cipher(true),
    deriveBits,
    deriveKey: async (a, key, derived, extractable, usages) => subtle.importKey('raw', await deriveBits(a, key, derived.length ?? 512), derived, extractable, usages),
  };
  const webcrypto = { subtle, getRandomValues, randomUUID: () => native('uuid'), CryptoKey };

  const crypto = {
    constants, webcrypto, subtle, getRandomValues, KeyObject, Hash, Sign, Verify,
    createHash: (algorithm) => new Hash('hash', algorithm),
    createHmac: (algorithm, key) => new Hash('hmac', algorithm, secret(key)),
    hash: (algorithm, data, encoding = 'hex') => new Hash('hash', algorithm).update(data).digest(encoding),
    getHashes: () => ['RSA-SHA1', 'RSA-SHA256', 'RSA-SHA384', 'RSA-SHA512', 'md5', 'ripemd160', 'sha1', 'sha224', 'sha256', 'sha3-224', 'sha3-256', 'sha3-384', 'sha3-512', 'sha384', 'sha512', 'sha512-224', 'sha512-256'],
    getCiphers: () => ['cbc', 'ctr', 'ecb', 'gcm'].flatMap((mode) => [128, 192, 256].map((bits) => `aes-${bits}-${mode}`)),
    getCurves: () => ['prime256v1', 'secp224r1', 'secp384r1', 'secp521r1'],
    createSign: (algorithm) => new Sign(algorithm),
    createVerify: (algorithm) => new Verify(algorithm),
    sign: (algorithm, data, key, callback) => {
      const f = () => given(perform('sign', signing(algorithm, send(data), key)).data);
      return callback ? later(f)(callback) : f();
    },
    verify: (algorithm, data, key, mac, callback) => {
      const f = () => perform('verify', { ...signing(algorithm, send(data), key), signature: send(mac) }).ok === true;
      return callback ? later(f)(callback) : f();
    },
    createPrivateKey: (key) => keyObject(key, 'private'),
    createPublicKey: (key) => keyObject(key, 'public'),
    createSecretKey: (key, encoding) => new KeyObject('secret', send(key, encoding)),
    publicEncrypt: rsa(false), privateDecrypt: rsa(true),
    createCipheriv: (name, key, iv, options) => new Cipher(name, key, iv, options, false),
    createDecipheriv: (name, key, iv, options) => new Cipher(name, key, iv, options, true),
    pbkdf2Sync, pbkdf2: later(pbkdf2Sync), scryptSync, hkdfSync, hkdf: later(hkdfSync),
    scrypt: (...args) => later(scryptSync)(...args),
    randomUUID: () => native('uuid'),
    randomBytes: (n, callback) => (callback ? later(random)(n, callback) : random(n)),
    randomInt,
    randomFillSync: (array, offset = 0, size = array.byteLength - offset) => {
      new Uint8Array(array.buffer ?? array, (array.byteOffset ?? 0) + offset, size).set(random(size));
      return array;
    },
    timingSafeEqual: (a, b, lenient) => {
      a = bytesOf(a);
      b = bytesOf(b);
      if (a.length !== b.length) {
        if (lenient) return false;
        throw fail(RangeError, 'Input buffers must have the same byte length', 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH');
      }
      let d = 0;
      for (let i = 0; i < a.length; i++) d |= a[i] ^ b[i];
      return d === 0;
    },
  };
  __syncline.modules.crypto = crypto;
  globalThis.crypto = webcrypto;
  globalThis.CryptoKey = CryptoKey;
})();
