// What users' own code does with Nango's client: only the host differs.
import { Nango } from '@nangohq/node';

const nango = new Nango({ host: process.env.SYNCLINE_URL, secretKey: process.env.SYNCLINE_KEY });
const out = {};

out.sync = await nango.triggerAction('github', 'acme', 'close-issue', { number: 1 });

try {
  await nango.triggerAction('github', 'acme', 'refuse', { why: 'because' });
} catch (e) {
  out.refused = { status: e.response.status, data: e.response.data };
}

const started = await nango.triggerActionAsync('github', 'acme', 'close-issue', { number: 2 });
out.started = started;
const result = async (props) => {
  for (let tries = 0; ; tries++) {
    try {
      return await nango.getAsyncActionResult(props);
    } catch (e) {
      if (e.response?.status !== 404 || tries > 500) throw e;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
};
out.byID = await result({ id: started.id });
out.byURL = await result({ statusUrl: started.statusUrl });

const refused = await nango.triggerActionAsync('github', 'acme', 'refuse', { why: 'later' });
try {
  await result({ id: refused.id });
} catch (e) {
  out.refusedLater = { status: e.response.status, data: e.response.data };
}

const scripts = await nango.getScriptsConfig();
out.actions = scripts[0].actions.map((a) => a.name);
console.log(JSON.stringify(out));
