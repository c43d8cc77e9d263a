export type StampStyle = "none" | "syslog" | "rfc3339";

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** Makes the function that dates a line: `Nov 22 01:02:03 ` in local time, RFC 3339 in UTC, or nothing. */
export function stamper(style: StampStyle): (ms: number) => string {
  switch (style) {
    case "none":
      return () => "";
    case "syslog":
      return remembering((ms) => Math.floor(ms / 1000), syslogStamp);
    case "rfc3339":
      return remembering(
        (ms) => ms,
        (ms) => `${new Date(ms).toISOString()} `,
      );
  }
}

/** Lines come in bursts: the stamp of the last instant is kept. */
function remembering(key: (ms: number) => number, make: (ms: number) => string) {
  let last = Number.NaN;
  let text = "";
  return (ms: number) => {
    const current = key(ms);
    if (current !== last) {
      last = current;
      text = make(ms);
    }
    return text;
  };
}

function syslogStamp(ms: number): string {
  const date = new Date(ms);
  const day = String(date.getDate()).padStart(2, " ");
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()];
  const clock = time.map((part) => String(part).padStart(2, "0")).join(":");
  return `${MONTHS[date.getMonth()]} ${day} ${clock} `;
}
