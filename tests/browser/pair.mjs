// Two pages of one headless Chromium, each a participant through livekit-client.
// usage: node pair.mjs URL TOKEN_ALICE TOKEN_BOB CHROMIUM single|dual; prints one JSON object, exits 1 on failure.
import { run, until } from "./harness.mjs";

const [url, aliceToken, bobToken, executablePath, topology] = process.argv.slice(2);

await run(executablePath, async ({ open, result }) => {
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
});
