import { createServer } from "node:net";

const given = new Set<number>();

/**
 * A TCP port of 127.0.0.1 that nobody listens on, for programs that cannot be told "any port". Never the same one twice in
 * a process. Prefer port 0 wherever the server can say which one it got.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = await unusedPort();
    if (given.has(port)) continue;
    given.add(port);
    return port;
  }
}

function unusedPort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0 }, () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
