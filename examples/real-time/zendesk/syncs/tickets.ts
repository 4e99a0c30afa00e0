import { createSync } from 'nango';
import * as z from 'zod';

const Ticket = z.object({
    id: z.string(),
    subject: z.string().nullable(),
    status: z.string(),
    priority: z.string().nullable(),
    type: z.string().nullable(),
    requester_id: z.string().nullable(),
    assignee_id: z.string().nullable(),
    tags: z.array(z.string()),
    updated_at: z.string()
});
type Ticket = z.infer<typeof Ticket>;

// Ids are numbers in the API and strings in events; words are lower case in the
// API and upper case in events.
interface ZendeskTicket {
    id: number | string;
    subject?: string | null;
    status: string;
    priority?: string | null;
    type?: string | null;
    requester_id?: number | string | null;
    assignee_id?: number | string | null;
    tags?: string[] | null;
    updated_at: string;
}

interface TicketEvent {
    type: string;
    detail: ZendeskTicket;
}

const newest = { strategy: 'keep_newest', field: 'updated_at' } as never;

export default createSync({
    description: 'Tickets',
    version: '1.0.0',
    frequency: 'every 5 minutes',
    models: { Ticket },
    checkpoint: z.object({ cursor: z.string() }),
    webhookSubscriptions: [
        'zen:event-type:ticket.created',
        'zen:event-type:ticket.status_changed',
        'zen:event-type:ticket.subject_changed',
        'zen:event-type:ticket.priority_changed',
        'zen:event-type:ticket.type_changed',
        'zen:event-type:ticket.agent_assignment_changed',
        'zen:event-type:ticket.requester_changed',
        'zen:event-type:ticket.tags_changed',
        'zen:event-type:ticket.soft_deleted',
        'zen:event-type:ticket.permanently_deleted',
        'zen:event-type:ticket.undeleted'
    ],

    exec: async (nango) => {
        await nango.setMergingStrategy(newest, 'Ticket');
        let cursor = (await nango.getCheckpoint())?.cursor;
        for (;;) {
            const { data } = await nango.get<{ tickets: ZendeskTicket[]; after_cursor: string | null; end_of_stream: boolean }>({
                endpoint: '/api/v2/incremental/tickets/cursor.json',
                params: { per_page: 1000, ...(cursor ? { cursor } : { start_time: 1 }) },
                retries: 5
            });
            const live = data.tickets.filter((ticket) => ticket.status !== 'deleted');
            const deleted = data.tickets.filter((ticket) => ticket.status === 'deleted');
            await nango.batchSave(live.map(toTicket), 'Ticket');
            await nango.batchDelete(deleted.map(toTicket), 'Ticket');
            if (data.after_cursor) {
                cursor = data.after_cursor;
                await nango.saveCheckpoint({ cursor });
            }
            if (data.end_of_stream || !data.after_cursor) return;
        }
    },

    onWebhook: async (nango, payload) => {
        await nango.setMergingStrategy(newest, 'Ticket');
        const { type, detail } = payload as TicketEvent;
        if (type.endsWith('_deleted')) await nango.batchDelete([toTicket(detail)], 'Ticket');
        else await nango.batchSave([toTicket(detail)], 'Ticket');
    }
});

function toTicket(ticket: ZendeskTicket): Ticket {
    return {
        id: String(ticket.id),
        subject: ticket.subject ?? null,
        status: ticket.status.toLowerCase(),
        priority: ticket.priority?.toLowerCase() ?? null,
        type: ticket.type?.toLowerCase() ?? null,
        requester_id: text(ticket.requester_id),
        assignee_id: text(ticket.assignee_id),
        tags: ticket.tags ?? [],
        updated_at: new Date(ticket.updated_at).toISOString()
    };
}

function text(id: number | string | null | undefined): string | null {
    return id === null || id === undefined ? null : String(id);
}
