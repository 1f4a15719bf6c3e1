-- Why: a probe that has not started shows nothing of its service, and must not help to close the breaker (ADR 49).
ALTER TABLE airfleet.breaker_probe
    DROP CONSTRAINT breaker_probe_outcome_check,
    ADD CONSTRAINT breaker_probe_outcome_check
        CHECK (outcome IN ('chosen', 'passed', 'failed', 'other', 'not-started'));
