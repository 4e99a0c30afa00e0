import { createSync } from 'nango';
import * as z from 'zod';

const Product = z.object({
    id: z.string(),
    title: z.string(),
    vendor: z.string().nullable(),
    status: z.string(),
    tags: z.array(z.string()),
    variants: z.array(z.object({ id: z.string(), sku: z.string().nullable(), price: z.string(), inventory: z.number() })),
    updated_at: z.string()
});
type Product = z.infer<typeof Product>;

interface ApiProduct {
    id: number;
    title: string;
    vendor: string | null;
    status: string;
    tags: string;
    variants: { id: number; sku: string | null; price: string; inventory_quantity: number }[];
    updated_at: string;
}

// Shopify sends webhooks in no order; each carries the product and when it changed.
const newest = { strategy: 'keep_newest', field: 'updated_at' } as never;

export default createSync({
    description: 'Products',
    version: '1.0.0',
    frequency: 'every 15 minutes',
    models: { Product },
    checkpoint: z.object({ updated_at_min: z.string() }),
    webhookSubscriptions: ['products/create', 'products/update', 'products/delete'],

    exec: async (nango) => {
        await nango.setMergingStrategy(newest, 'Product');
        const checkpoint = await nango.getCheckpoint();
        let latest = checkpoint?.updated_at_min ?? '';
        const pages = nango.paginate<ApiProduct>({
            endpoint: '/admin/api/2025-10/products.json',
            params: { ...(checkpoint ?? {}) },
            paginate: { type: 'link', link_rel_in_response_header: 'next', limit_name_in_request: 'limit', limit: 250, response_path: 'products' },
            retries: 5
        });
        for await (const page of pages) {
            const products = page.map(toProduct);
            await nango.batchSave(products, 'Product');
            for (const product of products) if (product.updated_at > latest) latest = product.updated_at;
        }
        if (latest) await nango.saveCheckpoint({ updated_at_min: latest });
    },

    onWebhook: async (nango, payload) => {
        await nango.setMergingStrategy(newest, 'Product');
        const product = payload as ApiProduct;
        if (product.title === undefined) {
            // products/delete carries the id alone.
            await nango.batchDelete([{ id: String(product.id) }], 'Product');
            return;
        }
        await nango.batchSave([toProduct(product)], 'Product');
    }
});

function toProduct(product: ApiProduct): Product {
    return {
        id: String(product.id),
        title: product.title,
        vendor: product.vendor,
        status: product.status,
        tags: product.tags.split(',').map((tag) => tag.trim()).filter(Boolean),
        variants: product.variants.map((v) => ({ id: String(v.id), sku: v.sku, price: v.price, inventory: v.inventory_quantity })),
        updated_at: new Date(product.updated_at).toISOString()
    };
}
