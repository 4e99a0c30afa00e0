import { createSync } from 'nango';
import * as z from 'zod';

export default createSync({
    description: 'A sync that misbehaves: not-awaited',
    frequency: 'every day',
    autoStart: false,
    models: { Thing: z.object({ id: z.union([z.string(), z.number()]) }) },
    exec: async (nango) => {
        void nango.batchSave([{ id: 'late' }], 'Thing');
    }
});
