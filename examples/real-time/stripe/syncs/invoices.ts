import { createSync } from 'nango';
import * as z from 'zod';

const Invoice = z.object({
    id: z.string(),
    number: z.string().nullable(),
    customer: z.string().nullable(),
    status: z.string().nullable(),
    currency: z.string(),
    total: z.number(),
    amount_due: z.number(),
    amount_paid: z.number(),
    created: z.number()
});
type Invoice = z.infer<typeof Invoice>;

interface ApiInvoice extends Omit<Invoice, 'customer'> {
    customer: string | { id: string } | null;
}

interface StripeEvent {
    type: string;
    data: { object: { id: string } };
}

export default createSync({
    description: 'Invoices',
    version: '1.0.0',
    frequency: 'every 15 minutes',
    models: { Invoice },
    // Stripe lists invoices by creation, not by change: a poll finds new ones,
    // webhooks tell of changes, and once a day everything is fetched.
    ...{ reconcile: 'every day' },
    checkpoint: z.object({ created_after: z.number() }),
    webhookSubscriptions: [
        'invoice.created',
        'invoice.updated',
        'invoice.finalized',
        'invoice.sent',
        'invoice.paid',
        'invoice.payment_succeeded',
        'invoice.payment_failed',
        'invoice.marked_uncollectible',
        'invoice.voided',
        'invoice.deleted'
    ],

    exec: async (nango) => {
        await nango.setMergingStrategy({ strategy: 'ignore_if_modified_after' }, 'Invoice');
        const checkpoint = await nango.getCheckpoint();
        let newest = checkpoint?.created_after ?? 0;
        let startingAfter: string | undefined;
        for (;;) {
            const response = await nango.get<{ data: ApiInvoice[]; has_more: boolean }>({
                endpoint: '/v1/invoices',
                params: {
                    limit: 100,
                    ...(checkpoint ? { 'created[gte]': checkpoint.created_after } : {}),
                    ...(startingAfter ? { starting_after: startingAfter } : {})
                },
                retries: 5
            });
            const invoices = response.data.data;
            await nango.batchSave(invoices.map(toInvoice), 'Invoice');
            for (const invoice of invoices) newest = Math.max(newest, invoice.created);
            startingAfter = invoices[invoices.length - 1]?.id;
            if (!response.data.has_more || !startingAfter) break;
        }
        await nango.saveCheckpoint({ created_after: newest });
    },

    onWebhook: async (nango, payload) => {
        const event = payload as StripeEvent;
        const id = event.data.object.id;
        if (event.type === 'invoice.deleted') {
            await nango.batchDelete([{ id }], 'Invoice');
            return;
        }
        // Stripe sends events in no order, and each holds the invoice as it was:
        // what it is now is fetched.
        try {
            const { data } = await nango.get<ApiInvoice & { deleted?: boolean }>({ endpoint: `/v1/invoices/${id}`, retries: 3 });
            if (data.deleted) await nango.batchDelete([{ id }], 'Invoice');
            else await nango.batchSave([toInvoice(data)], 'Invoice');
        } catch (error) {
            if ((error as { response?: { status: number } }).response?.status !== 404) throw error;
            await nango.batchDelete([{ id }], 'Invoice'); // a draft that is gone
        }
    }
});

function toInvoice(invoice: ApiInvoice): Invoice {
    return {
        id: invoice.id,
        number: invoice.number,
        customer: typeof invoice.customer === 'object' ? (invoice.customer?.id ?? null) : invoice.customer,
        status: invoice.status,
        currency: invoice.currency,
        total: invoice.total,
        amount_due: invoice.amount_due,
        amount_paid: invoice.amount_paid,
        created: invoice.created
    };
}
