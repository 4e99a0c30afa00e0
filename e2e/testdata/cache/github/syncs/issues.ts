import { createSync } from 'nango';
import * as z from 'zod';

const record = (issue: any) => ({ id: String(issue.id), number: issue.number, title: issue.title, comments: issue.comments ?? 0, updated_at: issue.updated_at });

// Options that Nango's types do not know.
const syncline = {
    reconcile: 'every week',
    history: { Issue: '30 days' },
    ignoredFields: { Issue: ['comments', 'updated_at'] }
};

// A sync that uses all of the cache: complete listings, versions, history.
export default createSync({
    ...syncline,
    description: 'Every issue, with what it was before',
    frequency: 'every day',
    autoStart: false,
    models: { Issue: z.object({ id: z.string(), number: z.number(), title: z.string(), comments: z.number(), updated_at: z.string() }) },
    webhookSubscriptions: ['issues'],
    exec: async (nango) => {
        await nango.setMergingStrategy({ strategy: 'keep_newest', field: 'updated_at' } as any, 'Issue');
        const { repository } = await nango.getMetadata<any>();
        await nango.trackDeletesStart('Issue');
        for await (const page of nango.paginate<any>({ endpoint: `/repos/${repository}/issues`, params: { state: 'all', per_page: 2 } })) {
            await nango.batchSave(page.map(record), 'Issue');
        }
        await nango.trackDeletesEnd('Issue');
    },
    onWebhook: async (nango, { issue }: any) => {
        await nango.setMergingStrategy({ strategy: 'keep_newest', field: 'updated_at' } as any, 'Issue');
        await nango.batchSave([record(issue)], 'Issue');
    }
});
