// describe says what a function's module (definition) says of it; zod is the
// project's, undefined when it has none.
function describe(definition, zod) {
const found = [];
const wrong = (field, message, name, hint) => { found.push({ field, name: name ?? '', message, hint: hint ?? '' }); return undefined; };

const schema = (field, value, name) => {
  if (value === undefined || value === null) return undefined;
  const old = value._def && !value._zod; // of zod 3
  if (!old && (typeof value !== 'object' || !value._zod)) return wrong(field, 'is not a zod schema', name);
  if (old || typeof zod?.toJSONSchema !== 'function') return wrong(field, 'is a schema of a zod before version 4, which cannot be read', name, 'run npm install zod@^4');
  try {
    return zod.toJSONSchema(value, { unrepresentable: 'any', io: 'input' });
  } catch (e) {
    return wrong(field, `cannot be turned into a JSON Schema: ${e.message}`, name);
  }
};
const string = (field, value) => {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : wrong(field, 'is not a string') ?? '';
};
const strings = (field, value) => {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) && value.every((v) => typeof v === 'string') ? value : wrong(field, 'is not an array of strings') ?? [];
};
// byModel reads an option that says something of some models: check makes the value of one.
const byModel = (field, value, models, check, form) => {
  const out = {};
  if (value === undefined || value === null) return out;
  if (typeof value !== 'object' || Array.isArray(value)) { wrong(field, `is not an object such as ${form}`); return out; }
  for (const [name, v] of Object.entries(value)) {
    if (!Object.prototype.hasOwnProperty.call(models, name)) wrong(field, `names ${name}, which is not among the models`);
    else if (check(v)) out[name] = v;
    else wrong(field, `of ${name} is not what it takes`, undefined, `for example ${form}`);
  }
  return out;
};
const isStrings = (v) => Array.isArray(v) && v.every((s) => typeof s === 'string' && s !== '');

  const d = definition.default;
  if (d === null || typeof d !== 'object' || typeof d.__type !== 'string') return { type: '', problems: [] };
  const models = {};
  if (d.models !== undefined) {
    if (d.models === null || typeof d.models !== 'object') wrong('models', 'is not an object of zod schemas');
    else for (const [name, model] of Object.entries(d.models)) models[name] = schema('models', model, name) ?? {};
  }
  return {
    type: d.__type, description: string('description', d.description), version: string('version', d.version),
    frequency: string('frequency', d.frequency), autoStart: d.autoStart === undefined ? undefined : Boolean(d.autoStart), models,
    metadata: schema('metadata', d.metadata), checkpoint: schema('checkpoint', d.checkpoint),
    input: schema('input', d.input), output: schema('output', d.output), event: string('event', d.event),
    webhookSubscriptions: strings('webhookSubscriptions', d.webhookSubscriptions), hasExec: typeof d.exec === 'function',
    hasOnWebhook: typeof d.onWebhook === 'function', scopes: strings('scopes', d.scopes), order: string('order', d.order), engine: string('engine', d.engine),
    reconcile: string('reconcile', d.reconcile), rewindContested: d.rewindContested === true,
    history: byModel('history', d.history, models, (v) => typeof v === 'string', "history: { Issue: '90 days' }"),
    ignoredFields: byModel('ignoredFields', d.ignoredFields, models, isStrings, "ignoredFields: { Issue: ['last_viewed_at'] }"),
    validation: string('validation', d.validation), limits: d.limits ?? undefined,
    problems: found,
  };
}
