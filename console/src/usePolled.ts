// Reads a page of the API again and again while somebody looks at it.
import { useCallback, useEffect, useRef, useState } from "react";

import { read, Refusal, type Reading } from "./api";

export const EVERY_MS = 10_000;
const LONGEST_MS = 60_000;

export interface Polled<T> {
  data: T | undefined;
  refusal: Refusal | undefined;
  /** When the data was read, in milliseconds since 1970. */
  at: number | undefined;
  reload: () => void;
}

/** The pause of what is read once. After a failure it is read again like any other page. */
export const ONCE = 0;

/**
 * Return what the API answers. A tab that nobody sees asks nothing. After a failure the pause doubles, up to a minute,
 * and the last data stays.
 */
export const usePolled = <T>(path: string, everyMs: number = EVERY_MS): Polled<T> => {
  const [state, setState] = useState<{ reading?: Reading<T>; refusal?: Refusal; at?: number; path: string }>({ path });
  const [round, setRound] = useState(0);
  const last = useRef<Reading<T> | undefined>(undefined);

  useEffect(() => {
    const control = new AbortController();
    let timer: number | undefined;
    let failures = 0;
    last.current = undefined;

    const plan = () => {
      window.clearTimeout(timer);
      if (control.signal.aborted || document.hidden) return;
      if (everyMs === ONCE && !failures) return;
      timer = window.setTimeout(() => void ask(), Math.min((everyMs || EVERY_MS) * 2 ** failures, LONGEST_MS));
    };
    const ask = async () => {
      try {
        const reading = await read<T>(path, control.signal, last.current);
        last.current = reading;
        failures = 0;
        setState({ reading, at: Date.now(), path });
      } catch (error) {
        if (control.signal.aborted) return;
        failures += 1;
        const refusal = error instanceof Refusal ? error : new Refusal(0, String(error));
        setState((before) => ({ ...before, refusal, path }));
      }
      plan();
    };
    const look = () => {
      if (document.hidden) window.clearTimeout(timer);
      else if (everyMs !== ONCE || !last.current) void ask();
    };
    document.addEventListener("visibilitychange", look);
    void ask();
    return () => {
      control.abort();
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [path, everyMs, round]);

  const reload = useCallback(() => setRound((before) => before + 1), []);
  const own = state.path === path ? state : { path };
  return { data: own.reading?.data, refusal: own.refusal, at: own.at, reload };
};
