import { createAction } from 'nango';
import * as z from 'zod';

export default createAction({
    description: 'Always refuses',
    version: '1.0.0',
    input: z.object({ why: z.string() }),
    output: z.void(),
    exec: async (nango, input) => {
        throw new nango.ActionError({ type: 'refused', message: input.why });
    }
});
