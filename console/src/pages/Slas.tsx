import type { Slas as Data } from "../api";
import { Badge, Card, Command, DagLink, Empty, Loaded, Table, type Tone } from "../parts";
import { usePolled } from "../usePolled";
import { duration } from "../words";

type Promise = Data["promises"][number];

const TONES: Record<Promise["state"], Tone> = { late: "bad", missed: "bad", "at-risk": "warn", due: "plain", met: "good" };

/** A share without rounding it up to 100 %. */
const percent = (share: number | null): string => (share === null ? "–" : `${Math.floor(share * 10) / 10} %`);

export const Slas = () => {
  const polled = usePolled<Data>("slas");
  return (
    <Loaded polled={polled}>
      {(data) =>
        !data.has_rules && data.promises.length === 0 ? (
          <Empty title="No promise was made">
            <p>
              Rules under <code>slas</code> in fleet.yaml say when Dags, tasks and assets are ready.
            </p>
            <Command text="airfleet sla list" />
          </Empty>
        ) : (
          <>
            {data.is_stale && (
              <p className="af-stale" role="alert">
                The engine of the promises has not worked for 5 minutes, so these are old. <Command text="airfleet status" />
              </p>
            )}
            {data.unmatched.length > 0 && (
              <p className="af-stale">These rules match nothing that Airflow knows: {data.unmatched.join(", ")}</p>
            )}
            <Card title="Promises">
              {data.promises.length ? (
                <Table
                  label="Promises"
                  rows={data.promises}
                  keyOf={(row) => row.id}
                  columns={[
                    { name: "state", show: (row) => <Badge tone={TONES[row.state]}>{row.state}</Badge> },
                    { name: "due", show: (row) => row.due_local },
                    {
                      name: "subject",
                      show: (row) =>
                        row.dag_id ? (
                          <DagLink dag={row.dag_id} run={row.run_id}>
                            {row.subject}
                          </DagLink>
                        ) : (
                          row.subject
                        ),
                    },
                    { name: "promise", show: (row) => `${row.rule}: ${row.promise}` },
                    { name: "late", isNumber: true, show: (row) => (row.late_s ? duration(row.late_s) : "–") },
                    { name: "now", show: (row) => row.reason || "–" },
                  ]}
                />
              ) : (
                <Empty title="No promise is open">The next one opens when a Dag of a rule is due.</Empty>
              )}
            </Card>
            <Card title="Kept in the last 30 days">
              {data.report.length ? (
                <Table
                  label="Kept in the last 30 days"
                  rows={data.report}
                  keyOf={(row) => `${row.rule} ${row.kind} ${row.subject}`}
                  columns={[
                    { name: "rule", show: (row) => row.rule },
                    { name: "promise", show: (row) => row.kind },
                    { name: "subject", show: (row) => row.subject },
                    { name: "met", isNumber: true, show: (row) => row.met },
                    { name: "missed", isNumber: true, show: (row) => row.missed },
                    { name: "met %", isNumber: true, show: (row) => percent(row.met_percent) },
                    { name: "worst", isNumber: true, show: (row) => (row.worst_s ? duration(row.worst_s) : "–") },
                  ]}
                />
              ) : (
                <Empty title="No promise has ended yet" />
              )}
            </Card>
          </>
        )
      }
    </Loaded>
  );
};
