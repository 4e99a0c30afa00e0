import { createOnEvent } from 'nango';

export default createOnEvent({
    description: 'Says hello',
    event: 'post-connection-creation',
    exec: async (nango) => {
        await nango.patch({ endpoint: '/repos/acme/rockets/issues/1', data: { title: `hello ${nango.connectionId}` } });
        await nango.updateMetadata({ greeted: true });
    }
});
