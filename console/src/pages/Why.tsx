// The tab "Why it waits" of a Dag, a run and a task instance.
import type { Cause, Explanation as Data } from "../api";
import { Ago, Badge, Card, Command, DagLink, Empty, Loaded, type Tone } from "../parts";
import { usePolled } from "../usePolled";
import { moment } from "../words";

const TONES: Record<Cause["severity"], Tone> = { broken: "bad", held: "warn", waiting: "info", note: "plain" };
const WORDS: Record<Cause["severity"], string> = {
  broken: "broken",
  held: "until somebody acts",
  waiting: "ends by itself",
  note: "good to know",
};

const CauseItem = ({ cause }: { cause: Cause }) => (
  <li className={`af-problem af-edge-${TONES[cause.severity]}`}>
    <div>
      <Badge tone={TONES[cause.severity]}>{WORDS[cause.severity]}</Badge>
      {cause.since && (
        <span className="af-muted">
          since <Ago at={cause.since} suffix="" />
        </span>
      )}
      {cause.until && <span className="af-muted">until {moment(cause.until)}</span>}
    </div>
    <p>{cause.what}</p>
    {cause.blockers.length > 0 && (
      <ul className="af-blockers">
        {cause.blockers.map((one) => (
          <li key={`${one.kind}${one.name}${one.subject?.run ?? ""}`}>
            {one.subject ? (
              <DagLink dag={one.subject.dag} run={one.subject.run}>
                {one.name}
              </DagLink>
            ) : (
              one.name
            )}{" "}
            <span className="af-muted">
              {[one.state, one.where].filter(Boolean).join(", ")}
              {one.since && (
                <>
                  {" "}
                  for <Ago at={one.since} suffix="" />
                </>
              )}
            </span>
          </li>
        ))}
        {cause.unnamed_blockers > 0 && <li className="af-muted">and {cause.unnamed_blockers} more</li>}
      </ul>
    )}
    {cause.advice && <p className="af-muted">{cause.advice}</p>}
    {cause.commands.map((one) => (
      <div key={one}>
        <Command text={one} />
      </div>
    ))}
  </li>
);

const Body = ({ data }: { data: Data }) => (
  <div className="af-page">
    <div className={`af-verdict af-${data.blocked ? "warn" : "good"}`} role="status">
      {data.summary}
    </div>
    {data.causes.length ? (
      <Card title="Why">
        <ul className="af-problems">
          {data.causes.map((one, place) => (
            <CauseItem key={`${one.code}${place}`} cause={one} />
          ))}
        </ul>
      </Card>
    ) : (
      <Empty title="Nothing stands in its way" />
    )}
    {data.unknown.map((one) => (
      <p key={one} className="af-muted">
        Not known: {one}.
      </p>
    ))}
    {data.runs.map((one) => (
      <section key={one.subject.run} className="af-nested">
        <h3>
          Run <DagLink dag={one.subject.dag} run={one.subject.run}>{one.subject.run}</DagLink>
        </h3>
        <Body data={one} />
      </section>
    ))}
  </div>
);

export interface Place {
  dagId?: string;
  runId?: string;
  taskId?: string;
  mapIndex?: string;
}

export const Why = ({ dagId = "", runId, taskId, mapIndex }: Place) => {
  const words = new URLSearchParams({ dag: dagId });
  if (runId) words.set("run", runId);
  if (taskId) words.set("task", taskId);
  if (taskId && mapIndex !== undefined) words.set("map_index", mapIndex);
  const polled = usePolled<Data>(`explain?${words.toString()}`);
  return <Loaded polled={polled}>{(data) => <Body data={data} />}</Loaded>;
};
