-- Why: a task reads a listed connection, variable or XCom only if the list names its Dag (ADR 80).
ALTER TABLE airfleet.access ADD COLUMN lists text NOT NULL DEFAULT '{}';
COMMENT ON COLUMN airfleet.access.lists IS 'the connections, variables and XComs that only some Dags may use, as JSON';
