import { createSync } from 'nango';
import * as z from 'zod';

const GithubIssue = z.object({
    id: z.string(),
    number: z.number(),
    title: z.string(),
    state: z.string(),
    body: z.string().nullable(),
    author: z.string(),
    labels: z.array(z.string()),
    comments: z.number(),
    url: z.string(),
    created_at: z.string(),
    updated_at: z.string()
});
type GithubIssue = z.infer<typeof GithubIssue>;

// What the REST API and the webhooks have in common, as far as it is needed here.
interface ApiIssue {
    id: number;
    number: number;
    title: string;
    state?: string;
    body?: string | null;
    user?: { login: string } | null;
    labels?: ({ name?: string } | string)[];
    comments?: number;
    html_url: string;
    created_at: string;
    updated_at: string;
    pull_request?: unknown;
}

interface IssuesEvent {
    action: string;
    issue: ApiIssue;
}

export default createSync({
    description: 'Issues of one repository, by webhook within moments and by polling for what webhooks missed',
    version: '1.0.0',
    frequency: 'every 30s',
    autoStart: true,
    models: { GithubIssue },
    // The connection says which repository: { "repository": "owner/name" }.
    metadata: z.object({ repository: z.string() }),
    checkpoint: z.object({ since: z.string() }),
    webhookSubscriptions: ['issues'],

    exec: async (nango) => {
        // A slow poll must not overwrite what a webhook wrote while it was fetching.
        await nango.setMergingStrategy({ strategy: 'ignore_if_modified_after' }, 'GithubIssue');

        const { repository } = await nango.getMetadata();
        const checkpoint = await nango.getCheckpoint();
        const pages = nango.paginate<ApiIssue>({
            endpoint: `/repos/${repository}/issues`,
            // Oldest change first, so that the checkpoint can move on after every page.
            params: { state: 'all', sort: 'updated', direction: 'asc', per_page: 50, ...(checkpoint ? { since: checkpoint.since } : {}) },
            paginate: { type: 'link', link_rel_in_response_header: 'next', limit_name_in_request: 'per_page', limit: 50 },
            retries: 3
        });
        for await (const page of pages) {
            // GitHub lists pull requests among the issues.
            const issues = page.filter((issue) => !issue.pull_request).map(toIssue);
            await nango.batchSave(issues, 'GithubIssue');
            const last = page[page.length - 1];
            if (last) {
                await nango.saveCheckpoint({ since: last.updated_at });
            }
        }
    },

    onWebhook: async (nango, payload) => {
        const { action, issue } = payload as IssuesEvent;
        switch (action) {
            case 'deleted':
            case 'transferred':
                await nango.batchDelete([{ id: String(issue.id) } as GithubIssue], 'GithubIssue');
                break;
            default:
                // opened, edited, closed, reopened, labeled …: each carries the whole issue.
                await nango.batchSave([toIssue(issue)], 'GithubIssue');
        }
    }
});

function toIssue(issue: ApiIssue): GithubIssue {
    return {
        id: String(issue.id),
        number: issue.number,
        title: issue.title,
        state: issue.state ?? 'open',
        body: issue.body ?? null,
        author: issue.user?.login ?? 'ghost',
        labels: (issue.labels ?? []).map((label) => (typeof label === 'string' ? label : (label.name ?? ''))),
        comments: issue.comments ?? 0,
        url: issue.html_url,
        created_at: issue.created_at,
        updated_at: issue.updated_at
    };
}
