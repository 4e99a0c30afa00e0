import { createSync } from 'nango';
import * as z from 'zod';

const Label = z.object({ name: z.string(), color: z.string() });
const Issue = z.object({
    id: z.string(),
    number: z.number(),
    title: z.string(),
    state: z.enum(['open', 'closed']),
    author: z.string().nullable(),
    labels: z.array(Label),
    body: z.string().nullable(),
    created_at: z.string(),
    updated_at: z.string()
});

function map(i: any) {
    return Issue.parse({
        id: String(i.id),
        number: i.number,
        title: i.title.trim(),
        state: i.state,
        author: i.user?.login ?? null,
        labels: i.labels.map((l: any) => ({ name: l.name, color: `#${l.color}` })),
        body: i.body,
        created_at: new Date(i.created_at).toISOString(),
        updated_at: new Date(i.updated_at).toISOString()
    });
}

export default createSync({
    description: 'Issues, mapped and checked with zod',
    frequency: 'every hour',
    models: { Issue },
    webhookSubscriptions: ['issues'],
    exec: async (nango) => {
        for (let page = 1; ; page++) {
            const { data } = await nango.get<any[]>({ endpoint: '/issues', params: { page } });
            if (data.length === 0) {
                return;
            }
            await nango.batchSave(data.map(map), 'Issue');
        }
    },
    onWebhook: async (nango, payload: any) => {
        await nango.batchSave([map(payload.issue)], 'Issue');
    }
});
