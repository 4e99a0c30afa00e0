import { createSync } from 'nango';
import * as z from 'zod';

const Contact = z.object({
    id: z.string(),
    first_name: z.string().nullable(),
    last_name: z.string(),
    email: z.string().nullable(),
    account_id: z.string().nullable(),
    updated_at: z.string()
});
type Contact = z.infer<typeof Contact>;

interface ApiContact {
    Id: string;
    FirstName: string | null;
    LastName: string;
    Email: string | null;
    AccountId: string | null;
    SystemModstamp: string;
    IsDeleted?: boolean;
}

// What the Apex trigger of this example posts (see the README): Salesforce has
// no webhooks of its own.
interface ContactChange {
    nango: { eventType: string };
    records: ApiContact[];
}

const newest = { strategy: 'keep_newest', field: 'updated_at' } as never;

export default createSync({
    description: 'Contacts',
    version: '1.0.0',
    frequency: 'every 10 minutes',
    models: { Contact },
    checkpoint: z.object({ modified_after: z.string() }),
    webhookSubscriptions: ['contact.saved', 'contact.deleted'],

    exec: async (nango) => {
        await nango.setMergingStrategy(newest, 'Contact');
        const since = (await nango.getCheckpoint())?.modified_after;
        let latest = since ?? '';
        // queryAll also gives what is in the recycle bin, which is how a poll
        // learns of deletions.
        const pages = nango.paginate<ApiContact>({
            endpoint: '/services/data/v62.0/queryAll',
            params: {
                q: `SELECT Id, FirstName, LastName, Email, AccountId, SystemModstamp, IsDeleted FROM Contact${since ? ` WHERE SystemModstamp >= ${since}` : ''} ORDER BY SystemModstamp ASC`
            },
            paginate: { type: 'link', link_path_in_response_body: 'nextRecordsUrl', response_path: 'records' },
            retries: 5
        });
        for await (const page of pages) {
            await nango.batchSave(page.filter((contact) => !contact.IsDeleted).map(toContact), 'Contact');
            await nango.batchDelete(page.filter((contact) => contact.IsDeleted).map(toContact), 'Contact');
            for (const contact of page.map(toContact)) if (contact.updated_at > latest) latest = contact.updated_at;
            if (latest) await nango.saveCheckpoint({ modified_after: latest });
        }
    },

    onWebhook: async (nango, payload) => {
        await nango.setMergingStrategy(newest, 'Contact');
        const { nango: about, records } = payload as ContactChange;
        const contacts = records.map(toContact);
        if (about.eventType === 'contact.deleted') await nango.batchDelete(contacts, 'Contact');
        else await nango.batchSave(contacts, 'Contact');
    }
});

function toContact(contact: ApiContact): Contact {
    return {
        id: contact.Id,
        first_name: contact.FirstName,
        last_name: contact.LastName,
        email: contact.Email,
        account_id: contact.AccountId,
        // "2026-11-20T10:00:00.000+0000": Salesforce leaves the colon out.
        updated_at: new Date(contact.SystemModstamp.replace(/([+-]\d\d)(\d\d)$/, '$1:$2')).toISOString()
    };
}
