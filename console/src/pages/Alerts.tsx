import { useState } from "react";

import { change, type Alert, type Alerts as Data } from "../api";
import { Ago, Badge, Card, Command, Confirmation, Empty, Loaded, type Tone } from "../parts";
import { usePolled } from "../usePolled";

const TONES: Record<Alert["severity"], Tone> = { critical: "bad", warning: "warn", info: "info" };

const Told = ({ alert }: { alert: Alert }) =>
  alert.notified.length ? (
    <>
      {alert.notified.map((one, place) => {
        const words = (["sent", "unsent", "failed"] as const).filter((key) => one[key]).map((key) => `${one[key]} ${key}`);
        return (
          <span key={one.receiver} className={one.failed ? "af-text-bad" : undefined}>
            {place > 0 && " · "}
            {one.receiver}: {words.join(", ")}
            {one.error ? ` (${one.error})` : ""}
          </span>
        );
      })}
    </>
  ) : (
    <>nobody yet</>
  );

const AlertItem = ({ alert, onAcknowledge }: { alert: Alert; onAcknowledge: (() => void) | undefined }) => (
  <li className={`af-problem af-edge-${alert.resolved_at ? "plain" : TONES[alert.severity]}`}>
    <div>
      <Badge tone={alert.resolved_at ? "plain" : TONES[alert.severity]}>{alert.severity}</Badge>
      <strong>{alert.name}</strong>
      <span className="af-muted">
        no. {alert.id}, {alert.state}, began <Ago at={alert.started_at} />
      </span>
    </div>
    <p>{alert.summary}</p>
    <p className="af-labels">
      {Object.entries(alert.labels).map(([key, text]) => (
        <code key={key}>
          {key}={text}
        </code>
      ))}
    </p>
    <p className="af-muted">
      Notified: <Told alert={alert} />
    </p>
    {onAcknowledge && (
      <button type="button" className="af-button" onClick={onAcknowledge} aria-label={`Acknowledge alert ${alert.id}`}>
        Acknowledge
      </button>
    )}
  </li>
);

const Acknowledge = ({ alert, onClose, onDone }: { alert: Alert; onClose: () => void; onDone: () => void }) => {
  const [note, setNote] = useState("");
  return (
    <Confirmation
      title={`Acknowledge ${alert.name}?`}
      action="Acknowledge"
      onClose={onClose}
      onConfirm={async () => {
        await change(`alerts/${alert.id}/acknowledge`, { note });
        onDone();
      }}
    >
      <p>{alert.summary}</p>
      <p>Nobody else is notified of it while it lasts, unless it becomes more severe. Your name is recorded.</p>
      <label>
        What you do about it
        <input value={note} maxLength={1000} onChange={(event) => setNote(event.target.value)} />
      </label>
    </Confirmation>
  );
};

export const Alerts = () => {
  const polled = usePolled<Data>("alerts");
  const [asked, setAsked] = useState<Alert>();
  return (
    <Loaded polled={polled}>
      {(data) => {
        const open = data.alerts.filter((one) => !one.resolved_at);
        const resolved = data.alerts.filter((one) => one.resolved_at);
        return (
          <>
            <Card title="Open alerts">
              {open.length ? (
                <ul className="af-problems">
                  {open.map((one) => (
                    <AlertItem
                      key={one.id}
                      alert={one}
                      onAcknowledge={data.may_operate && !one.acknowledged_by ? () => setAsked(one) : undefined}
                    />
                  ))}
                </ul>
              ) : (
                <Empty title="No alert is open">
                  <p>To try the way from an alert to a person:</p>
                  <Command text="airfleet alerts test RECEIVER" />
                </Empty>
              )}
              {open.length > 0 && !data.may_operate && (
                <p className="af-muted">Acknowledging needs the right Pools (edit), which the roles Op and Admin have.</p>
              )}
            </Card>
            {data.silences.length > 0 && (
              <Card title="Silences">
                <ul className="af-problems">
                  {data.silences.map((one) => (
                    <li key={one.id} className="af-problem af-edge-plain">
                      <p className="af-labels">
                        {Object.entries(one.what).map(([key, text]) => (
                          <code key={key}>
                            {key}={text}
                          </code>
                        ))}
                      </p>
                      <p className="af-muted">
                        no. {one.id}, by {one.actor}, until {new Date(one.ends_at).toLocaleString()} {one.comment}
                      </p>
                      <Command text={`airfleet alerts silence --end ${one.id}`} />
                    </li>
                  ))}
                </ul>
              </Card>
            )}
            {resolved.length > 0 && (
              <Card title="Resolved in the last day">
                <ul className="af-problems">
                  {resolved.map((one) => (
                    <AlertItem key={one.id} alert={one} onAcknowledge={undefined} />
                  ))}
                </ul>
              </Card>
            )}
            {asked && <Acknowledge alert={asked} onClose={() => setAsked(undefined)} onDone={polled.reload} />}
          </>
        );
      }}
    </Loaded>
  );
};
