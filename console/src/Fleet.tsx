// The pages below /plugin/fleet, with their navigation.
import type { ReactNode } from "react";
import { Link, useParams } from "react-router-dom";

import { Empty } from "./parts";
import { Alerts } from "./pages/Alerts";
import { Audit } from "./pages/Audit";
import { Backups } from "./pages/Backups";
import { Breakers } from "./pages/Breakers";
import { Incident } from "./pages/Incident";
import { Logs } from "./pages/Logs";
import { Overview } from "./pages/Overview";
import { Pools } from "./pages/Pools";
import { Releases } from "./pages/Releases";
import { Slas } from "./pages/Slas";

const BASE = "/plugin/fleet";
const PAGES: { path: string; name: string; show: () => ReactNode }[] = [
  { path: "", name: "Overview", show: () => <Overview /> },
  { path: "pools", name: "Hosts and pools", show: () => <Pools /> },
  { path: "releases", name: "Releases", show: () => <Releases /> },
  { path: "slas", name: "SLAs", show: () => <Slas /> },
  { path: "alerts", name: "Alerts", show: () => <Alerts /> },
  { path: "breakers", name: "Breakers", show: () => <Breakers /> },
  { path: "logs", name: "Logs", show: () => <Logs /> },
  { path: "incident", name: "Time line", show: () => <Incident /> },
  { path: "backups", name: "Backups and archive", show: () => <Backups /> },
  { path: "audit", name: "Audit", show: () => <Audit /> },
];

export const Fleet = () => {
  const path = (useParams()["*"] ?? "").replace(/\/$/, "");
  const page = PAGES.find((one) => one.path === path);
  return (
    <>
      <h1>Fleet</h1>
      <nav aria-label="Fleet pages">
        {PAGES.map((one) => (
          <Link
            key={one.path}
            to={one.path ? `${BASE}/${one.path}` : BASE}
            aria-current={one.path === path ? "page" : undefined}
          >
            {one.name}
          </Link>
        ))}
      </nav>
      <div className="af-page">
        {page ? page.show() : <Empty title={`There is no Fleet page “${path}”`}>Choose one above.</Empty>}
      </div>
    </>
  );
};
