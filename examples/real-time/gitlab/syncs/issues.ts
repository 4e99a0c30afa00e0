import { createSync } from 'nango';
import * as z from 'zod';

const Issue = z.object({
    id: z.string(),
    iid: z.number(),
    title: z.string(),
    description: z.string().nullable(),
    state: z.string(),
    labels: z.array(z.string()),
    url: z.string(),
    updated_at: z.string()
});
type Issue = z.infer<typeof Issue>;

interface ApiIssue {
    id: number;
    iid: number;
    title: string;
    description: string | null;
    state: string;
    labels: string[];
    web_url: string;
    updated_at: string;
}

interface IssueHook {
    object_attributes: {
        id: number;
        iid: number;
        title: string;
        description: string | null;
        state: string;
        labels?: { title: string }[];
        url: string;
        updated_at: string;
    };
    labels?: { title: string }[];
}

const newest = { strategy: 'keep_newest', field: 'updated_at' } as never;

export default createSync({
    description: 'Issues of one project',
    version: '1.0.0',
    frequency: 'every 5 minutes',
    models: { Issue },
    // Which project: its id, or its path with %2F for the slashes.
    metadata: z.object({ project_id: z.union([z.string(), z.number()]) }),
    checkpoint: z.object({ updated_after: z.string() }),
    webhookSubscriptions: ['Issue Hook'],

    exec: async (nango) => {
        await nango.setMergingStrategy(newest, 'Issue');
        const { project_id } = await nango.getMetadata();
        const checkpoint = await nango.getCheckpoint();
        const pages = nango.paginate<ApiIssue>({
            endpoint: `/api/v4/projects/${project_id}/issues`,
            // The oldest change first: the checkpoint moves on with every page.
            params: { scope: 'all', order_by: 'updated_at', sort: 'asc', ...(checkpoint ?? {}) },
            paginate: { type: 'link', link_rel_in_response_header: 'next', limit_name_in_request: 'per_page', limit: 100 },
            retries: 5
        });
        for await (const page of pages) {
            await nango.batchSave(page.map(fromApi), 'Issue');
            const last = page[page.length - 1];
            if (last) await nango.saveCheckpoint({ updated_after: last.updated_at });
        }
    },

    onWebhook: async (nango, payload) => {
        await nango.setMergingStrategy(newest, 'Issue');
        await nango.batchSave([fromHook(payload as IssueHook)], 'Issue');
    }
});

function fromApi(issue: ApiIssue): Issue {
    return {
        id: String(issue.id),
        iid: issue.iid,
        title: issue.title,
        description: issue.description,
        state: issue.state,
        labels: issue.labels,
        url: issue.web_url,
        updated_at: iso(issue.updated_at)
    };
}

function fromHook(hook: IssueHook): Issue {
    const issue = hook.object_attributes;
    return {
        id: String(issue.id),
        iid: issue.iid,
        title: issue.title,
        description: issue.description,
        state: issue.state,
        labels: (issue.labels ?? hook.labels ?? []).map((label) => label.title),
        url: issue.url,
        updated_at: iso(issue.updated_at)
    };
}

// Older hooks write times as "2013-12-03 17:15:43 UTC", the API as ISO 8601.
function iso(time: string): string {
    return new Date(time.replace(/^(\S+) (\S+) UTC$/, '$1T$2Z')).toISOString();
}
