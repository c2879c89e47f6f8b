// Two pages of one headless Chromium, each a participant through livekit-client.
// usage: node pair.mjs URL TOKEN_ALICE TOKEN_BOB CHROMIUM single|dual; prints one JSON object, exits 1 on failure.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [url, aliceToken, bobToken, executablePath, topology] = process.argv.slice(2);
const here = fileURLToPath(new URL(".", import.meta.url));
const files = {
  "/": [`${here}page.html`, "text/html"],
  "/livekit-client.js": [`${here}node_modules/livekit-client/dist/livekit-client.umd.js`, "text/javascript"],
};
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
// Polls the page: what a person would wait for on the screen.
const until = async (what, check, timeout = 15_000) => {
  const end = Date.now() + timeout;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`timed out waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

try {
  const alice = await open("alice");
  const bob = await open("bob");
  const options = {
    room: { publishDefaults: { simulcast: true }, singlePeerConnection: topology === "single" },
    connect: {},
  };
  await alice.evaluate(([u, t, o]) => join(u, t, o), [url, aliceToken, options]);
  await bob.evaluate(([u, t, o]) => join(u, t, o), [url, bobToken, options]);
  result.published = await alice.evaluate(() => publish());
  await bob.evaluate(() => publish());

  for (const [name, page] of [["alice", alice], ["bob", bob]]) {
    result[name] = await until(`${name} to receive audio and video`, async () => {
      const stats = await page.evaluate(() => inbound());
      return stats.audio?.packets > 50 && stats.audio?.energy > 0 && stats.video?.frames > 20 && stats;
    }, 25_000);
  }
  result.full = await until("the full picture", async () => {
    const stats = await bob.evaluate(() => inbound());
    return stats.video.width === 640 && stats.video;
  });
  await bob.evaluate(() => setQuality("LOW"));
  result.low = await until("the low layer", async () => {
    const stats = await bob.evaluate(() => inbound());
    return stats.video.width < 640 && stats.video;
  });
  await bob.evaluate(() => setQuality("HIGH"));
  result.high = await until("the high layer again", async () => {
    const stats = await bob.evaluate(() => inbound());
    return stats.video.width === 640 && stats.video;
  });
  await alice.evaluate(() => send("hello bob"));
  result.data = await until("data", () => bob.evaluate(() => state.data[0]));
  result.dataTrack = await alice.evaluate(() => publishDataTrack("pose"));
  result.frame = await until("a frame of the data track", async () => {
    // The subscription may still be under way.
    await alice.evaluate(() => push("here"));
    return bob.evaluate(() => state.frames[0]);
  });
  await alice.evaluate(() => mute(true));
  await until("mute", () => bob.evaluate(() => state.events.includes("TrackMuted")));
  await alice.evaluate(() => mute(false));
  await until("unmute", () => bob.evaluate(() => state.events.includes("TrackUnmuted")));
  await alice.evaluate(() => leave());
  await until("departure", () => bob.evaluate(() => state.events.includes("ParticipantDisconnected")));
  result.events = await bob.evaluate(() => state.events);
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
