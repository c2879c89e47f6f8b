// Alice publishes several layers in one stream, Bob asks for each of them.
// usage: node layers.mjs URL TOKEN_ALICE TOKEN_BOB CHROMIUM CODEC MODE; prints one JSON object, exits 1 on failure.
import { run, until } from "./harness.mjs";

const [url, aliceToken, bobToken, executablePath, codec, mode] = process.argv.slice(2);

await run(executablePath, async ({ open, result }) => {
  const alice = await open("alice");
  const bob = await open("bob");
  await alice.evaluate(([u, t]) => join(u, t, {}), [url, aliceToken]);
  await bob.evaluate(([u, t]) => join(u, t, {}), [url, bobToken]);
  await alice.evaluate(([c, m]) => publishLayers(c, m), [codec, mode]);
  const width = (wanted, what) => until(what, async () => {
    const { video } = await bob.evaluate(() => inbound());
    if (video) result.last = video;
    return video?.width === wanted && video;
  }, 25_000);
  await width(960, "the full picture");
  result.widths = [];
  for (const [quality, wanted] of [["LOW", 240], ["MEDIUM", 480], ["HIGH", 960], ["LOW", 240], ["HIGH", 960]]) {
    await bob.evaluate((q) => setQuality(q), quality);
    const reached = await width(wanted, `${quality}, ${wanted} pixels wide`);
    result.widths.push(reached.width);
    // It goes on in that size.
    await until(`frames in ${quality}`, async () => {
      const { video } = await bob.evaluate(() => inbound());
      return video.frames > reached.frames + 20;
    });
  }
});
