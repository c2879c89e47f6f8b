// One headless Chromium whose pages run livekit-client, driven over HTTP (chromium.py).
// usage: node host.mjs CHROMIUM ADDRESS; prints its URL at a port of ADDRESS and ends with its standard input.
//   POST /pages                 a page in a profile of its own: { id }
//   POST /pages/ID { code, values }  calls the function `code` in the page: { value } or { error }
//   DELETE /pages/ID            closes it: { problems }, what it threw and nobody caught
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = fileURLToPath(new URL(".", import.meta.url));
const client = `${here}node_modules/livekit-client/dist/`;
const files = {
  "/": [`${here}page.html`, "text/html"],
  "/page.js": [`${here}page.js`, "text/javascript"],
  "/livekit-client.js": [`${client}livekit-client.umd.js`, "text/javascript"],
  "/e2ee.worker.js": [`${client}livekit-client.e2ee.worker.js`, "text/javascript"],
};
const [, , executablePath, address] = process.argv;
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
    "--auto-select-tab-capture-source-by-title=lkpy browser test",
  ],
});
const pages = new Map();
let opened = 0;

const open = async (origin) => {
  const context = await browser.newContext({ permissions: ["camera", "microphone"] });
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  await page.goto(origin);
  const id = String(++opened);
  pages.set(id, { context, page, problems });
  return { id };
};
const call = ({ page }, { code, values }) =>
  page.evaluate(`(${code})(...${JSON.stringify(values)})`).then(
    (value) => ({ value: value ?? null }), (error) => ({ error: error.message }));
const close = async (id) => {
  const { context, problems } = pages.get(id);
  pages.delete(id);
  await context.close();
  return { problems };
};

const answer = async (request, body) => {
  const [, collection, id] = new URL(request.url, "http://x").pathname.split("/");
  if (collection !== "pages") return undefined;
  if (request.method === "POST" && !id) return open(`http://${request.headers.host}/`);
  if (!pages.has(id)) return undefined;
  return request.method === "DELETE" ? close(id) : call(pages.get(id), JSON.parse(body));
};
const server = createServer(async (request, response) => {
  const file = files[new URL(request.url, "http://x").pathname];
  if (file) return response.writeHead(200, { "content-type": file[1] }).end(await readFile(file[0]));
  let body = "";
  for await (const part of request) body += part;
  const found = await answer(request, body).catch((error) => ({ error: error.message }));
  response.writeHead(found ? 200 : 404, { "content-type": "application/json" }).end(JSON.stringify(found ?? {}));
});
await new Promise((resolve) => server.listen(0, address, resolve));
console.log(`http://${address}:${server.address().port}`);

process.stdin.resume();
await new Promise((resolve) => process.stdin.on("end", resolve));
await browser.close();
process.exit(0);
