import { createSync } from 'nango';
import * as z from 'zod';

const Page = z.object({
    id: z.string(),
    title: z.string(),
    url: z.string(),
    parent: z.string(),
    created_at: z.string(),
    updated_at: z.string()
});
type Page = z.infer<typeof Page>;

interface ApiPage {
    object: 'page';
    id: string;
    url: string;
    parent: { type: string } & Record<string, unknown>;
    properties: Record<string, { type: string; title?: { plain_text: string }[] }>;
    created_time: string;
    last_edited_time: string;
    archived?: boolean;
    in_trash?: boolean;
}

interface PageEvent {
    type: string;
    entity: { id: string; type: string };
}

export default createSync({
    description: 'Pages that the integration sees',
    version: '1.0.0',
    frequency: 'every 10 minutes',
    models: { Page },
    checkpoint: z.object({ edited_after: z.string() }),
    webhookSubscriptions: ['page.created', 'page.properties_updated', 'page.content_updated', 'page.moved', 'page.deleted', 'page.undeleted'],

    exec: async (nango) => {
        // Events carry no content: a handler fetches the page, so what it wrote is
        // newer than a poll's page that was asked for before. (The time of the last
        // edit is by the minute, too coarse to compare.)
        await nango.setMergingStrategy({ strategy: 'ignore_if_modified_after' }, 'Page');
        const since = (await nango.getCheckpoint())?.edited_after ?? '';
        let latest = since;
        const pages = nango.paginate<ApiPage>({
            method: 'POST',
            endpoint: '/v1/search',
            data: { filter: { property: 'object', value: 'page' }, sort: { timestamp: 'last_edited_time', direction: 'descending' } },
            paginate: {
                type: 'cursor',
                cursor_name_in_request: 'start_cursor',
                cursor_path_in_response: 'next_cursor',
                limit_name_in_request: 'page_size',
                limit: 100,
                response_path: 'results'
            },
            retries: 5
        });
        for await (const batch of pages) {
            await nango.batchSave(batch.map(toPage), 'Page');
            for (const page of batch) if (page.last_edited_time > latest) latest = page.last_edited_time;
            if (batch.some((page) => page.last_edited_time < since)) break;
        }
        if (latest !== since) await nango.saveCheckpoint({ edited_after: latest });
    },

    onWebhook: async (nango, payload) => {
        const { type, entity } = payload as PageEvent;
        if (type === 'page.deleted') {
            await nango.batchDelete([{ id: entity.id }], 'Page');
            return;
        }
        try {
            const { data } = await nango.get<ApiPage>({ endpoint: `/v1/pages/${entity.id}`, retries: 3 });
            if (data.archived || data.in_trash) await nango.batchDelete([{ id: entity.id }], 'Page');
            else await nango.batchSave([toPage(data)], 'Page');
        } catch (error) {
            // No longer shared with the integration.
            if ((error as { response?: { status: number } }).response?.status !== 404) throw error;
            await nango.batchDelete([{ id: entity.id }], 'Page');
        }
    }
});

function toPage(page: ApiPage): Page {
    const title = Object.values(page.properties).find((property) => property.type === 'title');
    return {
        id: page.id,
        title: (title?.title ?? []).map((part) => part.plain_text).join(''),
        url: page.url,
        parent: String(page.parent[page.parent.type] ?? page.parent.type),
        created_at: page.created_time,
        updated_at: page.last_edited_time
    };
}
