// Events and abort signals, as the web has them.
(() => {
  'use strict';
  class Event {
    #type;
    #options;
    #prevented = false;
    _stop = false;
    constructor(type, options = {}) {
      this.#type = String(type);
      this.#options = options ?? {};
      this.target = this.currentTarget = null;
      this.timeStamp = performance.now();
    }
    get type() { return this.#type; }
    get bubbles() { return Boolean(this.#options.bubbles); }
    get cancelable() { return Boolean(this.#options.cancelable); }
    get composed() { return Boolean(this.#options.composed); }
    get defaultPrevented() { return this.#prevented; }
    preventDefault() { if (this.cancelable) this.#prevented = true; }
    stopPropagation() {}
    stopImmediatePropagation() { this._stop = true; }
  }
  Object.defineProperty(Event.prototype, '_stop', { enumerable: false, writable: true });

  class CustomEvent extends Event {
    #detail;
    constructor(type, options = {}) {
      super(type, options);
      this.#detail = options?.detail ?? null;
    }
    get detail() { return this.#detail; }
  }

  class EventTarget {
    #listeners = new Map();
    addEventListener(type, listener, options) {
      if (!listener) return;
      const list = this.#listeners.get(type) ?? [];
      if (list.some((l) => l.listener === listener)) return;
      const once = typeof options === 'object' && Boolean(options?.once);
      this.#listeners.set(type, [...list, { listener, once }]);
      options?.signal?.addEventListener('abort', () => this.removeEventListener(type, listener));
    }
    removeEventListener(type, listener) {
      this.#listeners.set(type, (this.#listeners.get(type) ?? []).filter((l) => l.listener !== listener));
    }
    dispatchEvent(event) {
      event.target = event.currentTarget = this;
      const handler = this[`on${event.type}`];
      if (typeof handler === 'function') handler.call(this, event);
      for (const l of this.#listeners.get(event.type) ?? []) {
        if (event._stop) break;
        if (l.once) this.removeEventListener(event.type, l.listener);
        if (typeof l.listener === 'function') l.listener.call(this, event);
        else l.listener.handleEvent(event);
      }
      return !event.defaultPrevented;
    }
  }

  const inside = Symbol('abort');
  class AbortSignal extends EventTarget {
    #aborted = false;
    #reason;
    constructor(key) {
      super();
      if (key !== inside) throw new TypeError('Illegal constructor');
      this.onabort = null;
    }
    get aborted() { return this.#aborted; }
    get reason() { return this.#reason; }
    throwIfAborted() { if (this.#aborted) throw this.#reason; }
    [inside](reason = new DOMException('This operation was aborted', 'AbortError')) {
      if (this.#aborted) return;
      this.#aborted = true;
      this.#reason = reason;
      this.dispatchEvent(new Event('abort'));
    }
    static abort(reason) {
      const signal = new AbortSignal(inside);
      signal[inside](reason);
      return signal;
    }
    static timeout(ms) {
      const signal = new AbortSignal(inside);
      setTimeout(() => signal[inside](new DOMException('The operation was aborted due to timeout', 'TimeoutError')), ms);
      return signal;
    }
    static any(signals) {
      const signal = new AbortSignal(inside);
      for (const s of signals) {
        if (s.aborted) signal[inside](s.reason);
        else s.addEventListener('abort', () => signal[inside](s.reason));
      }
      return signal;
    }
  }
  class AbortController {
    #signal = new AbortSignal(inside);
    get signal() { return this.#signal; }
    abort(reason) { this.#signal[inside](reason); }
  }
  for (const [name, c] of Object.entries({ Event, CustomEvent, EventTarget, AbortSignal, AbortController })) {
    Object.defineProperty(c.prototype, Symbol.toStringTag, { value: name, configurable: true });
  }
  Object.assign(globalThis, { Event, CustomEvent, EventTarget, AbortSignal, AbortController });
})();
