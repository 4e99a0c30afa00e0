import { createSync } from 'nango';
import * as z from 'zod';

const Contact = z.object({
    id: z.string(),
    role: z.string(),
    email: z.string().nullable(),
    name: z.string().nullable(),
    external_id: z.string().nullable(),
    updated_at: z.number()
});
type Contact = z.infer<typeof Contact>;

interface ApiContact {
    id: string;
    role: string;
    email: string | null;
    name: string | null;
    external_id: string | null;
    updated_at: number; // Unix seconds
}

interface IntercomEvent {
    topic: string;
    data: { item: ApiContact };
}

const newest = { strategy: 'keep_newest', field: 'updated_at' } as never;

export default createSync({
    description: 'Users and leads',
    version: '1.0.0',
    frequency: 'every 10 minutes',
    models: { Contact },
    checkpoint: z.object({ updated_after: z.number() }),
    webhookSubscriptions: [
        'contact.user.created',
        'contact.user.updated',
        'contact.lead.created',
        'contact.lead.updated',
        'contact.lead.signed_up',
        'contact.email.updated',
        'contact.archived',
        'contact.deleted'
    ],

    exec: async (nango) => {
        await nango.setMergingStrategy(newest, 'Contact');
        const after = (await nango.getCheckpoint())?.updated_after ?? 0;
        let latest = after;
        let startingAfter: string | undefined;
        do {
            const response: { data: { data: ApiContact[]; pages: { next?: { starting_after?: string } | null } } } = await nango.post({
                endpoint: '/contacts/search',
                data: {
                    // "Greater than" by the second: the last second is fetched again.
                    query: { field: 'updated_at', operator: '>', value: Math.max(0, after - 1) },
                    sort: { field: 'updated_at', order: 'ascending' },
                    pagination: { per_page: 150, ...(startingAfter ? { starting_after: startingAfter } : {}) }
                },
                retries: 5
            });
            await nango.batchSave(response.data.data.map(toContact), 'Contact');
            for (const contact of response.data.data) latest = Math.max(latest, contact.updated_at);
            startingAfter = response.data.pages.next?.starting_after;
        } while (startingAfter);
        await nango.saveCheckpoint({ updated_after: latest });
    },

    onWebhook: async (nango, payload) => {
        await nango.setMergingStrategy(newest, 'Contact');
        const { topic, data } = payload as IntercomEvent;
        // A deletion carries little more than the id.
        if (topic === 'contact.deleted' || topic === 'contact.archived') await nango.batchDelete([{ id: data.item.id }], 'Contact');
        else await nango.batchSave([toContact(data.item)], 'Contact');
    }
});

function toContact(contact: ApiContact): Contact {
    return {
        id: contact.id,
        role: contact.role,
        email: contact.email || null,
        name: contact.name || null,
        external_id: contact.external_id || null,
        // Webhooks of older API versions write ISO 8601.
        updated_at: typeof contact.updated_at === 'number' ? contact.updated_at : Math.floor(Date.parse(contact.updated_at) / 1000)
    };
}
