/**
 * A program that breaks promises, for tests of the selftest: it is run as the product would be, and its first argument says
 * what it does. `forget` says 250 and keeps nothing, `mute` never gets ready.
 */
import { createServer } from "node:net";

const [mode, command] = process.argv.slice(2);

if (command === "fsck") process.exit(0);
if (mode === "mute") {
  console.log("error: cannot start: a bad day");
  process.exit(74);
}
const server = createServer((socket) => {
  let inData = false;
  socket.on("error", () => undefined);
  socket.write("220 liar\r\n");
  socket.on("data", (chunk) => {
    for (const line of chunk.toString().split("\r\n").slice(0, -1)) {
      if (inData && line !== ".") continue;
      const isData = line === "DATA";
      inData = isData;
      socket.write(isData ? "354 go on\r\n" : "250 ok\r\n");
    }
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  console.log(`daemon ready: smtp 127.0.0.1:${port}, admin 127.0.0.1:1`);
});
process.on("SIGTERM", () => process.exit(0));
