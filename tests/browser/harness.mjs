// Pages of one headless Chromium that run livekit-client: what every script here begins with.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = fileURLToPath(new URL(".", import.meta.url));
const files = {
  "/": [`${here}page.html`, "text/html"],
  "/livekit-client.js": [`${here}node_modules/livekit-client/dist/livekit-client.umd.js`, "text/javascript"],
};

// Polls the page: what a person would wait for on the screen.
export const until = async (what, check, timeout = 15_000) => {
  const end = Date.now() + timeout;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

// Runs `scenario({ open, result })` with `open(name)` giving pages; prints one JSON object and exits,
// with 1 on failure.
export const run = async (executablePath, scenario) => {
  const server = createServer(async (request, response) => {
    const file = files[new URL(request.url, "http://x").pathname];
    if (!file) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": file[1] }).end(await readFile(file[0]));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${server.address().port}/`;
  const browser = await chromium.launch({
    executablePath,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
    ],
  });
  const problems = [];
  const result = {};
  const open = async (name) => {
    const page = await (await browser.newContext({ permissions: ["camera", "microphone"] })).newPage();
    page.on("pageerror", (error) => problems.push(`${name}: ${error.message}`));
    await page.goto(origin);
    return page;
  };
  try {
    await scenario({ open, result });
    result.ok = problems.length === 0;
  } catch (error) {
    result.ok = false;
    problems.push(error.message);
  } finally {
    await browser.close();
    server.close();
  }
  console.log(JSON.stringify({ ...result, problems }));
  process.exit(result.ok ? 0 : 1);
};
