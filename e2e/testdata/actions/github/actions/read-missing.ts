import { createAction } from 'nango';
import * as z from 'zod';

export default createAction({
    description: 'Reads what is not there',
    version: '1.0.0',
    input: z.void(),
    output: z.void(),
    exec: async (nango) => {
        await nango.get({ endpoint: '/repos/acme/rockets/issues/4711' });
    }
});
