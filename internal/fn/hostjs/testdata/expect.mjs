// Writes what Node makes of the expressions in node/*.js into node/*.json. Tests
// of the engines compare with it. Each line of such a file that is neither empty
// nor a comment is an expression; "m" holds Node's modules by name. Run it with
// Node 20 or newer when a line is added:
//
//   node internal/fn/hostjs/testdata/expect.mjs
import fs from 'node:fs';
import { createRequire } from 'node:module';

process.env.TZ = 'UTC';
const require = createRequire(import.meta.url);
const names = ['assert', 'buffer', 'crypto', 'events', 'os', 'path', 'querystring', 'string_decoder', 'timers', 'timers/promises', 'url', 'util'];
const m = Object.fromEntries(names.map((name) => [name, require(`node:${name}`)]));
const awake = setInterval(() => {}, 1000); // some timers of Node do not keep it running
const folder = new URL('node/', import.meta.url);
for (const file of fs.readdirSync(folder).filter((f) => f.endsWith('.js'))) {
  const out = {};
  for (const line of fs.readFileSync(new URL(file, folder), 'utf8').split('\n')) {
    if (line.trim() === '' || line.startsWith('//')) continue;
    try {
      const v = await new Function('m', `return (async () => (${line}))()`)(m);
      out[line] = v === undefined ? null : v;
    } catch (e) {
      out[line] = { throws: e.name };
    }
  }
  fs.writeFileSync(new URL(file.replace(/\.js$/, '.json'), folder), JSON.stringify(out, null, 1) + '\n');
}
clearInterval(awake);
