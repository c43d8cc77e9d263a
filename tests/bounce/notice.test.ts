import { expect, test } from "bun:test";
import { RETURN_BYTES_MAX } from "../../src/bounce/notice.ts";
import { HEAD_BYTES_MAX } from "../../src/mail/content.ts";

test("what goes back by default is in memory, also of a message that is not", () => {
  expect(RETURN_BYTES_MAX).toBeLessThanOrEqual(HEAD_BYTES_MAX);
});
