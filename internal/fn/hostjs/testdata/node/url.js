// URL and URLSearchParams
new URL('https://user:pa%20ss@Example.COM:8080/a/../b/./c?x=1&y=%20#frag').href
['href','origin','protocol','username','password','host','hostname','port','pathname','search','hash'].map((k) => new URL('https://user:p@example.com:443/a b?q=ü#é')[k])
new URL('../x?a=1#f', 'https://h.example:443/p/q/r').href
new URL('//other/path', 'https://h/x').href
new URL('?q', 'https://h/x/y?z').href
new URL('#f', 'https://h/x/y?z').href
new URL('https://EXAMPLE.com').href
new URL('http://h/a b"<>`{}|^').href
new URL('http://h/?a b"<>\'').href
new URL('http://h/#a b"<>`').href
new URL('http://münchen.de/ä').href
new URL('http://[::1]:80/').host
new URL('http://192.168.0.1.:80/').hostname
new URL('http://0x7f.1/').hostname
new URL('mailto:a@b.c?subject=x').pathname
new URL('data:text/plain,hi').href
new URL('file:///etc/passwd').pathname
new URL('http:\\\\h\\p').href
new URL('  https://h/p  ').href
new URL('https://h/%7Efoo/%zz').pathname
new URL('no url')
new URL('/relative')
new URL('http://')
new URL('http://a b/')
new URL('https://h:99999/')
URL.canParse('x:y') && !URL.canParse('x')
(() => { const u = new URL('https://h/p?a=1'); u.searchParams.append('b', 'x y&z'); u.searchParams.set('a', 'ü'); return u.href; })()
(() => { const u = new URL('https://h/p?a=1&b=2'); u.searchParams.delete('a'); return [u.href, u.search, u.searchParams.size]; })()
(() => { const u = new URL('https://h/p'); u.search = 'q=1 2'; u.hash = 'x y'; u.pathname = '/a b/ü?'; return [u.href, u.searchParams.get('q')]; })()
(() => { const u = new URL('https://h/p'); const s = u.searchParams; u.search = '?z=9'; return s.get('z'); })()
(() => { const u = new URL('https://h:8443/p'); u.port = '443'; u.hostname = 'Other.example'; u.protocol = 'http'; return u.href; })()
(() => { const u = new URL('https://h/p'); u.host = 'x:81'; u.username = 'a@b'; u.password = 'c:d'; return u.href; })()
(() => { const u = new URL('https://h/p'); u.href = 'https://other/?a=b'; return [u.host, u.searchParams.get('a')]; })()
(() => { const u = new URL('https://h/p?x'); u.search = ''; return u.href; })()
JSON.stringify({ u: new URL('https://h') })
String(new URL('https://h/a?b')) + new URL('https://h')
new URLSearchParams({ a: '1', b: 'x y', c: "~!'()*-_.", d: 'ü€😀' }).toString()
new URLSearchParams([['a', 1], ['a', 2], ['b', null]]).toString()
new URLSearchParams('?a=1&a=2&b=%20+&c&=d&&e==').toString()
[...new URLSearchParams('a=1&b=%zz&c=%E4')]
new URLSearchParams('a=1&b=2&a=3').getAll('a')
(() => { const p = new URLSearchParams('b=1&a=2&b=3'); p.sort(); return p.toString(); })()
(() => { const p = new URLSearchParams('a=1&a=2'); p.set('a', 9); p.append('c', true); return [p.toString(), p.has('a', '9'), p.has('a', '1'), p.get('zz'), p.size]; })()
(() => { const p = new URLSearchParams('a=1&b=2&a=3'); p.delete('a', '1'); return p.toString(); })()
new URLSearchParams(new URLSearchParams('a=b')).toString()
new URLSearchParams(new Map([['x', 'y']])).toString()
[...new URLSearchParams('a=1&b=2').keys()].concat([...new URLSearchParams('a=1').entries()].flat())
new URLSearchParams([['a']])
Object.prototype.toString.call(new URLSearchParams())
(() => { const seen = []; new URLSearchParams('a=1&b=2').forEach((v, k) => seen.push(k + v)); return seen; })()
m.url.parse('https://user:pass@sub.example.com:8080/p/a/t/h?query=string#hash').path
m.url.parse('https://example.com/p?a=1&b=2', true).query.b
['protocol','slashes','auth','host','port','hostname','hash','search','query','pathname','path','href'].map((k) => m.url.parse('http://u:p@h.example:81/a/b?c=d#e')[k])
['protocol','host','pathname','search','path','href'].map((k) => m.url.parse('/a/b?c=d')[k])
m.url.format({ protocol: 'https', hostname: 'h.example', port: 8080, pathname: '/p', query: { a: '1', b: 'x y' } })
m.url.format(new URL('https://h/a?b#c'))
m.url.resolve('https://h/one/two', 'three')
m.url.resolve('/one/two/three', 'four')
m.url.resolve('http://example.com/one', '/two')
m.url.fileURLToPath('file:///tmp/a%20b')
m.url.domainToASCII('español.com')
m.url.urlToHttpOptions(new URL('https://a:b@h/p?x')).auth
