// The function that reads what bundles say of themselves: it evaluates one
// (input.source) beside those before it, and describes what it exports. These
// names make the engine load all that a bundle may touch at its top level:
// URL Headers FormData Buffer crypto Intl
var __syncline_fn = { default: { exec: async (nango, input) => {
  const { zod } = globalThis.__syncline_library;
  // Names that functions give to schemas are theirs alone.
  if (typeof zod?.globalRegistry?.clear === 'function') zod.globalRegistry.clear();
  const own = globalThis.__syncline_fn;
  try {
    (0, eval)(input.source);
    return describe(globalThis.__syncline_fn, zod);
  } finally {
    globalThis.__syncline_fn = own;
  }
} } };
