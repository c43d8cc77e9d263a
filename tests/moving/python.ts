/**
 * Makes pickles as python-slimta does, with Python's own pickle and email modules. The class is a stand-in with the
 * attributes of the real one: a pickle holds names and attributes, and no code.
 */
const PROGRAM = `
import sys, types, pickle, json, base64, collections, datetime, os
from email.message import Message
from email.header import Header
from email.parser import Parser, BytesParser

package, module, bounces = [types.ModuleType(name) for name in ("slimta", "slimta.envelope", "slimta.bounce")]

class Envelope(object):
    def __init__(self, sender=None, recipients=None, headers=None, message=None):
        self.sender, self.recipients = sender, recipients or []
        self.headers, self.message = headers, message
        self.client, self.receiver, self.timestamp = {}, None, None

Envelope.__module__, Envelope.__qualname__ = "slimta.envelope", "Envelope"
module.Envelope = Envelope

class Bounce(Envelope):
    sender = ""

Bounce.__module__, Bounce.__qualname__ = "slimta.bounce", "Bounce"
bounces.Bounce = Bounce
sys.modules["slimta"], sys.modules["slimta.envelope"], sys.modules["slimta.bounce"] = package, module, bounces

def envelope(header=b"Subject: hi\\r\\n there\\r\\nX: y\\r\\n\\r\\n", message=b"body\\r\\n", to=("b@y.example", "c@z.example"), **given):
    env = Envelope("a@x.example", list(to), BytesParser().parsebytes(header, True), message)
    env.headers.set_payload("")
    env.client = {"ip": "192.0.2.1", "host": "client.example", "name": "me", "protocol": "ESMTPSA", "auth": ("joe", None)}
    env.receiver, env.timestamp = "mx.example", 1700000000.25
    for name, value in given.items():
        setattr(env, name, value)
    return env

class Evil(object):
    def __init__(self, call):
        self.call = call
    def __reduce__(self):
        return self.call

answer = {}
def keep(name, value, protocols=range(6)):
    for protocol in protocols:
        answer["%s-%d" % (name, protocol)] = base64.b64encode(pickle.dumps(value, protocol)).decode()

exec(sys.stdin.read())
print(json.dumps(answer))
`;

/** Runs lines that call `keep(name, value)`; what they kept, by `name-protocol`. */
export async function pickles(lines: string): Promise<ReadonlyMap<string, Uint8Array>> {
  const child = Bun.spawn(["/usr/bin/python3", "-c", PROGRAM], {
    stdin: new TextEncoder().encode(lines),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(err);
  const kept = Object.entries(JSON.parse(out) as Record<string, string>);
  return new Map(kept.map(([name, text]) => [name, Uint8Array.fromBase64(text)]));
}
