"""The HTTP API: the pages' own services as JSON, described at /openapi.json (OpenAPI 3.1).

Whoever is signed in may use it, by session cookie or by `Authorization: Bearer TOKEN`, as far as their rights go.
`PARTS` names every part; a new one is a row.
"""

from simrack.web.api import (
    accounts,
    alarms,
    analyse,
    audit,
    configuration,
    drafts,
    events,
    gateways,
    logs,
    rack,
    records,
    routing,
    sims,
    statistics,
    test_calls,
    trace,
)

PARTS = (rack, events, test_calls, gateways, records, statistics, alarms, analyse, audit, logs, trace, configuration, sims, routing, drafts, accounts)
