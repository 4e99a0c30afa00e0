// Node's modules util and assert.
(() => {
  'use strict';
  const kindOf = (v) => Object.prototype.toString.call(v).slice(8, -1);
  const isError = (v) => v instanceof Error || kindOf(v) === 'Error';
  const isName = (s) => /^[A-Za-z_$][\w$]*$/.test(s);

  // ---- inspect ----

  const custom = Symbol.for('nodejs.util.inspect.custom');
  const quoted = (s) => {
    const mark = !s.includes("'") ? "'" : !s.includes('"') ? '"' : !s.includes('`') && !s.includes('${') ? '`' : "'";
    const named = { '\n': '\\n', '\t': '\\t', '\r': '\\r', '\b': '\\b', '\f': '\\f', '\v': '\\v', '\\': '\\\\' };
    // eslint-disable-next-line no-control-regex
    const body = s.replace(/[\0-\x1f\\\x7f-\x9f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, (c) => named[c] ??
      (c.charCodeAt(0) < 256 ? '\\x' + c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0') : '\\u' + c.charCodeAt(0).toString(16).toUpperCase()));
    return mark + (mark === "'" ? body.replace(/'/g, "\\'") : body) + mark;
  };
  const keyText = (k) => (typeof k === 'symbol' ? `[${String(k)}]` : isName(k) ? k : quoted(k));
  const classOf = (v) => {
    for (let p = v; p !== null && p !== undefined; p = Object.getPrototypeOf(p)) {
      const d = Object.getOwnPropertyDescriptor(p, 'constructor');
      if (d && typeof d.value === 'function' && d.value.name !== '') return d.value.name;
    }
    return null;
  };
  const number = (v) => (Object.is(v, -0) ? '-0' : String(v));

  function inspect(value, options, ...older) {
    // The older form: (value, showHidden, depth).
    const o = typeof options === 'boolean' ? { showHidden: options, depth: older[0] } : { ...options };
    const depth = o.depth === null || o.depth === Infinity ? Infinity : o.depth ?? 2;
    const width = o.breakLength ?? 80;
    const compact = o.compact === false ? 0 : o.compact === true ? Infinity : o.compact ?? 3;
    const most = o.maxArrayLength === null ? Infinity : o.maxArrayLength ?? 100;
    const longest = o.maxStringLength === null ? Infinity : o.maxStringLength ?? 10000;
    const path = [];
    const circles = new Map();
    let deepest = 0;

    const primitive = (v, indent, top) => {
      switch (typeof v) {
        case 'string': {
          const cut = v.length > longest ? `... ${v.length - longest} more character${v.length - longest === 1 ? '' : 's'}` : '';
          if (cut) v = v.slice(0, longest);
          if (!top && v.length > 16 && v.length > width - indent - 4 && v.includes('\n')) {
            return v.split(/(?<=\n)/).map(quoted).join(` +\n${' '.repeat(indent + 2)}`) + cut;
          }
          return quoted(v) + cut;
        }
        case 'number': return number(v);
        case 'bigint': return `${v}n`;
        default: return String(v);
      }
    };
    const more = (n) => `... ${n} more item${n === 1 ? '' : 's'}`;

    const show = (v, level, indent, typed) => {
      if (v === null || (typeof v !== 'object' && typeof v !== 'function')) return primitive(v, indent, level === 0 && !typed);
      const own = v[custom];
      if (typeof own === 'function' && own !== inspect) {
        const left = depth - level;
        const said = own.call(v, left, { ...o, depth: left }, inspect);
        return typeof said === 'string' ? said.replaceAll('\n', `\n${' '.repeat(indent)}`) : show(said, level, indent);
      }
      if (typeof globalThis.Buffer === 'function' && v instanceof globalThis.Buffer) return v.inspect();
      if (path.includes(v)) {
        if (!circles.has(v)) circles.set(v, circles.size + 1);
        return `[Circular *${circles.get(v)}]`;
      }
      const name = classOf(v);
      const tag = typeof v[Symbol.toStringTag] === 'string' && v[Symbol.toStringTag] !== name ? v[Symbol.toStringTag] : '';
      const tagged = tag ? ` [${tag}]` : '';
      const keys = Object.keys(v);
      for (const s of Object.getOwnPropertySymbols(v)) if (Object.prototype.propertyIsEnumerable.call(v, s)) keys.push(s);
      const list = [];
      let base = '', open = '{', close = '}', isList = false;
      const title = (kind, size) => (name === null ? `[${kind}${size ?? ''}: null prototype]${tagged} ` : name !== kind || size !== undefined || tag ? `${name}${size ?? ''}${tagged} ` : '');
      const fields = new Set(keys);
      let values = () => [];
      if (Array.isArray(v) || (ArrayBuffer.isView(v) && !(v instanceof DataView))) {
        isList = true;
        const typedArray = !Array.isArray(v);
        open = `${typedArray ? title(kindOf(v), `(${v.length})`).replace(` [${kindOf(v)}]`, '') : name === 'Array' ? '' : `${title('Array', `(${v.length})`)}`}[`;
        close = ']';
        for (const k of keys) if (typeof k === 'string' && /^\d+$/.test(k)) fields.delete(k);
        values = (inner) => {
          const out = [];
          for (let i = 0; i < v.length && out.length < most; i++) {
            if (!typedArray && !Object.prototype.hasOwnProperty.call(v, i)) {
              let n = 1;
              while (i + n < v.length && !Object.prototype.hasOwnProperty.call(v, i + n)) n++;
              out.push(`<${n} empty item${n === 1 ? '' : 's'}>`);
              i += n - 1;
            } else out.push(inner(v[i]));
          }
          if (v.length > most) out.push(more(v.length - most));
          return out;
        };
      } else if (v instanceof Set) {
        open = `${title('Set', `(${v.size})`)}{`;
        values = (inner) => [...v].map((x) => inner(x));
      } else if (v instanceof Map) {
        open = `${title('Map', `(${v.size})`)}{`;
        values = (inner) => [...v].map(([k, x]) => `${inner(k)} => ${inner(x)}`);
      } else if (typeof v === 'function') {
        const isClass = /^class\b/.test(Function.prototype.toString.call(v));
        const kind = isClass ? 'class' : kindOf(v);
        base = isClass ? `[class ${v.name || '(anonymous)'}${Object.getPrototypeOf(v)?.name ? ` extends ${Object.getPrototypeOf(v).name}` : ''}]` : `[${kind}${v.name ? `: ${v.name}` : ' (anonymous)'}]`;
      } else if (v instanceof RegExp) base = RegExp.prototype.toString.call(v);
      else if (v instanceof Date) base = Number.isNaN(v.getTime()) ? 'Invalid Date' : v.toISOString();
      else if (isError(v)) {
        const head = `${v.name}${v.message ? `: ${v.message}` : ''}`;
        const stack = typeof v.stack === 'string' && v.stack.trim() !== '' ? v.stack.trimEnd() : '';
        base = stack === '' ? `[${head}]` : stack.startsWith(head) ? stack : `${head}\n${stack}`;
        if (indent > 0) base = base.replaceAll('\n', `\n${' '.repeat(indent)}`);
        for (const k of ['name', 'message', 'stack']) fields.delete(k);
        if (Object.prototype.hasOwnProperty.call(v, 'cause') && !fields.has('cause')) fields.add('cause');
      } else if (v instanceof Promise) {
        open = `${title('Promise', '')}{`;
        values = () => ['<pending>'];
      } else if (v instanceof WeakMap || v instanceof WeakSet) return `${name} { <items unknown> }`;
      else if (v instanceof Number || v instanceof Boolean || v instanceof String || typeof v.valueOf?.() === 'symbol') {
        const inner = v.valueOf();
        base = `[${kindOf(v)}: ${primitive(inner, 0, true)}]`;
        if (typeof inner === 'string') for (const k of keys) if (typeof k === 'string' && /^\d+$/.test(k)) fields.delete(k);
      } else if (v instanceof ArrayBuffer) {
        open = `${title('ArrayBuffer', '')}{`;
        const bytes = new Uint8Array(v);
        values = () => [`[Uint8Contents]: <${[...bytes.slice(0, 50)].map((b) => b.toString(16).padStart(2, '0')).join(' ')}>`, `byteLength: ${v.byteLength}`];
      } else if (globalThis.URL && v instanceof globalThis.URL) {
        open = 'URL {';
        fields.clear();
        for (const k of ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'searchParams', 'hash']) fields.add(k);
      } else if (globalThis.URLSearchParams && v instanceof globalThis.URLSearchParams) {
        open = 'URLSearchParams {';
        values = (inner) => [...v].map(([k, x]) => `${inner(k)} => ${inner(x)}`);
      } else if (kindOf(v) === 'Arguments') {
        open = '[Arguments] [';
        close = ']';
        for (const k of keys) if (typeof k === 'string' && /^\d+$/.test(k)) fields.delete(k);
        values = (inner) => Array.from(v, (x) => inner(x));
      } else open = `${title('Object')}{`;

      if (level > depth) {
        const shown = Array.isArray(v) ? 'Array' : `${name ?? '[Object: null prototype]'}${tagged}`;
        return base && fields.size === 0 ? base : name === null && !Array.isArray(v) ? '[Object: null prototype]' : `[${shown}]`;
      }
      path.push(v);
      deepest = level;
      const inner = (x) => show(x, level + 1, indent + 2, true);
      list.push(...values(inner));
      if (o.showHidden && Array.isArray(v)) fields.add('length');
      for (const k of fields) {
        const d = Object.getOwnPropertyDescriptor(v, k);
        const said = d?.get ? (d.set ? '[Getter/Setter]' : '[Getter]') : d?.set ? '[Setter]' : inner(v[k]);
        const label = d && !d.enumerable ? `[${String(k)}]` : keyText(k);
        list.push(`${label}: ${said}`);
      }
      path.pop();
      const circle = circles.has(v) ? `<ref *${circles.get(v)}> ` : '';
      if (list.length === 0) return circle + (base || `${open}${close}`);
      if (base) open = `${base} {`;
      if (o.sorted && !isList) list.sort(typeof o.sorted === 'function' ? o.sorted : undefined);
      const total = list.reduce((n, s) => n + s.length, list.length + (list.length + indent + open.length + 10));
      if (compact > 0 && deepest - level < compact && total <= width && !list.some((s) => s.includes('\n')) && !open.includes('\n')) {
        return `${circle}${open} ${list.join(', ')} ${close}`;
      }
      const pad = ' '.repeat(indent);
      return `${circle}${open}\n${pad}  ${list.join(`,\n${pad}  `)}\n${pad}${close}`;
    };
    return show(value, 0, 0, false);
  }
  inspect.custom = custom;
  inspect.defaultOptions = { depth: 2 };

  function formatWithOptions(options, ...args) {
    let text = '';
    let i = 0;
    if (typeof args[0] === 'string') {
      i = 1;
      text = args[0].replace(/%[sdifjoOc%]/g, (mark) => {
        if (mark === '%%') return args.length > 1 ? '%' : mark;
        if (i >= args.length) return mark;
        const v = args[i++];
        switch (mark) {
          case '%s':
            if (typeof v === 'number') return number(v);
            if (typeof v === 'bigint') return `${v}n`;
            if (typeof v !== 'object' || v === null) return String(v);
            return isError(v) || (typeof v.toString === 'function' && v.toString !== Object.prototype.toString && v.toString !== Array.prototype.toString && !Array.isArray(v)) ?
              String(v) : inspect(v, { ...options, depth: 0 });
          case '%d': return typeof v === 'bigint' ? `${v}n` : typeof v === 'symbol' || (typeof v === 'object' && v !== null) ? number(typeof v === 'symbol' ? NaN : Number(v)) : number(Number(v));
          case '%i': return typeof v === 'bigint' ? `${v}n` : typeof v === 'object' || typeof v === 'symbol' ? 'NaN' : number(parseInt(v, 10));
          case '%f': return typeof v === 'symbol' ? 'NaN' : number(parseFloat(v));
          case '%j':
            try {
              return JSON.stringify(v);
            } catch {
              return '[Circular]';
            }
          case '%o': return inspect(v, { ...options, showHidden: true, depth: 4 });
          case '%O': return inspect(v, options);
          default: return '';
        }
      });
    }
    for (; i < args.length; i++) text += (i > 0 ? ' ' : '') + (typeof args[i] === 'string' ? args[i] : inspect(args[i], options));
    return text;
  }
  const format = (...args) => formatWithOptions({}, ...args);

  // ---- equality ----

  function equal(a, b, strict, seen = []) {
    if (strict ? Object.is(a, b) : a == b || (a !== a && b !== b)) return true; // eslint-disable-line eqeqeq
    if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
    if (strict && Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
    if (kindOf(a) !== kindOf(b) || Array.isArray(a) !== Array.isArray(b)) return false;
    if (seen.some(([x, y]) => x === a && y === b)) return true;
    const next = [...seen, [a, b]];
    const same = (x, y) => equal(x, y, strict, next);
    if (a instanceof Date && !Object.is(a.getTime(), b.getTime())) return false;
    if (a instanceof RegExp && (String(a) !== String(b) || a.lastIndex !== b.lastIndex)) return false;
    if (isError(a) && (a.message !== b.message || a.name !== b.name)) return false;
    if ((a instanceof Number || a instanceof String || a instanceof Boolean) && !Object.is(a.valueOf(), b.valueOf())) return false;
    if (ArrayBuffer.isView(a) || a instanceof ArrayBuffer) {
      const bytes = (v) => (v instanceof ArrayBuffer ? new Uint8Array(v) : new Uint8Array(v.buffer, v.byteOffset, v.byteLength));
      const [x, y] = [bytes(a), bytes(b)];
      return x.length === y.length && x.every((v, i) => v === y[i]);
    }
    if (a instanceof Set) {
      if (a.size !== b.size) return false;
      const rest = [...b];
      for (const v of a) {
        const i = rest.findIndex((w) => same(v, w));
        if (i < 0) return false;
        rest.splice(i, 1);
      }
    } else if (a instanceof Map) {
      if (a.size !== b.size) return false;
      const rest = [...b];
      for (const [k, v] of a) {
        const i = rest.findIndex(([l, w]) => same(k, l) && same(v, w));
        if (i < 0) return false;
        rest.splice(i, 1);
      }
    }
    const keys = (v) => [...Object.keys(v), ...(strict ? Object.getOwnPropertySymbols(v).filter((s) => Object.prototype.propertyIsEnumerable.call(v, s)) : [])];
    const [x, y] = [keys(a), keys(b)];
    return x.length === y.length && (!Array.isArray(a) || a.length === b.length) && x.every((k) => Object.prototype.hasOwnProperty.call(b, k) && same(a[k], b[k]));
  }

  // ---- the rest of util ----

  const promisified = Symbol.for('nodejs.util.promisify.custom');
  const promisify = (f) => {
    if (typeof f !== 'function') throw Object.assign(new TypeError('The "original" argument must be of type function'), { code: 'ERR_INVALID_ARG_TYPE' });
    if (typeof f[promisified] === 'function') return f[promisified];
    const out = function (...args) {
      return new Promise((resolve, reject) => f.call(this, ...args, (e, v) => (e ? reject(e) : resolve(v))));
    };
    Object.setPrototypeOf(out, Object.getPrototypeOf(f));
    return Object.defineProperties(out, Object.getOwnPropertyDescriptors(f));
  };
  promisify.custom = promisified;
  if (typeof globalThis.setTimeout === 'function') globalThis.setTimeout[promisified] ??= (ms, v) => new Promise((resolve) => globalThis.setTimeout(resolve, ms, v));
  const callbackify = (f) => function (...args) {
    const callback = args.pop();
    f.apply(this, args).then((v) => queueMicrotask(() => callback(null, v)), (e) => queueMicrotask(() => callback(e ?? new Error('Promise was rejected with a falsy value'))));
  };
  const isKind = (...names) => (v) => names.includes(kindOf(v));
  const typed = (name) => (v) => ArrayBuffer.isView(v) && v[Symbol.toStringTag] === name;
  const AsyncFunction = (async () => {}).constructor;
  const GeneratorFunction = function* () {}.constructor;
  const types = {
    isDate: (v) => v instanceof Date, isRegExp: (v) => v instanceof RegExp, isPromise: (v) => v instanceof Promise, isMap: (v) => v instanceof Map, isSet: (v) => v instanceof Set,
    isWeakMap: (v) => v instanceof WeakMap, isWeakSet: (v) => v instanceof WeakSet, isNativeError: isError, isArrayBuffer: (v) => v instanceof ArrayBuffer,
    isAnyArrayBuffer: isKind('ArrayBuffer', 'SharedArrayBuffer'), isArrayBufferView: (v) => ArrayBuffer.isView(v), isTypedArray: (v) => ArrayBuffer.isView(v) && !(v instanceof DataView),
    isDataView: (v) => v instanceof DataView, isAsyncFunction: (v) => v instanceof AsyncFunction, isGeneratorFunction: (v) => v instanceof GeneratorFunction,
    isGeneratorObject: isKind('Generator'), isMapIterator: isKind('Map Iterator'), isSetIterator: isKind('Set Iterator'), isProxy: () => false, isSymbolObject: isKind('Symbol'),
    isNumberObject: (v) => v instanceof Number, isStringObject: (v) => v instanceof String, isBooleanObject: (v) => v instanceof Boolean, isArgumentsObject: isKind('Arguments'),
    isBoxedPrimitive: (v) => v instanceof Number || v instanceof String || v instanceof Boolean, isExternal: () => false, isModuleNamespaceObject: isKind('Module'),
    ...Object.fromEntries(['Uint8Array', 'Uint8ClampedArray', 'Uint16Array', 'Uint32Array', 'Int8Array', 'Int16Array', 'Int32Array', 'Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array']
      .map((name) => [`is${name}`, typed(name)])),
  };
  __syncline.modules.util = {
    inspect, format, formatWithOptions, promisify, callbackify, types,
    isDeepStrictEqual: (a, b) => equal(a, b, true),
    deprecate: (f) => f,
    inherits: (child, parent) => {
      Object.defineProperty(child, 'super_', { value: parent, writable: true, configurable: true });
      Object.setPrototypeOf(child.prototype, parent.prototype);
    },
    stripVTControlCharacters: (s) => String(s).replace(/[\u001b\u009b][[\]()#;?]*(?:\d{1,4}(?:;\d{0,4})*)?[\dA-PR-TZcf-nq-uy=><~]/g, ''), // eslint-disable-line no-control-regex
    toUSVString: (s) => String(s).toWellFormed(),
    debuglog: () => Object.assign(() => {}, { enabled: false }), debug: () => Object.assign(() => {}, { enabled: false }),
    isArray: Array.isArray, TextEncoder: globalThis.TextEncoder, TextDecoder: globalThis.TextDecoder,
    isBoolean: (v) => typeof v === 'boolean', isString: (v) => typeof v === 'string', isNumber: (v) => typeof v === 'number', isUndefined: (v) => v === undefined, isNull: (v) => v === null,
    isNullOrUndefined: (v) => v === null || v === undefined, isObject: (v) => v !== null && typeof v === 'object', isFunction: (v) => typeof v === 'function', isSymbol: (v) => typeof v === 'symbol',
    isRegExp: types.isRegExp, isDate: types.isDate, isError, isPrimitive: (v) => v === null || (typeof v !== 'object' && typeof v !== 'function'),
  };

  // ---- assert ----

  class AssertionError extends Error {
    constructor({ message, actual, expected, operator }) {
      super(message ?? `${inspect(actual)} ${operator} ${inspect(expected)}`);
      this.name = 'AssertionError';
      this.code = 'ERR_ASSERTION';
      this.generatedMessage = message === undefined;
      Object.assign(this, { actual, expected, operator });
    }
  }
  const check = (ok, message, said, actual, expected, operator) => {
    if (ok) return;
    if (message instanceof Error) throw message;
    throw new AssertionError({ message: message ?? said, actual, expected, operator });
  };
  const both = (a, b) => `\n\n${inspect(a)}\n\nand\n\n${inspect(b)}\n`;
  // fits says whether an error is the expected one: a class, a pattern, an object or a test.
  const fits = (e, expected) => {
    if (expected === undefined || typeof expected === 'string') return true;
    if (expected instanceof RegExp) return expected.test(String(e));
    if (typeof expected === 'function') return (expected.prototype !== undefined && e instanceof expected) || (!Error.isPrototypeOf(expected) && expected !== Error && expected.call({}, e) === true);
    return Object.keys(expected).every((k) => (expected[k] instanceof RegExp && typeof e[k] === 'string' ? expected[k].test(e[k]) : equal(e[k], expected[k], true)));
  };
  const thrown = (e, expected, message) => {
    if (fits(e, expected)) return;
    check(false, message, `The error is not the expected one:${both(e, expected)}`, e, expected, 'throws');
  };
  const assert = (value, message) => check(Boolean(value), message, `The expression evaluated to a falsy value: ${inspect(value)}`, value, true, '==');
  const missing = (message, expected) => check(false, typeof expected === 'string' ? expected : message, 'Missing expected exception.', undefined, expected, 'throws');
  Object.assign(assert, {
    AssertionError, ok: assert,
    fail: (message = 'Failed') => check(false, message, '', undefined, undefined, 'fail'),
    equal: (a, b, m) => check(a == b || (a !== a && b !== b), m, `${inspect(a)} == ${inspect(b)}`, a, b, '=='), // eslint-disable-line eqeqeq
    notEqual: (a, b, m) => check(a != b, m, `${inspect(a)} != ${inspect(b)}`, a, b, '!='), // eslint-disable-line eqeqeq
    strictEqual: (a, b, m) => check(Object.is(a, b), m, `Expected values to be strictly equal:${both(a, b)}`, a, b, 'strictEqual'),
    notStrictEqual: (a, b, m) => check(!Object.is(a, b), m, `Expected "actual" to be strictly unequal to: ${inspect(b)}`, a, b, 'notStrictEqual'),
    deepEqual: (a, b, m) => check(equal(a, b, false), m, `Expected values to be loosely deep-equal:${both(a, b)}`, a, b, 'deepEqual'),
    deepStrictEqual: (a, b, m) => check(equal(a, b, true), m, `Expected values to be strictly deep-equal:${both(a, b)}`, a, b, 'deepStrictEqual'),
    notDeepEqual: (a, b, m) => check(!equal(a, b, false), m, `Expected "actual" not to be loosely deep-equal to: ${inspect(b)}`, a, b, 'notDeepEqual'),
    notDeepStrictEqual: (a, b, m) => check(!equal(a, b, true), m, `Expected "actual" not to be strictly deep-equal to: ${inspect(b)}`, a, b, 'notDeepStrictEqual'),
    match: (s, re, m) => check(typeof s === 'string' && re.test(s), m, `The input did not match the regular expression ${re}. Input: ${inspect(s)}`, s, re, 'match'),
    doesNotMatch: (s, re, m) => check(typeof s === 'string' && !re.test(s), m, `The input was expected to not match the regular expression ${re}. Input: ${inspect(s)}`, s, re, 'doesNotMatch'),
    ifError: (v) => { if (v !== null && v !== undefined) throw v; },
    throws: (f, expected, message) => {
      try {
        f();
      } catch (e) {
        thrown(e, expected, message);
        return;
      }
      missing(message, expected);
    },
    doesNotThrow: (f, ...more) => {
      try {
        f();
      } catch (e) {
        check(false, more.find((m) => typeof m === 'string'), `Got unwanted exception: ${e?.message}`, e, undefined, 'doesNotThrow');
      }
    },
    rejects: async (p, expected, message) => {
      try {
        await (typeof p === 'function' ? p() : p);
      } catch (e) {
        thrown(e, expected, message);
        return;
      }
      missing(message ?? 'Missing expected rejection.', expected);
    },
    doesNotReject: async (p) => { await (typeof p === 'function' ? p() : p); },
  });
  const strict = Object.assign((...args) => assert(...args), assert, {
    equal: assert.strictEqual, notEqual: assert.notStrictEqual, deepEqual: assert.deepStrictEqual, notDeepEqual: assert.notDeepStrictEqual,
  });
  strict.strict = strict;
  assert.strict = strict;
  __syncline.modules.assert = assert;
})();
