// The tab "Trace" of a run: where its time went.
import { useEffect, useState } from "react";

import type { Part, Trace as Data } from "../api";
import { Badge, Card, Empty, Figure, Loaded, type Tone } from "../parts";
import { ONCE, usePolled } from "../usePolled";
import { count, moment, seconds } from "../words";
import type { Place } from "./Why";

// A run of many tasks costs more to read than other pages do.
const EVERY_MS = 30_000;
const TICKS = [0, 0.25, 0.5, 0.75, 1];
const WORDS: Record<Part, string> = {
  noticed: "waits for the scheduler",
  ready: "waits for a slot",
  queued: "waits for a worker",
  running: "runs",
};
const TONES: Record<string, Tone> = { success: "good", failed: "bad", running: "info", queued: "info" };

const Bar = ({ one, whole }: { one: Data["tries"][number]; whole: number }) => (
  <div
    className="af-lane"
    role="img"
    aria-label={one.parts.map((part) => `${WORDS[part.part]} ${seconds(part.seconds)}`).join(", ")}
  >
    {one.parts.map((part) => (
      <div
        key={part.part}
        className={`af-span af-${part.part}${part.part === "running" && one.state === "failed" ? " af-failed" : ""}`}
        title={`${WORDS[part.part]} ${seconds(part.seconds)}`}
        style={{ left: `${(100 * part.begin_s) / whole}%`, width: `max(2px, ${(100 * part.seconds) / whole}%)` }}
      />
    ))}
  </div>
);

const Legend = () => (
  <p className="af-legend">
    {(["ready", "queued", "running"] as const).map((part) => (
      <span key={part}>
        <span className={`af-span af-${part}`} aria-hidden="true" /> {WORDS[part]}
      </span>
    ))}
    <span>
      <span className="af-span af-running af-failed" aria-hidden="true" /> fails
    </span>
    <span>
      <strong aria-hidden="true">◆</strong> on the critical path
    </span>
  </p>
);

const Body = ({ data }: { data: Data }) => {
  const whole = data.seconds || 1;
  return (
    <div className="af-page">
      <Card title={`Run ${data.run}`} more={<Badge tone={TONES[data.state] ?? "plain"}>{data.state}</Badge>}>
        <dl className="af-figures af-wide">
          <Figure name={data.has_ended ? "took" : "goes on since"} value={seconds(data.seconds)} />
          <Figure name="running, on the critical path" value={seconds(data.running_s)} />
          <Figure name="waiting, on the critical path" value={seconds(data.waiting_s)} />
          <Figure name="tries" value={data.tries.length + data.hidden} />
        </dl>
        <p className="af-muted">
          It began {moment(data.begin)}
          {data.release && `, with the release ${data.release}`}.
        </p>
        {data.longest_wait && <p>{data.longest_wait}</p>}
        {data.critical_path.length > 0 && <p>Critical path: {data.critical_path.join(" → ")}</p>}
      </Card>
      <Card title="Where the time went">
        {data.tries.length ? (
          <>
            <div className="af-scroll" tabIndex={0} role="region" aria-label="Tries of the run">
              <table className="af-waterfall">
                <thead>
                  <tr>
                    <th scope="col">try</th>
                    <th scope="col">host</th>
                    <th scope="col" className="af-time">
                      <div className="af-axis" aria-label={`time line of ${seconds(data.seconds)}`} role="img">
                        {TICKS.map((tick) => (
                          <span key={tick} style={{ left: `${100 * tick}%` }}>
                            {seconds(tick * data.seconds)}
                          </span>
                        ))}
                      </div>
                    </th>
                    <th scope="col" className="af-number">
                      took
                    </th>
                  </tr>
                </thead>
                <tbody>
                  {data.tries.map((one) => (
                    <tr key={one.name}>
                      <td>
                        {one.is_critical && (
                          <strong role="img" aria-label="on the critical path">
                            ◆{" "}
                          </strong>
                        )}
                        {one.name}
                      </td>
                      <td>{one.host || "–"}</td>
                      <td className="af-time">
                        <Bar one={one} whole={whole} />
                      </td>
                      <td className="af-number">{seconds(one.parts.reduce((sum, part) => sum + part.seconds, 0))}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
            <Legend />
            {data.hidden > 0 && (
              <p className="af-muted">
                {count(data.hidden, "more try").replace("trys", "tries")}: the critical path and the longest are shown.
              </p>
            )}
          </>
        ) : (
          <Empty title="No task of this run has begun">The tab “Why it waits” says why.</Empty>
        )}
      </Card>
    </div>
  );
};

export const Trace = ({ dagId = "", runId = "" }: Place) => {
  const path = `trace?${new URLSearchParams({ dag: dagId, run: runId })}`;
  // A run that has ended does not change, but for somebody who clears its tasks.
  const [endedPath, setEndedPath] = useState("");
  const polled = usePolled<Data>(path, endedPath === path ? ONCE : EVERY_MS);
  const hasEnded = polled.data?.has_ended ?? false;
  useEffect(() => {
    if (hasEnded) setEndedPath(path);
  }, [hasEnded, path]);
  return <Loaded polled={polled}>{(data) => <Body data={data} />}</Loaded>;
};
