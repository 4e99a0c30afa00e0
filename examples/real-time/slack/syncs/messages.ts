import { createSync } from 'nango';
import * as z from 'zod';

const Message = z.object({
    id: z.string(), // channel:ts
    channel: z.string(),
    ts: z.string(),
    user: z.string().nullable(),
    text: z.string(),
    thread_ts: z.string().nullable(),
    edited: z.boolean()
});
type Message = z.infer<typeof Message>;

interface ApiMessage {
    type: string;
    subtype?: string;
    ts: string;
    user?: string;
    bot_id?: string;
    text?: string;
    thread_ts?: string;
    edited?: unknown;
}

interface MessageEvent extends ApiMessage {
    channel: string;
    message?: ApiMessage; // of message_changed
    deleted_ts?: string; // of message_deleted
}

export default createSync({
    description: 'Messages of some channels',
    version: '1.0.0',
    frequency: 'every 10 minutes',
    models: { Message },
    metadata: z.object({ channels: z.array(z.string()) }),
    // By channel, as JSON: a checkpoint holds plain values.
    checkpoint: z.object({ oldest: z.string() }),
    webhookSubscriptions: ['message'],

    exec: async (nango) => {
        await nango.setMergingStrategy({ strategy: 'ignore_if_modified_after' }, 'Message');
        const { channels } = await nango.getMetadata();
        const oldest: Record<string, string> = JSON.parse((await nango.getCheckpoint())?.oldest ?? '{}');
        for (const channel of channels) {
            let latest = oldest[channel] ?? '0';
            let cursor: string | undefined;
            do {
                const { data } = await nango.get<{ ok: boolean; error?: string; messages: ApiMessage[]; response_metadata?: { next_cursor?: string } }>({
                    endpoint: '/conversations.history',
                    params: { channel, limit: 200, oldest: oldest[channel] ?? '0', inclusive: 'true', ...(cursor ? { cursor } : {}) },
                    retries: 5
                });
                // Slack says what is wrong with status 200.
                if (!data.ok) throw new Error(`Slack refused conversations.history of ${channel}: ${data.error}`);
                await nango.batchSave(data.messages.map((message) => toMessage(channel, message)), 'Message');
                for (const message of data.messages) if (Number(message.ts) > Number(latest)) latest = message.ts;
                cursor = data.response_metadata?.next_cursor || undefined;
            } while (cursor);
            oldest[channel] = latest;
            await nango.saveCheckpoint({ oldest: JSON.stringify(oldest) });
        }
    },

    onWebhook: async (nango, payload) => {
        const { event } = payload as { event: MessageEvent };
        const { channels } = await nango.getMetadata();
        if (!channels.includes(event.channel)) return;
        switch (event.subtype) {
            case 'message_deleted':
                if (event.deleted_ts) await nango.batchDelete([{ id: `${event.channel}:${event.deleted_ts}` }], 'Message');
                break;
            case 'message_changed':
                if (event.message) await nango.batchSave([toMessage(event.channel, event.message)], 'Message');
                break;
            default:
                await nango.batchSave([toMessage(event.channel, event)], 'Message');
        }
    }
});

function toMessage(channel: string, message: ApiMessage): Message {
    return {
        id: `${channel}:${message.ts}`,
        channel,
        ts: message.ts,
        user: message.user ?? message.bot_id ?? null,
        text: message.text ?? '',
        thread_ts: message.thread_ts ?? null,
        edited: message.edited !== undefined
    };
}
