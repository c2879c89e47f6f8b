// usage: node run.mjs FILE SCENARIO JSON: plays one exported function of FILE; exits 1 if it throws.
import { dispose } from "@livekit/rtc-node";
import { Scenario } from "./kit.mjs";

const [file, name, context] = process.argv.slice(2);
const scenario = new Scenario(JSON.parse(context));
try {
  const scenarios = await import(`./${file}`);
  await scenarios[name](scenario);
  await scenario.end();
  await dispose();
  process.exit(0);
} catch (error) {
  console.log(error.stack ?? String(error));
  process.exit(1);
}
