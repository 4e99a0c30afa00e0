import { createSync } from 'nango';
import * as z from 'zod';

export default createSync({
    description: 'A sync that misbehaves: no-id',
    frequency: 'every day',
    autoStart: false,
    models: { Thing: z.object({ id: z.union([z.string(), z.number()]) }) },
    exec: async (nango) => {
        await nango.batchSave([{ title: 'x' } as any], 'Thing');
    }
});
