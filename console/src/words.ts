// Durations, moments and counts as text.

/** Format seconds as 12 s, 5 min, 3 h 20 min or 2 d 4 h. */
export const duration = (seconds: number): string => {
  const whole = Math.max(0, Math.round(seconds));
  const minutes = Math.floor(whole / 60);
  const hours = Math.floor(whole / 3600);
  const days = Math.floor(whole / 86_400);
  if (!minutes) return `${whole} s`;
  if (!hours) return `${minutes} min`;
  if (!days) return `${hours} h ${minutes % 60} min`;
  return `${days} d ${hours % 24} h`;
};

export const moment = (iso: string): string =>
  new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** The seconds from a moment to now, by the clock of this browser. */
export const secondsSince = (iso: string): number => (Date.now() - new Date(iso).getTime()) / 1000;

/** A message of the server as a sentence. */
export const sentence = (text: string): string =>
  text ? `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : "";

/** Format seconds as far as a reader of a time line wants to know: 0 s, 0.4 s, 12 s, 9 min 21 s. */
export const seconds = (number: number): string => {
  if (number > 0 && number < 10) return `${number.toFixed(1)} s`;
  const whole = Math.round(number);
  return whole < 60 || whole >= 3600 ? duration(whole) : `${Math.floor(whole / 60)} min ${whole % 60} s`;
};

/** Format bytes as 340 kB, 12 MB or 23.4 GB. */
export const size = (bytes: number): string =>
  bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : bytes < 1e9
      ? `${Math.round(bytes / 1e6)} MB`
      : `${(bytes / 1e9).toFixed(1)} GB`;
