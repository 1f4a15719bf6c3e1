import { useState } from "react";

import type { Changes } from "../api";
import { Ago, Badge, Command, Loaded, TableCard, type Tone } from "../parts";
import { usePolled } from "../usePolled";

const TONES: Record<string, Tone> = { done: "good", begun: "info", refused: "warn", failed: "bad", unknown: "bad" };

export const Audit = () => {
  const polled = usePolled<Changes>("audit");
  const [text, setText] = useState("");
  return (
    <Loaded polled={polled}>
      {({ changes }) => {
        const wanted = text.trim().toLowerCase();
        const shown = changes.filter((one) =>
          [one.actor, one.address, one.action, one.outcome].some((part) => part.toLowerCase().includes(wanted)),
        );
        const broken = changes.filter((one) => !one.is_whole);
        return (
          <>
            {broken.length > 0 && (
              <p className="af-stale" role="alert">
                Somebody has edited row {broken.map((one) => one.number).join(", ")} after it was recorded.
              </p>
            )}
            <TableCard
              title="Last changes"
              empty={changes.length ? "No change fits" : "Nothing was changed yet"}
              more={
                <label>
                  Only rows with{" "}
                  <input type="search" value={text} onChange={(event) => setText(event.target.value)} />
                </label>
              }
              rows={shown}
              keyOf={(row) => row.number}
              columns={[
                { name: "no.", isNumber: true, show: (row) => row.number },
                { name: "when", show: (row) => <Ago at={row.at} /> },
                { name: "who", show: (row) => row.actor || "–" },
                { name: "from", show: (row) => row.address || "–" },
                { name: "what", show: (row) => <code>{row.action}</code> },
                {
                  name: "outcome",
                  show: (row) => (
                    <Badge tone={TONES[row.outcome] ?? "plain"}>
                      {row.outcome} {row.status}
                    </Badge>
                  ),
                },
              ]}
            />
            <p>
              These are the last {changes.length} rows. To see all, and to prove that nobody edited one:{" "}
              <Command text="airfleet audit verify" />
            </p>
          </>
        );
      }}
    </Loaded>
  );
};
