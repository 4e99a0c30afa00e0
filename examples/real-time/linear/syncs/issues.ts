import { createSync } from 'nango';
import * as z from 'zod';

const Issue = z.object({
    id: z.string(),
    identifier: z.string(),
    title: z.string(),
    description: z.string().nullable(),
    priority: z.number(),
    state: z.string(),
    team: z.string(),
    assignee_id: z.string().nullable(),
    updated_at: z.string()
});
type Issue = z.infer<typeof Issue>;

// The same in the API (by the query below) and in webhooks.
interface LinearIssue {
    id: string;
    identifier: string;
    title: string;
    description?: string | null;
    priority: number;
    state: { name: string };
    team: { key: string };
    assignee?: { id: string } | null;
    updatedAt: string;
    archivedAt?: string | null;
}

interface LinearEvent {
    action: 'create' | 'update' | 'remove';
    data: LinearIssue;
}

const newest = { strategy: 'keep_newest', field: 'updated_at' } as never;

const query = `query Issues($after: String, $since: DateTimeOrDuration!) {
  issues(first: 100, after: $after, orderBy: updatedAt, filter: { updatedAt: { gte: $since } }) {
    nodes { id identifier title description priority state { name } team { key } assignee { id } updatedAt archivedAt }
    pageInfo { hasNextPage endCursor }
  }
}`;

export default createSync({
    description: 'Issues of the workspace',
    version: '1.0.0',
    frequency: 'every 5 minutes',
    models: { Issue },
    checkpoint: z.object({ since: z.string() }),
    webhookSubscriptions: ['Issue'],

    exec: async (nango) => {
        await nango.setMergingStrategy(newest, 'Issue');
        const since = (await nango.getCheckpoint())?.since ?? '1970-01-01T00:00:00.000Z';
        let latest = since;
        let after: string | null = null;
        for (;;) {
            const response: { data: { data: { issues: { nodes: LinearIssue[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } } } } } =
                await nango.post({ endpoint: '/graphql', data: { query, variables: { after, since } }, retries: 5 });
            const { nodes, pageInfo } = response.data.data.issues;
            await nango.batchSave(nodes.filter((issue) => !issue.archivedAt).map(toIssue), 'Issue');
            for (const issue of nodes) if (issue.updatedAt > latest) latest = issue.updatedAt;
            if (!pageInfo.hasNextPage) break;
            after = pageInfo.endCursor;
        }
        await nango.saveCheckpoint({ since: latest });
    },

    onWebhook: async (nango, payload) => {
        await nango.setMergingStrategy(newest, 'Issue');
        const { action, data } = payload as LinearEvent;
        if (action === 'remove') await nango.batchDelete([{ id: data.id, updated_at: data.updatedAt } as Issue], 'Issue');
        else await nango.batchSave([toIssue(data)], 'Issue');
    }
});

function toIssue(issue: LinearIssue): Issue {
    return {
        id: issue.id,
        identifier: issue.identifier,
        title: issue.title,
        description: issue.description ?? null,
        priority: issue.priority,
        state: issue.state.name,
        team: issue.team.key,
        assignee_id: issue.assignee?.id ?? null,
        updated_at: issue.updatedAt
    };
}
