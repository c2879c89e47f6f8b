// What a publisher is made to send: subscription permissions, dynacast, backup codec and regression.
// usage: node tracks.mjs URL TOKEN_ALICE TOKEN_BOB TOKEN_CAROL CHROMIUM single|dual
import { run, until } from "./harness.mjs";

const [url, aliceToken, bobToken, carolToken, executablePath, topology] = process.argv.slice(2);

await run(executablePath, async ({ open, result }) => {
  const [alice, bob, carol] = [await open("alice"), await open("bob"), await open("carol")];
  const options = { room: { dynacast: true, singlePeerConnection: topology === "single" }, connect: {} };
  const join = (page, token) => page.evaluate(([u, t, o]) => join(u, t, o), [url, token, options]);
  const frames = async (page) => (await page.evaluate(() => inbound())).video?.frames ?? 0;
  const flows = async (what, page) => {
    const before = await frames(page);
    await until(what, async () => (await frames(page)) > before + 10, 20_000);
  };
  await join(alice, aliceToken);
  await join(bob, bobToken);
  await alice.evaluate(() => publishCamera({ videoCodec: "vp9", backupCodec: { codec: "vp8" }, scalabilityMode: "L3T3_KEY" }));
  await flows("the picture", bob);
  result.first = (await bob.evaluate(() => inbound())).video.codec;

  let began = Date.now();
  await bob.evaluate(() => setEnabled(false));
  await until("dynacast to pause", () => alice.evaluate(() => encodings().vp9 === 0));
  result.pausedAfter = Date.now() - began;
  began = Date.now();
  await bob.evaluate(() => setEnabled(true));
  await until("dynacast to wake", () => alice.evaluate(() => encodings().vp9 > 0));
  result.wokeAfter = Date.now() - began;
  await flows("the picture after the pause", bob);

  await alice.evaluate(() => allow([]));
  await until("the end of the subscription", () => bob.evaluate(() => state.events.includes("TrackUnsubscribed")));
  result.refused = await bob.evaluate(() => state.events.includes("TrackSubscriptionPermissionChanged"));
  await alice.evaluate(() => allow(["bob", "carol"]));
  await flows("the picture after permission", bob);

  await carol.evaluate(() => lack("VP9"));
  await join(carol, carolToken);
  await flows("the picture in the backup codec", carol);
  result.backup = (await carol.evaluate(() => inbound())).video.codec;
  await until("bob to receive the backup codec", async () =>
    (await bob.evaluate(() => inbound())).video?.codec === "video/VP8");
  await flows("the picture after the change of codecs", bob);
  await until("the first codec to pause", () => alice.evaluate(() => encodings().vp9 === 0));
  result.encodings = await alice.evaluate(() => encodings());
  result.unsubscribed = await bob.evaluate(
    () => state.events.filter((name) => name === "TrackUnsubscribed").length);
});
