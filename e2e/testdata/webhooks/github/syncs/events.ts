import { createSync } from 'nango';
import * as z from 'zod';

// Keeps what issues events say, and misbehaves where the title asks for it.
export default createSync({
    description: 'A sync whose webhook handler does what the title of the issue says',
    frequency: 'every day',
    autoStart: false,
    models: { Item: z.object({ id: z.string(), title: z.string(), seen: z.number() }) },
    webhookSubscriptions: ['issues'],
    exec: async () => {},
    onWebhook: async (nango, payload: any) => {
        const id = String(payload.issue.id);
        const before = await nango.getRecordsByIds<string, any>([id], 'Item');
        await nango.batchSave([{ id, title: payload.issue.title, seen: (before.get(id)?.seen ?? 0) + 1 }], 'Item');
        if (payload.issue.title === 'throw') {
            throw new Error('the handler was asked to throw');
        }
        if (payload.issue.title === 'upstream') {
            await nango.get({ endpoint: '/status' });
        }
    }
});
