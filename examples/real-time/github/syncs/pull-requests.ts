import { createSync } from 'nango';
import * as z from 'zod';

const PullRequest = z.object({
    id: z.string(),
    number: z.number(),
    title: z.string(),
    state: z.string(),
    draft: z.boolean(),
    merged: z.boolean(),
    author: z.string(),
    head: z.string(),
    base: z.string(),
    url: z.string(),
    updated_at: z.string()
});
type PullRequest = z.infer<typeof PullRequest>;

interface ApiPullRequest {
    id: number;
    number: number;
    title: string;
    state: string;
    draft?: boolean;
    merged_at: string | null;
    user: { login: string } | null;
    head: { ref: string };
    base: { ref: string };
    html_url: string;
    updated_at: string;
}

// Both the API and the webhooks carry the whole pull request with the time of
// its last change, so the newer one wins whatever the order of arrival.
const newest = { strategy: 'keep_newest', field: 'updated_at' } as never;

export default createSync({
    description: 'Pull requests of one repository',
    version: '1.0.0',
    frequency: 'every 5 minutes',
    models: { PullRequest },
    // Which repository: { "repository": "owner/name" }.
    metadata: z.object({ repository: z.string() }),
    checkpoint: z.object({ updated_at: z.string() }),
    webhookSubscriptions: ['pull_request'],

    exec: async (nango) => {
        await nango.setMergingStrategy(newest, 'PullRequest');
        const { repository } = await nango.getMetadata();
        const since = (await nango.getCheckpoint())?.updated_at ?? '';
        let latest = since;
        const pages = nango.paginate<ApiPullRequest>({
            endpoint: `/repos/${repository}/pulls`,
            params: { state: 'all', sort: 'updated', direction: 'desc' },
            paginate: { type: 'link', link_rel_in_response_header: 'next', limit_name_in_request: 'per_page', limit: 100 },
            retries: 5
        });
        for await (const page of pages) {
            await nango.batchSave(page.map(toPullRequest), 'PullRequest');
            for (const pull of page) {
                if (pull.updated_at > latest) latest = pull.updated_at;
            }
            // The newest come first: what follows was seen by an earlier poll.
            if (page.some((pull) => pull.updated_at < since)) break;
        }
        if (latest !== since) await nango.saveCheckpoint({ updated_at: latest });
    },

    onWebhook: async (nango, payload) => {
        await nango.setMergingStrategy(newest, 'PullRequest');
        const { pull_request } = payload as { pull_request: ApiPullRequest };
        await nango.batchSave([toPullRequest(pull_request)], 'PullRequest');
    }
});

function toPullRequest(pull: ApiPullRequest): PullRequest {
    return {
        id: String(pull.id),
        number: pull.number,
        title: pull.title,
        state: pull.state,
        draft: pull.draft ?? false,
        merged: pull.merged_at !== null,
        author: pull.user?.login ?? 'ghost',
        head: pull.head.ref,
        base: pull.base.ref,
        url: pull.html_url,
        updated_at: pull.updated_at
    };
}
