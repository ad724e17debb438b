import { defineConfig } from "vite";

// Relative addresses: an application may mount the gateway below any path.
// Nothing is inlined: the page's Content-Security-Policy allows files of its own origin only.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/penstock/gateway/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    license: { fileName: "licenses.md" },
  },
});
