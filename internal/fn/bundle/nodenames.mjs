// Writes nodenames.json: what the modules of Node export that functions may
// import on quickjs. Bundling tells by it a name that only Node has from one
// that nobody has. Run it with the newest Node that is supported:
//
//   node internal/fn/bundle/nodenames.mjs > internal/fn/bundle/nodenames.json
const modules = [
  'assert', 'assert/strict', 'buffer', 'crypto', 'events', 'os', 'path', 'path/posix', 'process', 'querystring', 'string_decoder', 'timers',
  'timers/promises', 'url', 'util', 'util/types',
];
const out = {};
for (const name of modules) {
  const m = await import(`node:${name}`);
  out[name] = Object.keys(m).filter((k) => k !== 'default' && /^[A-Za-z_$][\w$]*$/.test(k)).sort();
}
console.log(JSON.stringify(out));
