/** One node of several, as a process of its own: asks for places at a destination and gives them back, as dice say. */
import { seededRandom } from "../support/seeded.ts";
import { openStore } from "./redis-fixture.ts";

const [url = "", seed = "1"] = process.argv.slice(2);
const random = seededRandom(Number(seed));
const storage = await openStore(url);
let isOver = false;
process.on("SIGTERM", () => {
  isOver = true;
});
let held = 0;
while (!isOver) {
  const wants = Math.floor(random() * 21);
  const keeps = Math.min(held, Math.floor(random() * 21));
  const claim = { destination: "to", limit: 20, keeps, takes: Math.max(keeps, wants), wants };
  const [granted] = await storage.places.claim([claim], 500);
  held = granted?.held ?? keeps;
  console.log(`held ${held}`);
}
await storage.close();
process.exit(0);
