import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { escapeXml, readXml, textOf } from "../../src/storage/cloud/aws/xml.ts";

describe("XML of answers", () => {
  test("is read with what S3 puts into it", () => {
    const root = readXml(
      `<?xml version="1.0" encoding="UTF-8"?>
      <!-- <not>this</not> -->
      <List xmlns="http://s3.amazonaws.com/doc/2006-03-01/" b='"'>
        <Empty/><Void></Void ><Text a="1">a &amp; b &lt;c&gt; &quot;&apos;&#65;&#x1F600;</Text>
        <Text>second</Text>
        <Deep><Text>inner</Text></Deep>
      </List>\n`,
    );
    expect(root?.name).toBe("List");
    expect(root?.children.map(({ name }) => name)).toEqual([
      "Empty",
      "Void",
      "Text",
      "Text",
      "Deep",
    ]);
    expect(textOf(root, "Text")).toBe("a & b <c> \"'A\u{1F600}");
    expect(textOf(root, "Empty")).toBe("");
    expect(textOf(root, "Missing")).toBeUndefined();
    expect(textOf(undefined, "Text")).toBeUndefined();
  });

  test("is refused where it is broken", () => {
    for (const wrong of [
      "",
      "text",
      "<a>",
      "<a></b>",
      "<a/><b/>",
      "<a><b></a></b>",
      "</a>",
      "<a>&</a>",
      "<a>&nbsp;</a>",
      "<a>&#x110000;</a>",
      "<a>&#;</a>",
      "<a b=c/>",
      '<a b="<"/>',
      "<a/>tail",
      "head<a/>",
      "<a",
      "<a></a/>",
      "<1/>",
      "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
      "<a><![CDATA[b]]></a>",
      "<a>".repeat(100) + "</a>".repeat(100),
    ]) {
      expect(readXml(wrong), wrong).toBeUndefined();
    }
  });

  test("gives back any text that was escaped", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(readXml(`<a>${escapeXml(text)}</a>`)?.text).toBe(text);
      }),
    );
  });

  test("is read to an end, whatever comes", () => {
    const piece = fc.constantFrom(
      "<a>",
      "</a>",
      "<a/>",
      "&amp;",
      "&",
      "<",
      ">",
      "x",
      '"',
      "<?x?>",
      "<!--",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        const root = readXml(pieces.join(""));
        expect(root === undefined || root.name === "a").toBe(true);
      }),
    );
  });
});
