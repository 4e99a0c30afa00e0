// The same bundle in plain Node, with nothing between the function and its
// pages: what the engines are compared with. It prints JSON.
'use strict';
const fs = require('node:fs');
const vm = require('node:vm');

const { library, bundle, page, event, pages, calls, contexts } = JSON.parse(fs.readFileSync(0, 'utf8'));

function load(context) {
  const run = context === undefined ? (text) => vm.runInThisContext(text) : (text) => vm.runInContext(text, context);
  const root = context ?? globalThis;
  root.__syncline = { module: { createSync: (d) => d, createAction: (d) => d, createOnEvent: (d) => d } };
  if (library) run(library);
  run(bundle);
  return (root.__syncline_fn ?? run('__syncline_fn')).default;
}

(async () => {
  const f = load();
  let left = 0, records = 0, bytes = 0;
  const nango = {
    get: async () => ({ data: JSON.parse(left-- > 0 ? page : '[]') }),
    batchSave: async (list) => {
      records += list.length;
      bytes += JSON.stringify(list).length;
    },
  };
  left = 2;
  await f.exec(nango); // warm
  records = 0;
  left = pages;
  let began = process.hrtime.bigint();
  await f.exec(nango);
  const recordsPerSecond = records / (Number(process.hrtime.bigint() - began) / 1e9);
  for (let i = 0; i < 200; i++) await f.onWebhook(nango, JSON.parse(event));
  began = process.hrtime.bigint();
  for (let i = 0; i < calls; i++) await f.onWebhook(nango, JSON.parse(event));
  const warm = Number(process.hrtime.bigint() - began) / 1e3 / calls;
  began = process.hrtime.bigint();
  for (let i = 0; i < contexts; i++) await load(vm.createContext({ URL, console })).onWebhook(nango, JSON.parse(event));
  const fresh = Number(process.hrtime.bigint() - began) / 1e6 / contexts;
  console.log(JSON.stringify({ recordsPerSecond, warmMicroseconds: warm, freshMilliseconds: fresh }));
})();
