import { createSync } from 'nango';
import * as z from 'zod';

const Issue = z.object({
    id: z.string(),
    key: z.string(),
    project: z.string(),
    summary: z.string(),
    status: z.string(),
    type: z.string(),
    assignee: z.string().nullable(),
    updated_at: z.string()
});
type Issue = z.infer<typeof Issue>;

interface ApiIssue {
    id: string;
    key: string;
    fields: {
        project: { key: string };
        summary: string;
        status: { name: string };
        issuetype: { name: string };
        assignee: { displayName: string } | null;
        updated: string;
    };
}

interface IssueEvent {
    webhookEvent: string;
    issue: ApiIssue;
}

const fields = ['project', 'summary', 'status', 'issuetype', 'assignee', 'updated'];
const newest = { strategy: 'keep_newest', field: 'updated_at' } as never;

export default createSync({
    description: 'Issues of the projects that the user sees',
    version: '1.0.0',
    frequency: 'every 10 minutes',
    models: { Issue },
    checkpoint: z.object({ updated: z.string() }),
    webhookSubscriptions: ['jira:issue_created', 'jira:issue_updated', 'jira:issue_deleted'],

    exec: async (nango) => {
        await nango.setMergingStrategy(newest, 'Issue');
        const connection = await nango.getConnection();
        const cloud = connection.connection_config['cloudId'];
        const since = (await nango.getCheckpoint())?.updated;
        let latest = since ?? '';
        let nextPageToken: string | undefined;
        do {
            const response: { data: { issues: ApiIssue[]; nextPageToken?: string } } = await nango.get({
                endpoint: `/ex/jira/${cloud}/rest/api/3/search/jql`,
                // JQL knows minutes, in the user's time zone: a relative time has no zone.
                params: {
                    jql: `updated >= ${since ? `-${minutesSince(since)}m` : '"1970-01-01"'} ORDER BY updated ASC`,
                    fields: fields.join(','),
                    maxResults: 100,
                    ...(nextPageToken ? { nextPageToken } : {})
                },
                retries: 5
            });
            const issues = response.data.issues.map(toIssue);
            await nango.batchSave(issues, 'Issue');
            for (const issue of issues) if (issue.updated_at > latest) latest = issue.updated_at;
            nextPageToken = response.data.nextPageToken;
        } while (nextPageToken);
        if (latest) await nango.saveCheckpoint({ updated: latest });
    },

    onWebhook: async (nango, payload) => {
        await nango.setMergingStrategy(newest, 'Issue');
        const { webhookEvent, issue } = payload as IssueEvent;
        if (webhookEvent === 'jira:issue_deleted') {
            await nango.batchDelete([{ id: issue.id }], 'Issue');
            return;
        }
        await nango.batchSave([toIssue(issue)], 'Issue');
    }
});

function toIssue(issue: ApiIssue): Issue {
    const f = issue.fields;
    return {
        id: issue.id,
        key: issue.key,
        project: f.project.key,
        summary: f.summary,
        status: f.status.name,
        type: f.issuetype.name,
        assignee: f.assignee?.displayName ?? null,
        // "2009-12-16T23:46:07.612+0000": Jira leaves the colon out.
        updated_at: new Date(f.updated.replace(/([+-]\d\d)(\d\d)$/, '$1:$2')).toISOString()
    };
}

// minutesSince is rounded up, with one more: the edge is fetched twice.
function minutesSince(time: string): number {
    return Math.max(1, Math.ceil((Date.now() - Date.parse(time)) / 60_000) + 1);
}
