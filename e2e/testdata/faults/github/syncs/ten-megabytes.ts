import { createSync } from 'nango';
import * as z from 'zod';

export default createSync({
    description: 'A sync that misbehaves: ten-megabytes',
    frequency: 'every day',
    autoStart: false,
    models: { Thing: z.object({ id: z.union([z.string(), z.number()]) }) },
    exec: async (nango) => {
        await nango.batchSave([{ id: '1', text: 'x'.repeat(10 * 1024 * 1024) }], 'Thing');
    }
});
