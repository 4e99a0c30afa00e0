// The order of texts by language (localeCompare, Intl.Collator), and the forms of
// Intl that go by plural. Plain texts are compared here, since sorting compares
// often; others by the engine.
(() => {
  'use strict';
  const { native } = __syncline;
  // The order of the printable characters of ASCII in the Common Locale Data
  // Repository's root collation; capitals come after their small letters.
  const order = '\t\n\v\f\r _-,;:!?.\'"()[]{}@*/\\&#%`^+<=>|~$0123456789aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ';
  const weights = new Uint8Array(128);
  for (let i = 0, weight = 0; i < order.length; i++) {
    const c = order.charCodeAt(i);
    const capital = c >= 65 && c <= 90;
    weights[c] = capital ? weight : ++weight;
  }
  const plain = /^[\t-\r -~]*$/;
  const plainLanguages = /^(?:en|de|fr|es|it|pt|nl|und)\b/i;
  const isDigit = (c) => c >= 48 && c <= 57;

  // comparePlain compares two texts of plain characters.
  function comparePlain(a, b, byCase, numeric) {
    let i = 0, j = 0;
    let first = 0;
    while (i < a.length && j < b.length) {
      const c = a.charCodeAt(i), d = b.charCodeAt(j);
      if (numeric && isDigit(c) && isDigit(d)) {
        let m = i, n = j;
        while (m < a.length && isDigit(a.charCodeAt(m))) m++;
        while (n < b.length && isDigit(b.charCodeAt(n))) n++;
        const x = a.slice(i, m).replace(/^0+/, ''), y = b.slice(j, n).replace(/^0+/, '');
        if (x.length !== y.length) return x.length < y.length ? -1 : 1;
        if (x !== y) return x < y ? -1 : 1;
        i = m;
        j = n;
        continue;
      }
      const v = weights[c], w = weights[d];
      if (v !== w) return v < w ? -1 : 1;
      if (first === 0 && c !== d) first = c > d ? -1 : 1; // a small letter comes first
      i++;
      j++;
    }
    if (i < a.length) return 1;
    if (j < b.length) return -1;
    return byCase ? first : 0;
  }

  const localeOf = (locales) => {
    const first = Array.isArray(locales) ? locales[0] : locales;
    if (first === undefined) return 'en-US';
    return globalThis.Intl?.getCanonicalLocales ? globalThis.Intl.getCanonicalLocales(String(first))[0] : String(first);
  };

  class Collator {
    #options;
    #plain;
    #compare;
    constructor(locales, options = {}) {
      const locale = localeOf(locales);
      this.#options = {
        locale, usage: options?.usage ?? 'sort', sensitivity: options?.sensitivity ?? 'variant', ignorePunctuation: Boolean(options?.ignorePunctuation), collation: 'default',
        numeric: Boolean(options?.numeric ?? /-u-(?:.*-)?kn(?:-true)?(?:-|$)/.test(locale)), caseFirst: options?.caseFirst ?? 'false',
      };
      if (!['base', 'accent', 'case', 'variant'].includes(this.#options.sensitivity)) throw new RangeError(`Value ${this.#options.sensitivity} out of range for Intl.Collator options property sensitivity`);
      this.#plain = plainLanguages.test(locale);
    }
    get compare() {
      this.#compare ??= (a, b) => {
        const { locale, sensitivity, numeric, ignorePunctuation, caseFirst } = this.#options;
        a = String(a);
        b = String(b);
        if (ignorePunctuation) [a, b] = [a, b].map((s) => s.replace(/[\p{P}\s]/gu, ''));
        if (sensitivity === 'case') [a, b] = [a, b].map((s) => s.normalize('NFD').replace(/\p{M}/gu, ''));
        if (a === b) return 0;
        const byCase = sensitivity === 'variant' || sensitivity === 'case';
        let out = this.#plain && plain.test(a) && plain.test(b) ? comparePlain(a, b, byCase, numeric) : Number(native('compare', a, b, `${locale},${sensitivity},${numeric}`));
        // With the capitals first, only what differs in case alone is turned round.
        if (caseFirst === 'upper' && out !== 0 && a.toLowerCase() === b.toLowerCase()) out = -out;
        return out;
      };
      return this.#compare;
    }
    resolvedOptions() { return { ...this.#options }; }
    static supportedLocalesOf(locales) { return [].concat(locales ?? []); }
  }
  const usual = new Collator().compare;
  const localeCompare = function (that, locales, options) {
    if (this === null || this === undefined) throw new TypeError('String.prototype.localeCompare called on null or undefined');
    return (locales === undefined && options === undefined ? usual : new Collator(locales, options).compare)(String(this), String(that));
  };
  Object.defineProperty(String.prototype, 'localeCompare', { value: localeCompare, writable: true, configurable: true });

  if (typeof globalThis.Intl !== 'object') return;

  const english = (name, locales) => {
    const locale = localeOf(locales);
    if (!/^en\b/i.test(locale)) throw new RangeError(`Intl.${name} is offered for English only, not for ${locale}; run the function on Node (engine: 'node')`);
    return locale;
  };
  class PluralRules {
    #locale;
    #type;
    constructor(locales, { type = 'cardinal' } = {}) {
      this.#locale = english('PluralRules', locales);
      this.#type = type;
    }
    select(n) {
      if (this.#type === 'cardinal') return n === 1 ? 'one' : 'other';
      const [ten, hundred] = [n % 10, n % 100];
      return ten === 1 && hundred !== 11 ? 'one' : ten === 2 && hundred !== 12 ? 'two' : ten === 3 && hundred !== 13 ? 'few' : 'other';
    }
    resolvedOptions() { return { locale: this.#locale, type: this.#type, pluralCategories: this.#type === 'cardinal' ? ['one', 'other'] : ['few', 'one', 'two', 'other'] }; }
  }
  class ListFormat {
    #options;
    constructor(locales, { type = 'conjunction', style = 'long' } = {}) { this.#options = { locale: english('ListFormat', locales), type, style }; }
    format(list) {
      const items = [...list].map(String);
      const { type, style } = this.#options;
      if (type === 'unit') return items.join(style === 'narrow' ? ' ' : ', ');
      const word = type === 'disjunction' ? 'or' : style === 'short' ? '&' : 'and';
      if (type === 'conjunction' && style === 'narrow') return items.join(', ');
      if (items.length < 2) return items.join('');
      if (items.length === 2) return items.join(` ${word} `);
      return `${items.slice(0, -1).join(', ')}, ${word} ${items[items.length - 1]}`;
    }
    resolvedOptions() { return { ...this.#options }; }
  }
  const units = ['second', 'minute', 'hour', 'day', 'week', 'month', 'quarter', 'year'];
  const words = {
    second: { 0: 'now' }, minute: { 0: 'this minute' }, hour: { 0: 'this hour' }, day: { '-1': 'yesterday', 0: 'today', 1: 'tomorrow' },
    week: { '-1': 'last week', 0: 'this week', 1: 'next week' }, month: { '-1': 'last month', 0: 'this month', 1: 'next month' },
    quarter: { '-1': 'last quarter', 0: 'this quarter', 1: 'next quarter' }, year: { '-1': 'last year', 0: 'this year', 1: 'next year' },
  };
  class RelativeTimeFormat {
    #options;
    constructor(locales, { numeric = 'always', style = 'long' } = {}) {
      this.#options = { locale: english('RelativeTimeFormat', locales), numeric, style, numberingSystem: 'latn' };
      if (style !== 'long') throw new RangeError(`Intl.RelativeTimeFormat is offered with the style long, not ${style}; run the function on Node (engine: 'node')`);
    }
    format(value, unit) {
      value = Number(value);
      unit = String(unit).replace(/s$/, '');
      if (!units.includes(unit)) throw new RangeError(`Invalid unit argument for format() '${unit}'`);
      if (!Number.isFinite(value)) throw new RangeError('Invalid number value');
      const word = this.#options.numeric === 'auto' ? words[unit][value] : undefined;
      if (word !== undefined) return word;
      const past = value < 0 || Object.is(value, -0);
      const n = `${new Intl.NumberFormat('en-US').format(Math.abs(value))} ${unit}${Math.abs(value) === 1 ? '' : 's'}`;
      return past ? `${n} ago` : `in ${n}`;
    }
    resolvedOptions() { return { ...this.#options }; }
  }
  for (const [name, value] of Object.entries({ Collator, PluralRules, ListFormat, RelativeTimeFormat })) {
    Object.defineProperty(globalThis.Intl, name, { value, writable: true, configurable: true });
  }
})();
