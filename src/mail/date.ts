const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const SECOND_MS = 1000;
const DAY_SECONDS = 86_400;
/** 400 years of the Gregorian calendar, after which it repeats. */
const ERA_DAYS = 146_097;
/** From 0000-03-01 to 1970-01-01: years that start in March have their leap day last. */
const EPOCH_DAYS = 719_468;

interface Instant {
  readonly weekday: number;
  readonly year: number;
  /** 1 is January. */
  readonly month: number;
  readonly day: number;
  /** Of the day. */
  readonly seconds: number;
}

/** An instant as RFC 5322 §3.3 writes it, in UTC with a numeric zone: `Tue, 01 Jan 2030 00:00:00 +0000`. */
export function formatDate(ms: number): string {
  const { weekday, year, month, day, seconds } = instantOf(ms);
  const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const time = clock.map(twoDigits).join(":");
  const date = `${twoDigits(day)} ${MONTHS[month - 1]} ${String(year).padStart(4, "0")}`;
  return `${DAYS[weekday]}, ${date} ${time} +0000`;
}

/** An instant in digits only, for names: `20300101000000`. */
export function compactDate(ms: number): string {
  const { year, month, day, seconds } = instantOf(ms);
  const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return String(year).padStart(4, "0") + [month, day, ...clock].map(twoDigits).join("");
}

/** The calendar by arithmetic: nothing of the platform's, which knows the local zone and the current time. */
function instantOf(ms: number): Instant {
  const epochSeconds = Math.floor(ms / SECOND_MS);
  const epochDays = Math.floor(epochSeconds / DAY_SECONDS);
  const days = epochDays + EPOCH_DAYS;
  const era = Math.floor(days / ERA_DAYS);
  const dayOfEra = days - era * ERA_DAYS;
  const leapDays =
    Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor((dayOfEra - leapDays) / 365);
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  return {
    // 1970-01-01 was a Thursday.
    weekday: (((epochDays + 4) % 7) + 7) % 7,
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1,
    seconds: epochSeconds - epochDays * DAY_SECONDS,
  };
}

function twoDigits(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}
