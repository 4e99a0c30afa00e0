import { createAction } from 'nango';
import * as z from 'zod';

export default createAction({
    description: 'Closes issues, each by another action',
    version: '1.0.0',
    input: z.object({ numbers: z.array(z.number()) }),
    output: z.object({ closed: z.array(z.number()) }),
    checkpoint: z.object({ runs: z.number() }),
    exec: async (nango, input) => {
        const before = await nango.getCheckpoint();
        await nango.saveCheckpoint({ runs: (before?.runs ?? 0) + 1 });
        const results = await Promise.all(
            input.numbers.map((number) => nango.triggerAction<{ number: number }, { number: number }>('github', nango.connectionId, 'close-issue', { number }))
        );
        return { closed: results.map((r) => r.number) };
    }
});
