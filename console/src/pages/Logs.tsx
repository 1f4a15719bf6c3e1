// Searches the logs of tasks and components. A search is made when somebody asks for it, and not again by itself.
import { useState } from "react";

import type { LogLines } from "../api";
import { Badge, Card, DagLink, Empty, Loaded, type Tone } from "../parts";
import { ONCE, usePolled } from "../usePolled";
import { moment } from "../words";

const LEVELS = ["debug", "info", "warning", "error", "critical"];
const TONES: Record<string, Tone> = { warning: "warn", error: "bad", critical: "bad" };
const SPANS: [string, number][] = [
  ["1 hour", 1],
  ["6 hours", 6],
  ["1 day", 24],
  ["7 days", 168],
];

const Origin = ({ line }: { line: LogLines["lines"][number] }) =>
  line.dag ? (
    <DagLink dag={line.dag} run={line.run}>
      {line.dag}.{line.task}
      {line.map_index >= 0 && `[${line.map_index}]`} try {line.try_number}
    </DagLink>
  ) : (
    <>{line.component}</>
  );

const Lines = ({ data }: { data: LogLines }) => (
  <Card title="Lines, the newest first">
    {data.lines.length ? (
      <ul className="af-problems">
        {data.lines.map((one, place) => (
          <li key={place} className={`af-problem af-edge-${TONES[one.level] ?? "plain"}`}>
            <div>
              <Badge tone={TONES[one.level] ?? "plain"}>{one.level || "no level"}</Badge>
              <time className="af-muted" dateTime={one.at}>
                {moment(one.at)}
              </time>
              <Origin line={one} />
              <span className="af-muted">on {one.host}</span>
            </div>
            <pre className="af-line">{one.text}</pre>
          </li>
        ))}
      </ul>
    ) : (
      <Empty title="No line fits">All words must be in a line. A longer time or a lower level finds more.</Empty>
    )}
    {data.is_cut && <p className="af-muted">Older lines fit too. More words, or a Dag, find fewer.</p>}
  </Card>
);

const NONE = { text: "", dag: "", level: "error", hours: 1 };

export const Logs = () => {
  const [draft, setDraft] = useState(NONE);
  const [asked, setAsked] = useState(NONE);
  const words = new URLSearchParams({ hours: String(asked.hours) });
  for (const name of ["text", "dag", "level"] as const) if (asked[name]) words.set(name, asked[name].trim());
  const polled = usePolled<LogLines>(`logs?${words}`, ONCE);
  const search = () => {
    // The same search again is a new one.
    if (JSON.stringify(draft) === JSON.stringify(asked)) polled.reload();
    setAsked(draft);
  };
  return (
    <>
      <form
        className="af-filters"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          search();
        }}
      >
        <label>
          Words{" "}
          <input
            type="search"
            maxLength={500}
            placeholder={'"rows loaded" -retry conn*'}
            value={draft.text}
            onChange={(event) => setDraft({ ...draft, text: event.target.value })}
          />
        </label>
        <label>
          Dag{" "}
          <input
            maxLength={250}
            placeholder="all"
            value={draft.dag}
            onChange={(event) => setDraft({ ...draft, dag: event.target.value })}
          />
        </label>
        <label>
          level{" "}
          <select value={draft.level} onChange={(event) => setDraft({ ...draft, level: event.target.value })}>
            <option value="">any</option>
            {LEVELS.map((one) => (
              <option key={one} value={one}>
                {one === "critical" ? one : `${one} and above`}
              </option>
            ))}
          </select>
        </label>
        <label>
          the last{" "}
          <select value={draft.hours} onChange={(event) => setDraft({ ...draft, hours: Number(event.target.value) })}>
            {SPANS.map(([name, value]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <button type="submit" className="af-button af-primary">
          Search
        </button>
      </form>
      <Loaded polled={polled}>{(data) => <Lines data={data} />}</Loaded>
    </>
  );
};
