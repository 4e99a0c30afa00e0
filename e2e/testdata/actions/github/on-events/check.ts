import { createOnEvent } from 'nango';

export default createOnEvent({
    description: 'Takes only connections that name a repository',
    event: 'validate-connection',
    exec: async (nango) => {
        const metadata = await nango.getMetadata<{ repository?: string }>();
        if (!metadata.repository) {
            throw new nango.ActionError({ message: 'choose a repository first' });
        }
        await nango.get({ endpoint: `/repos/${metadata.repository}/issues/1` });
        await nango.updateMetadata({ checked: true });
    }
});
