// One of two participants goes through LiveKit's reconnect scenarios; both must see each other again.
// usage: node reconnect.mjs URL TOKEN_ALICE TOKEN_BOB CHROMIUM single|dual; prints one JSON object of times in ms,
// exits 1 on failure.
import { run, until } from "./harness.mjs";

const [url, aliceToken, bobToken, executablePath, topology] = process.argv.slice(2);
const SCENARIOS = [
  "signal-reconnect", "resume-reconnect", "disconnect-signal-on-resume", "disconnect-signal-on-resume-no-messages",
  "full-reconnect", "node-failure", "migration", "force-tcp",
];

await run(executablePath, async ({ open, result }) => {
  result.scenarios = {};
  const alice = await open("alice");
  const bob = await open("bob");
  const pages = { alice, bob };
  const options = { room: { singlePeerConnection: topology === "single" }, connect: {} };
  for (const [name, token] of [["alice", aliceToken], ["bob", bobToken]]) {
    await pages[name].evaluate(([u, t, o]) => join(u, t, o), [url, token, options]);
    await pages[name].evaluate(() => publish());
    await pages[name].evaluate(() => watchFrames());
  }
  const seeing = (page, start) =>
    until("pictures", async () => {
      const seen = await page.evaluate((s) => ({ ...longestGap(s), count: state.frames.filter((f) => f > s).length }), start);
      return seen.count > 10 && seen.since < 500 && seen;
    }, 25_000);
  await seeing(alice, 0);
  await seeing(bob, 0);
  for (const scenario of SCENARIOS) {
    await bob.evaluate(() => (state.events.length = 0));
    const start = Date.now();
    await bob.evaluate((s) => simulate(s), scenario);
    await until(`Reconnected after ${scenario}`, () => bob.evaluate(() => state.events.includes("Reconnected")), 25_000);
    const reconnected = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const times = { reconnected: reconnected - start };
    for (const [name, page] of Object.entries(pages)) {
      await seeing(page, reconnected);
      const { gap, ended } = await page.evaluate((s) => longestGap(s), start);
      times[name] = { gap, ended };
    }
    result.scenarios[scenario] = times;
    await bob.evaluate((s) => send(s), scenario);
    const arrived = until("data", () => alice.evaluate((s) => state.data.some((d) => d.text === s), scenario), 3_000);
    times.data = await arrived.then(() => true, () => false);
  }
  await bob.evaluate(() => simulate("server-leave"));
  await until("Disconnected", () => bob.evaluate(() => state.events.includes("Disconnected")));
});
