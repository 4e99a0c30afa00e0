import { createSync } from 'nango';
import * as z from 'zod';

const Contact = z.object({
    id: z.string(),
    email: z.string().nullable(),
    first_name: z.string().nullable(),
    last_name: z.string().nullable(),
    lifecycle_stage: z.string().nullable(),
    updated_at: z.string()
});
type Contact = z.infer<typeof Contact>;

interface ApiContact {
    id: string;
    properties: Record<string, string | null>;
    updatedAt: string;
}

// One item of the array that HubSpot posts: it says which contact, not how it is now.
interface ContactEvent {
    subscriptionType: string;
    objectId: number;
    occurredAt: number;
}

const properties = ['email', 'firstname', 'lastname', 'lifecyclestage', 'lastmodifieddate'];

export default createSync({
    description: 'Contacts',
    version: '1.0.0',
    frequency: 'every 10 minutes',
    models: { Contact },
    checkpoint: z.object({ modified_after: z.string() }),
    // A delivery has the type of its first event; it may hold others.
    webhookSubscriptions: ['contact.creation', 'contact.propertyChange', 'contact.deletion', 'contact.privacyDeletion', 'contact.restore'],

    exec: async (nango) => {
        // A handler fetches the contact when it runs, so what it wrote is newer
        // than the page of a poll that began before.
        await nango.setMergingStrategy({ strategy: 'ignore_if_modified_after' }, 'Contact');
        let since = (await nango.getCheckpoint())?.modified_after ?? new Date(0).toISOString();
        for (;;) {
            // The search ends after 10,000 results. It is sorted by time, so each
            // round goes on where the one before ended.
            const response = await nango.post<{ results: ApiContact[] }>({
                endpoint: '/crm/v3/objects/contacts/search',
                data: {
                    filterGroups: [{ filters: [{ propertyName: 'lastmodifieddate', operator: 'GTE', value: String(Date.parse(since)) }] }],
                    sorts: [{ propertyName: 'lastmodifieddate', direction: 'ASCENDING' }],
                    properties,
                    limit: 100
                },
                retries: 5
            });
            const contacts = response.data.results;
            await nango.batchSave(contacts.map(toContact), 'Contact');
            const last = contacts[contacts.length - 1];
            const next = last ? toContact(last).updated_at : since;
            await nango.saveCheckpoint({ modified_after: next });
            if (contacts.length < 100 || next === since) return;
            since = next;
        }
    },

    onWebhook: async (nango, payload) => {
        // A delivery holds up to 100 events, some of them about the same contact:
        // what the contact is now is fetched once.
        const deleted = new Map<string, boolean>();
        for (const event of [payload].flat() as ContactEvent[]) {
            deleted.set(String(event.objectId), event.subscriptionType === 'contact.deletion' || event.subscriptionType === 'contact.privacyDeletion');
        }
        for (const [id, isDeleted] of deleted) {
            let contact: ApiContact | undefined;
            if (!isDeleted) {
                try {
                    const response = await nango.get<ApiContact>({
                        endpoint: `/crm/v3/objects/contacts/${id}`,
                        params: { properties: properties.join(',') },
                        retries: 3
                    });
                    contact = response.data;
                } catch (error) {
                    // Deleted since: its own event says so, or has said so.
                    if ((error as { response?: { status: number } }).response?.status !== 404) throw error;
                }
            }
            if (contact) await nango.batchSave([toContact(contact)], 'Contact');
            else await nango.batchDelete([{ id }], 'Contact');
        }
    }
});

function toContact(contact: ApiContact): Contact {
    const p = contact.properties;
    return {
        id: contact.id,
        email: p['email'] ?? null,
        first_name: p['firstname'] ?? null,
        last_name: p['lastname'] ?? null,
        lifecycle_stage: p['lifecyclestage'] ?? null,
        updated_at: p['lastmodifieddate'] ?? contact.updatedAt
    };
}
