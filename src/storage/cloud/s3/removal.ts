import { QueueError } from "../../../mail/queue-error.ts";
import { escapeXml, readXml, textOf } from "../aws/xml.ts";
import type { S3Requests } from "./requests.ts";

/** As many as S3 takes in one request. */
const KEYS_MAX = 1000;

/** Removes objects, many with one request. What is gone already is as good. */
export async function removeAll(requests: S3Requests, keys: readonly string[]): Promise<void> {
  const [only] = keys;
  if (only !== undefined && keys.length === 1) {
    await requests.send({ kind: "DELETE", key: only, isRepeatable: true, expected: [404] });
    return;
  }
  for (let from = 0; from < keys.length; from += KEYS_MAX) {
    await removeBatch(requests, keys.slice(from, from + KEYS_MAX));
  }
}

async function removeBatch(requests: S3Requests, keys: readonly string[]): Promise<void> {
  const objects = keys.map((key) => `<Object><Key>${escapeXml(key)}</Key></Object>`).join("");
  const xml = `<Delete xmlns="${NAMESPACE}"><Quiet>true</Quiet>${objects}</Delete>`;
  const body = new TextEncoder().encode(xml);
  // Older stores want no other checksum.
  const md5 = new Bun.CryptoHasher("md5").update(body).digest("base64");
  const { bytes } = await requests.send({
    kind: "POST",
    query: { delete: "" },
    headers: { "content-md5": md5, "content-type": "application/xml" },
    body,
    isRepeatable: true,
  });
  const result = readXml(new TextDecoder().decode(bytes));
  if (result?.name !== "DeleteResult") throw unreadable();
  const failed = result.children.filter(({ name }) => name === "Error");
  const [first] = failed;
  if (first === undefined) return;
  const said = textOf(first, "Code") ?? "an error";
  throw new QueueError(`the object store did not remove ${failed.length} objects: ${said}`);
}

function unreadable(): QueueError {
  return new QueueError("the object store answered a removal with something that cannot be read");
}

const NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";
