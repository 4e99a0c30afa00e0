import { createAction } from 'nango';
import * as z from 'zod';

export default createAction({
    description: 'Closes an issue',
    version: '1.0.0',
    input: z.object({ number: z.number() }),
    output: z.object({ number: z.number(), state: z.string() }),
    metadata: z.object({ repository: z.string() }),
    exec: async (nango, input) => {
        const { repository } = await nango.getMetadata();
        await nango.log(`closing ${input.number}`);
        const { data } = await nango.patch<any>({ endpoint: `/repos/${repository}/issues/${input.number}`, data: { state: 'closed' } });
        return { number: data.number, state: data.state };
    }
});
