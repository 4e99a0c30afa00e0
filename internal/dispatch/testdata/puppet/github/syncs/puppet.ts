import { createSync } from 'nango';
import { z } from 'zod';

// A sync that does what it is told: a poll asks the external API for its steps,
// a webhook brings them. The tests of races decide with it what happens when.
const model = z.object({ id: z.string(), v: z.any() });

async function play(nango: any, steps: any[]) {
  for (const { call, records, model, ...args } of steps) {
    switch (call) {
      case 'get':
        await nango.get({ endpoint: args.endpoint });
        break;
      case 'setMergingStrategy':
        await nango.setMergingStrategy(args, model ?? 'Issue');
        break;
      case 'batchSave':
      case 'batchUpdate':
      case 'batchDelete':
        await nango[call](records, model ?? 'Issue');
        break;
      case 'trackDeletesStart':
      case 'trackDeletesEnd':
        await nango[call](model ?? 'Issue');
        break;
      case 'saveCheckpoint':
        await nango.saveCheckpoint(args.checkpoint);
        break;
      case 'throw':
        throw new Error(args.message);
      default:
        throw new Error(`no step ${call}`);
    }
  }
}

export default createSync({
  description: 'Does what it is told',
  frequency: 'every day',
  autoStart: false,
  models: { Issue: model, Other: model },
  webhookSubscriptions: ['issues'],
  exec: async (nango) => {
    const { data } = await nango.get({ endpoint: `/steps/${nango.variant}` });
    await play(nango, data);
  },
  onWebhook: async (nango, payload: any) => play(nango, payload.steps),
});
