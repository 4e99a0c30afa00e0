import { createAction } from 'nango';
import * as z from 'zod';

export default createAction({
    description: 'Counts the open issues',
    version: '1.0.0',
    input: z.object({}),
    output: z.object({ count: z.number() }),
    exec: async (nango) => {
        const { data } = await nango.get<any[]>({ endpoint: '/repos/acme/rockets/issues' });
        return { count: data.length };
    }
});
