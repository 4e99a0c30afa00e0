import { createSync } from 'nango';
import * as z from 'zod';

export default createSync({
    description: 'A sync that takes every type of webhook',
    frequency: 'every day',
    autoStart: false,
    models: { Ping: z.object({ id: z.string(), type: z.string() }) },
    webhookSubscriptions: ['*'],
    exec: async () => {},
    onWebhook: async (nango) => {
        const { webhook } = nango as any;
        await nango.batchSave([{ id: webhook.deliveryId, type: webhook.type }], 'Ping');
    }
});
