import type { ObjectStore } from "../object-store.ts";
import { checkBucket, type StoreTraits } from "./check-bucket.ts";
import { conditionHeaders, type EtagForm, REFUSED } from "./conditions.ts";
import { listObjects } from "./listing.ts";
import { readPiece, readStream, versionOf } from "./reading.ts";
import { removeAll } from "./removal.ts";
import { type RequestCounts, S3Requests, type S3RequestsParts } from "./requests.ts";
import { openUpload } from "./upload.ts";

/** A bucket of S3, or of a store that speaks like it. */
export interface S3Store extends ObjectStore {
  /**
   * Tries out whether this store can be used, with an object of this key that is gone afterwards, and what it promises. Before
   * that no condition may be put to it. Rejects with `StoreConfigError` when somebody has to change something first, with
   * `QueueError` when it cannot be used at the moment.
   */
  check(probeKey: string): Promise<StoreTraits>;
  /** The store's clock minus this node's in milliseconds, as the answers so far tell; 0 while they do not contradict that. */
  clockDifferenceMs(): number;
  /** Repetitions included. */
  requests(): RequestCounts;
}

/** Opens a bucket; nothing is sent yet. Its time is real: signatures hold the hour. */
export function openS3(parts: S3RequestsParts): S3Store {
  const requests = new S3Requests(parts);
  let form: EtagForm = "quoted";
  return {
    async put(key, body, condition) {
      if (condition === undefined) {
        return versionOf(key, await requests.send({ kind: "PUT", key, body, isRepeatable: true }));
      }
      const headers = conditionHeaders(condition, form);
      const asked = { kind: "PUT", key, body, headers, isRepeatable: false } as const;
      const answer = await requests.send({ ...asked, expected: REFUSED });
      return REFUSED.includes(answer.status) ? undefined : versionOf(key, answer);
    },
    get: (key, range) => readPiece(requests, key, range),
    stream: (key, start = 0) => readStream(requests, key, start),
    remove: (keys) => removeAll(requests, keys),
    list: (query) => listObjects(requests, query),
    upload: (key) => openUpload(requests, key),
    async check(probeKey) {
      const traits = await checkBucket(requests, parts.place, probeKey);
      form = traits.etagForm;
      return traits;
    },
    clockDifferenceMs: () => requests.serverClock.differenceMs,
    requests: () => requests.counts(),
  };
}
