"""Why a Dag, a Dag run or a task instance does not run: the rules of Airflow's scheduler, applied to facts (ADR 47).

`reading` reads the facts, `explain` is pure. The command line, the pages in Airflow's UI and the exporter share both.
"""
