import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { headerBytes } from "../../src/moving/email-header.ts";
import { readPickle } from "../../src/moving/pickle/pickle.ts";
import { PickledObject, PickleError } from "../../src/moving/pickle/values.ts";
import { readSlimtaEnvelope, readSlimtaMeta } from "../../src/moving/slimta-envelope.ts";
import { bytesOf } from "../storage/fixtures.ts";
import { describeWithPeers } from "../support/peers.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { tempDir } from "../support/temp-dir.ts";
import { pickles } from "./python.ts";
import { PYTHON_2 } from "./python2.ts";

const PROTOCOLS = [0, 1, 2, 3, 4, 5];

const bytes = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const latin1 = async (envelope: ReturnType<typeof readSlimtaEnvelope>) =>
  Buffer.from(await bytesOf(envelope.content)).toString("latin1");

describeWithPeers(["smtplib"], "pickles of Python 3", () => {
  test("an envelope is read in every protocol", async () => {
    const made = await pickles(`keep("e", envelope(message=bytes(range(256))))`);
    expect(made.size).toBe(PROTOCOLS.length);
    const every = String.fromCharCode(...Array.from({ length: 256 }, (_, index) => index));
    for (const pickled of made.values()) {
      const envelope = readSlimtaEnvelope(pickled);
      expect(envelope).toMatchObject({
        sender: "a@x.example",
        recipients: [
          { index: 0, address: "b@y.example" },
          { index: 1, address: "c@z.example" },
        ],
        client: { ip: "192.0.2.1", host: "client.example", protocol: "ESMTPSA", auth: "joe" },
        receiver: "mx.example",
        receivedAt: 1_700_000_000_250,
        eightBit: true,
        smtpUtf8: false,
      });
      expect(await latin1(envelope)).toBe(`Subject: hi\r\n there\r\nX: y\r\n\r\n${every}`);
    }
  });

  test("a bounce is an envelope, too", async () => {
    const made = await pickles(`
bounce = Bounce("", ["a@x.example"], envelope().headers, b"--b")
bounce.timestamp = 5.5
keep("b", bounce)`);
    for (const protocol of PROTOCOLS) {
      const envelope = readSlimtaEnvelope(made.get(`b-${protocol}`) ?? bytes(""));
      expect(envelope).toMatchObject({ sender: "", receivedAt: 5500 });
      expect(envelope.recipients).toEqual([{ index: 0, address: "a@x.example" }]);
    }
  });

  test("headers that are long only when they are written out are refused", async () => {
    const made = await pickles(`
bomb = envelope()
bomb.headers._headers = [("X", "y" * 100000)] * 100000
keep("b", bomb, [4])`);
    const pickled = made.get("b-4") ?? bytes("");
    expect(pickled.length).toBeLessThan(1_000_000);
    expect(() => readSlimtaEnvelope(pickled)).toThrow("its headers are too long");
  });

  test("values of every kind are read in every protocol", async () => {
    const made = await pickles(`
keep("v", [None, True, False, 0, -1, 255, 256, 65536, -2**31, 2**40, -2**63, 2**200, 1.5, -0.25, "", "\\u00e9\\U0001f600\\n\\\\u0041", "x" * 300,
    (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, {"k": [1]}, [{"a": ()}] * 2])`);
    for (const pickled of made.values()) {
      const nested = new Map([["a", []]]);
      const read = readPickle(pickled);
      expect(read).toEqual([
        ...[
          null,
          true,
          false,
          0,
          -1,
          255,
          256,
          65_536,
          -(2 ** 31),
          2 ** 40,
          -(2n ** 63n),
          2n ** 200n,
        ],
        ...[1.5, -0.25, "", "\u00e9\u{1f600}\n\\u0041", "x".repeat(300)],
        ...[[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [], new Map(), new Map([["k", [1]]])],
        [nested, nested],
      ]);
    }
  });

  test("headers come as they were, also those that were no ASCII", async () => {
    const made = await pickles(`
one = envelope(header=b"Subject: caf\\xe9 \\xff\\r\\nX:no space\\r\\n" + b"L: " + b"word " * 60 + b"\\r\\n\\r\\n")
one.headers._headers.insert(0, ("Received", "from me\\n\\tby you"))
one.headers["Late"] = Header("\\u00e9" * 50, "utf-8")
keep("h", one)
keep("n", envelope(headers=None, message=None))`);
    for (const protocol of PROTOCOLS) {
      const read = async (name: string) =>
        latin1(readSlimtaEnvelope(made.get(`${name}-${protocol}`) ?? bytes("")));
      const text = await read("h");
      expect(text).toStartWith(
        "Received: from me\r\n\tby you\r\nSubject: caf\u00e9 \u00ff\r\nX: no space\r\n",
      );
      expect(text).toContain(`L: ${"word ".repeat(60).trimEnd()}`);
      const words = [.../=\?utf-8\?b\?([^?]+)\?=/gu[Symbol.matchAll](text)];
      const decoded = words.map(([, word = ""]) => Buffer.from(word, "base64").toString("utf8"));
      expect(decoded.join("")).toBe("\u00e9".repeat(50));
      expect(await read("n")).toBe("\r\n");
    }
  });

  test("delivered indexes are believed as far as they are certain", async () => {
    const made = await pickles(`
for name, value in [("set", {0, 2}), ("frozen", frozenset([1])), ("one", [2]), ("many", [1, 0, 1]), ("none", [])]:
    keep(name, {"timestamp": 5.5, "attempts": 3, "delivered_indexes": value})
keep("bare", {"timestamp": 7, "attempts": 0})`);
    const expected = { set: [0, 2], frozen: [1], one: [2], many: [1], none: [], bare: [] };
    for (const [name, delivered] of Object.entries(expected)) {
      for (const protocol of PROTOCOLS) {
        const meta = readSlimtaMeta(made.get(`${name}-${protocol}`) ?? bytes(""));
        expect(meta.delivered.toSorted(), `${name}-${protocol}`).toEqual(delivered);
      }
    }
  });

  test("what would run something is refused, and nothing runs", async () => {
    await using dir = tempDir("pickle");
    const path = dir.join("owned");
    const made = await pickles(`
path = ${JSON.stringify(path)}
keep("system", Evil((os.system, ("touch " + path,))))
keep("eval", Evil((eval, ("open(%r, 'w')" % path,))))
keep("getattr", Evil((getattr, ("", "join"))))
keep("popen", Evil((__import__("subprocess").Popen, (["touch", path],))))
keep("open", Evil((open, (path, "w"))))
keep("within", envelope(client={"ip": Evil((os.system, ("touch " + path,)))}))
keep("state", {"timestamp": Evil((os.system, ("touch " + path,))), "attempts": 0})
keep("import", Evil((__import__("importlib").import_module, ("os",))))`);
    for (const [name, pickled] of made) {
      expect(() => readPickle(pickled), name).toThrow("which no mail needs");
    }
    expect(existsSync(path)).toBe(false);
    // The test's own pickles are real ones: Python runs what they say.
    const child = Bun.spawnSync(
      ["/usr/bin/python3", "-c", "import pickle,sys;pickle.load(sys.stdin.buffer)"],
      {
        stdin: made.get("system-2") ?? bytes(""),
      },
    );
    expect(child.exitCode).toBe(0);
    expect(existsSync(path)).toBe(true);
  });

  test("no bytes make it do anything but answer or refuse", async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    const made = [
      ...(
        await pickles(`keep("e", envelope())\nkeep("m", {"timestamp": 1.0, "attempts": 2})`)
      ).values(),
    ];
    for (let round = 0; round < 4000; round += 1) {
      const source = made[Math.floor(random() * made.length)] ?? bytes("");
      const pickled = source.slice(
        0,
        random() < 0.2 ? Math.floor(random() * source.length) : undefined,
      );
      const changes = Math.floor(random() * 4);
      for (let change = 0; change < changes; change += 1) {
        pickled[Math.floor(random() * pickled.length)] = Math.floor(random() * 256);
      }
      try {
        readPickle(pickled);
      } catch (error) {
        if (error instanceof PickleError) continue;
        throw new Error(
          `seed ${seed}, round ${round}: ${Buffer.from(pickled).toString("base64")}`,
          { cause: error },
        );
      }
    }
  });
});

describe("pickles of Python 2", () => {
  for (const protocol of [0, 1, 2] as const) {
    test(`protocol ${protocol}: an envelope of byte strings`, async () => {
      const envelope = readSlimtaEnvelope(Uint8Array.fromBase64(PYTHON_2[protocol]));
      expect(envelope).toMatchObject({
        sender: "a@x.example",
        recipients: [{ address: "b@y.example" }, { address: "\u00fc@z.example" }],
        client: { ip: "192.0.2.1", host: "unknown", name: "me", protocol: "ESMTP" },
        receivedAt: 1_400_000_000_500,
        smtpUtf8: true,
      });
      expect(await latin1(envelope)).toBe(
        "Subject: hi\r\n there\r\nX: y\r\n\r\ncaf\u00e9 'quoted' \"x\" \\ \u0000\r\n",
      );
    });
  }

  test("its meta dictionary", () => {
    const meta = readSlimtaMeta(Uint8Array.fromBase64(PYTHON_2.meta));
    expect(meta).toEqual({ due: 1_400_000_060_000, attempts: 2, delivered: [1] });
  });
});

describe("a pickle", () => {
  test("that is cut off anywhere is refused", () => {
    const whole = Uint8Array.fromBase64(PYTHON_2[2]);
    for (let length = 0; length < whole.length; length += 1) {
      expect(() => readPickle(whole.subarray(0, length))).toThrow(PickleError);
    }
  });

  test("names a class, and gets a record of it", () => {
    const made = readPickle(bytes("cemail.charset\nCharset\n(I1\ntR}b."));
    expect(made).toBeInstanceOf(PickledObject);
    expect(made).toMatchObject({ name: "email.charset.Charset", args: [1], state: new Map() });
  });

  const refused: Readonly<Record<string, string>> = {
    "": "ends too early",
    ".": "in the middle",
    "0N.": "mark that is not there",
    N: "ends too early",
    "NN.": "in the middle",
    "(N.": "in the middle",
    "0.": "mark that is not there",
    "P1\n.": "opcode 0x50",
    "\u0082\u0001.": "opcode 0x82",
    "\u0097.": "opcode 0x97",
    "cos\nsystem\n.": "os.system",
    "cemail\nmessage_from_string\n.": "which no mail needs",
    "cemail.message\n../x\n.": "which no mail needs",
    "c__builtin__\neval\n.": "builtins.eval",
    "cbuiltins\n__import__\n.": "which no mail needs",
    "N)R.": "what is no class",
    "cbuiltins\nset\nNR.": "no arguments",
    "ccopyreg\n_reconstructor\n(NNNtR.": "what is no class",
    "N}b.": "no object",
    "g7\n.": "never had",
    "Nq\u0001h\u0002.": "never had",
    "Na.": "takes what is not there",
    "NNa.": "no list",
    "NNNs.": "no dictionary",
    "](NNe(N.": "in the middle",
    "}(Nu.": "no value",
    "Ix\n.": "number",
    "L1x\n.": "number",
    "\u008a\u00ff": "too large",
    "\u008b\u00ff\u00ff\u00ff\u007f": "too large",
    "X\u00ff\u00ff\u00ff\u00ff": "ends too early",
    "\u008d\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff\u00ff": "ends too early",
    "T\u00ff\u00ff\u00ff\u00ff": "ends too early",
    "X\u0001\u0000\u0000\u0000\u00ff.": "UTF-8",
    "S'x\n.": "quotes",
    "S'\\q'\n.": "escape",
    "V\\u00g0\n.": "digits",
    "V\\U00110000\n.": "character",
  };
  for (const [pickle, reason] of Object.entries(refused)) {
    test(`${JSON.stringify(pickle)} is refused`, () => {
      expect(() => readPickle(bytes(pickle))).toThrow(reason);
      expect(() => readPickle(bytes(pickle))).toThrow(PickleError);
    });
  }

  test("that is nested without end is refused before memory is", () => {
    const deep = new Uint8Array(300_000).fill("(".charCodeAt(0));
    expect(() => readPickle(deep)).toThrow("too deeply");
    const wide = new Uint8Array(300_000).fill("N".charCodeAt(0));
    expect(() => readPickle(wide)).toThrow("too deeply");
    const remembered = new Uint8Array(300_001).fill(0x94);
    remembered[0] = "N".charCodeAt(0);
    expect(() => readPickle(remembered)).toThrow("too much");
  });

  test("that contains itself is only data", () => {
    const list = readPickle(bytes("]q\u0000h\u0000a.")) as unknown[];
    expect(list[0]).toBe(list);
    expect(() => headerBytes(list as never)).toThrow("no message");
  });

  test("an address that would be two lines is not taken", () => {
    const pickle =
      "cslimta.envelope\nEnvelope\n)\u0081}(U\u0006senderNU\u0007messageU\u0000U\u0007headersNU\u000arecipients]U\u0005a\r\nb@aub.";
    expect(() => readSlimtaEnvelope(bytes(pickle))).toThrow("no line can have");
  });
});
