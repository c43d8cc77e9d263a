import { expect, test } from "bun:test";
import fc from "fast-check";
import { compactDate, formatDate } from "../../src/mail/date.ts";

test("dates are RFC 5322 with a numeric zone", () => {
  expect(formatDate(0)).toBe("Thu, 01 Jan 1970 00:00:00 +0000");
  expect(formatDate(Date.UTC(2028, 1, 29, 23, 59, 59, 999))).toBe(
    "Tue, 29 Feb 2028 23:59:59 +0000",
  );
  expect(compactDate(Date.UTC(2030, 0, 2, 3, 4, 5))).toBe("20300102030405");
});

test("the calendar is the platform's", () => {
  const instants = fc.date({
    min: new Date("0000-01-01T00:00:00Z"),
    max: new Date("9999-12-31T23:59:59.999Z"),
    noInvalidDate: true,
  });
  fc.assert(
    fc.property(instants, (date) => {
      const ms = date.getTime();
      expect(formatDate(ms)).toBe(date.toUTCString().replace("GMT", "+0000"));
      expect(compactDate(ms)).toBe(
        date
          .toISOString()
          .replace(/\..*|[^\d]/gu, "")
          .slice(0, 14),
      );
    }),
    { numRuns: 2000 },
  );
});
