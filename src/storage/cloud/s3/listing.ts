import { QueueError } from "../../../mail/queue-error.ts";
import { readXml, textOf, type XmlElement } from "../aws/xml.ts";
import type { ListedObject, ObjectPage, ObjectQuery } from "../object-store.ts";
import type { S3Requests } from "./requests.ts";

/** One page of a bucket's keys. */
export async function listObjects(
  requests: S3Requests,
  { prefix, after, limit }: ObjectQuery,
): Promise<ObjectPage> {
  const query = {
    "list-type": "2",
    "encoding-type": "url",
    "max-keys": String(limit),
    prefix,
    ...(after !== undefined && { "start-after": after }),
  };
  const { bytes } = await requests.send({ kind: "LIST", query, isRepeatable: true });
  const page = readXml(new TextDecoder().decode(bytes));
  const isMore = textOf(page, "IsTruncated");
  if (page?.name !== "ListBucketResult" || (isMore !== "true" && isMore !== "false")) {
    throw new QueueError("the object store answered a list that cannot be read");
  }
  const isEncoded = textOf(page, "EncodingType") === "url";
  const found = page.children.filter(({ name }) => name === "Contents");
  return { objects: found.map((each) => listed(each, isEncoded)), isMore: isMore === "true" };
}

function listed(element: XmlElement, isEncoded: boolean): ListedObject {
  const raw = textOf(element, "Key") ?? "";
  const key = isEncoded ? decodeURIComponent(raw.replaceAll("+", "%20")) : raw;
  const size = Number(textOf(element, "Size") ?? Number.NaN);
  const storedAt = Date.parse(textOf(element, "LastModified") ?? "");
  if (key === "" || Number.isNaN(size) || Number.isNaN(storedAt)) {
    throw new QueueError("the object store listed an object that cannot be read");
  }
  return { key, size, storedAt };
}
