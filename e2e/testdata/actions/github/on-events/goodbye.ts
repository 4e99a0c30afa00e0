import { createOnEvent } from 'nango';

export default createOnEvent({
    description: 'Says goodbye, and fails then',
    event: 'pre-connection-deletion',
    exec: async (nango) => {
        await nango.patch({ endpoint: '/repos/acme/rockets/issues/1', data: { title: `goodbye ${nango.connectionId}` } });
        throw new Error('and fails');
    }
});
