// path
[['/a', 'b', '../c', './d'], ['a', '..', '..', 'b'], ['', ''], ['/'], ['a/', '/b']].map((p) => m.path.join(...p))
['/a/b/../c//d/.', 'a//b/', '../../x', '', '.', '/', '/..', 'a/..', './a'].map((p) => m.path.normalize(p))
['/a/b/c.txt', 'c.tar.gz', '.bashrc', 'a.', 'a/b/', '/', '', 'a/.x.y', '..'].map((p) => [m.path.dirname(p), m.path.basename(p), m.path.extname(p)])
m.path.basename('/a/b.html', '.html') + m.path.basename('b', 'b') + m.path.basename('/a/b/', '/')
['/a/b/c.txt', 'c', '/c', 'a/c.d', './x.y', ''].map((p) => m.path.parse(p))
m.path.format({ dir: '/a', base: 'b.c' }) + m.path.format({ root: '/', name: 'x', ext: '.y' }) + m.path.format({ name: 'x', ext: 'y' })
m.path.resolve('/a', 'b', '../c') + m.path.resolve('/a', '/b/')
m.path.relative('/a/b/c', '/a/d') + m.path.relative('/a', '/a') + m.path.relative('/a/b', '/')
m.path.isAbsolute('/a') && !m.path.isAbsolute('a') && m.path.sep + m.path.delimiter
m.path.join('a', 5)
m.path.posix.join('a', 'b')
// querystring
m.querystring.stringify({ a: 1, b: ['x', 'y z'], c: true, d: null, e: undefined, f: { g: 1 }, h: 'ü&=', i: NaN, j: 5n, k: '' })
m.querystring.stringify({ a: 'b', c: 'd' }, ';', ':')
m.querystring.parse('a=1&a=2&b=%20+&c&=d&e=%zz&f=%E4&&g==')
m.querystring.parse('a:1;b:2', ';', ':')
m.querystring.parse('')
m.querystring.stringify('x')
m.querystring.escape("a b'!()*~&") + m.querystring.unescape('%41+%zz')
m.querystring.parse('a=1&b=2&c=3', null, null, { maxKeys: 2 })
// events
(() => { const e = new m.events(); const seen = []; e.on('a', (x) => seen.push(['on', x])); e.once('a', (x) => seen.push(['once', x])); e.prependListener('a', () => seen.push('first')); return [e.emit('a', 1), e.emit('a', 2), e.emit('b'), seen, e.listenerCount('a'), e.eventNames()]; })()
(() => { const e = new m.events.EventEmitter(); const f = () => {}; e.on('x', f); e.off('x', f); return [e.listenerCount('x'), e.emit('x'), e.on('y', f) === e]; })()
new m.events().emit('error', new RangeError('boom'))
(() => { try { new m.events().emit('error', 'text'); } catch (e) { return e.code; } })()
(() => { class A extends m.events { } const a = new A(); let x; a.on('v', function () { x = this === a; }); a.emit('v'); return x; })()
(async () => { const e = new m.events(); setTimeout(() => e.emit('go', 1, 2), 1); return m.events.once(e, 'go'); })()
(() => { const e = new m.events(); const order = []; e.on('n', () => { order.push(1); e.on('n', () => order.push(3)); }); e.on('n', () => order.push(2)); e.emit('n'); return order; })()
// timers
m['timers/promises'].setTimeout(1, 'v')
(async () => { const order = []; setTimeout(() => order.push('timeout'), 5); queueMicrotask(() => order.push('micro')); await m.timers.promises.setTimeout(20); return order; })()
(async () => { let n = 0; const id = setInterval(() => n++, 2); await new Promise((r) => setTimeout(r, 50)); clearInterval(id); return n > 2; })()
m.os.EOL
// AbortController and events of the web
(() => { const c = new AbortController(); let n = 0; c.signal.addEventListener('abort', () => n++); c.abort(); c.abort(); return [n, c.signal.aborted, c.signal.reason.name]; })()
AbortSignal.abort('why').reason
AbortSignal.abort().throwIfAborted()
(async () => { const s = AbortSignal.timeout(1); await new Promise((r) => s.addEventListener('abort', r)); return s.reason.name; })()
(() => { const t = new EventTarget(); const seen = []; t.addEventListener('x', (e) => seen.push(e.type), { once: true }); t.dispatchEvent(new Event('x')); t.dispatchEvent(new Event('x')); return seen; })()
// Headers, bodies
[...new Headers({ 'Content-Type': 'a', 'x-B': ' c ' })]
(() => { const h = new Headers([['a', '1'], ['A', '2']]); h.set('b', 3); h.delete('zz'); return [h.get('a'), h.has('B'), h.get('none'), [...h.keys()]]; })()
new Headers({ 'bad name': 'x' })
new Response('{"a":[1]}', { status: 201, headers: { 'x-a': 'b' } }).json()
(async () => { const r = new Response('abc'); await r.text(); return r.text(); })()
[new Response(null, { status: 204 }).ok, new Response('').status, new Response('x', { statusText: 'Fine' }).statusText]
new Request('https://h/p', { method: 'post', body: 'x' }).text()
new Blob(['a', new Uint8Array([98]), new Blob(['c'])], { type: 'Text/Plain' }).text()
(() => { const b = new Blob(['abcdef']); return [b.size, b.slice(1, 3).size, b.slice(-2).size]; })()
(() => { const f = new FormData(); f.append('a', 1); f.append('a', 'x'); f.set('b', 'y'); f.append('f', new Blob(['z']), 'n.txt'); return [f.getAll('a'), f.get('b'), f.has('c'), f.get('f').name, [...f.keys()]]; })()
