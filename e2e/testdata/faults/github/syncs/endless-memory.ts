import { createSync } from 'nango';
import * as z from 'zod';

export default createSync({
    description: 'A sync that misbehaves: endless-memory',
    frequency: 'every day',
    autoStart: false,
    models: { Thing: z.object({ id: z.union([z.string(), z.number()]) }) },
    exec: async (nango) => {
        const all: unknown[] = []; for (let i = 0; ; i++) all.push(JSON.parse(JSON.stringify({ i, text: 'x'.repeat(1 << 16) + i })));
    }
});
