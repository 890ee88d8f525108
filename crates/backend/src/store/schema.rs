//! Database schema for both engines, and its migrations.
//!
//! Times are ms since 1970 UTC, in columns that end in `_at` or `_time`; JSON is TEXT as received.
//! `{serial}`, `{int}`, `{real}`, `{bytes}`, `{ascii}`, `{strict}`, `{by_time}` and `{late}` are replaced by
//! the engine's syntax.

/// Migrations in order; a database of version `n` has had the first `n`. Released ones never
/// change.
pub(super) const MIGRATIONS: &[&str] = &[INITIAL];

const INITIAL: &str = "
-- Current data of a van. Each member is the newest by its own time, whatever the order of arrival.
CREATE TABLE van (
    van TEXT PRIMARY KEY,
    position TEXT, position_time {int}, position_seq {int},
    state TEXT, state_time {int},
    connection TEXT, session {int}, connection_number {int}, connection_state TEXT, connection_time {int},
    heard_at {int} NOT NULL
) {strict};

-- Events of vans, captures and imports. (source, id) is the key of a message (docs/mqtt-contract.md).
CREATE TABLE event (
    n {serial},
    source TEXT NOT NULL, id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    origin TEXT NOT NULL,
    van TEXT, seq {int}, previous_seq {int}, route TEXT,
    event_time {int} NOT NULL, captured_at {int} NOT NULL,
    retracts {int} NOT NULL,
    event_type TEXT NOT NULL, action TEXT, biz_step TEXT, disposition TEXT, read_point TEXT, biz_location TEXT,
    job TEXT,
    doc TEXT NOT NULL,
    UNIQUE (source, id)
) {strict};
CREATE INDEX event_by_time ON event (event_time, n);
CREATE INDEX event_by_van ON event (van, seq);
CREATE INDEX event_by_van_time ON event (van, event_time);
CREATE INDEX event_by_event_id ON event (event_id);
CREATE INDEX event_by_route ON event (route, n);
CREATE INDEX event_by_capture ON event (captured_at, n);
CREATE INDEX event_by_type ON event (event_type, event_time, n);
CREATE INDEX event_by_step ON event (biz_step, event_time, n) WHERE biz_step IS NOT NULL;
CREATE INDEX event_by_disposition ON event (disposition, event_time, n) WHERE disposition IS NOT NULL;
CREATE INDEX event_by_read_point ON event (read_point, event_time, n) WHERE read_point IS NOT NULL;
CREATE INDEX event_by_biz_location ON event (biz_location, event_time, n) WHERE biz_location IS NOT NULL;
CREATE INDEX event_of_completion ON event (route) WHERE kind = 'route.completed';

-- Index from EPCs to events: `role` is `epc`, `child`, `parent`, `input` or `output`. Patterns are ranges of EPCs.
CREATE TABLE event_epc (
    epc {ascii} NOT NULL, n {int} NOT NULL, role TEXT NOT NULL,
    PRIMARY KEY (epc, n)
) {strict};
CREATE INDEX event_epc_by_event ON event_epc (n);

-- Track points; (van, seq) is the key of a fix.
CREATE TABLE track (
    van TEXT NOT NULL, time {int} NOT NULL, seq {int} NOT NULL,
    lat_e7 {int} NOT NULL, lon_e7 {int} NOT NULL,
    speed_mmps {int}, course_cdeg {int}, acc_mm {int}, odo_mm {int},
    stopped {int} NOT NULL, backlog {int} NOT NULL, received_at {int} NOT NULL,
    PRIMARY KEY (van, time, seq)
) {by_time};
{backdate}

-- Planned routes: the received document and the manifest for the van. `order_changes` has the time
-- at which a revision last put other stops before a stop, by the stop's id.
CREATE TABLE route (
    route TEXT PRIMARY KEY,
    van TEXT NOT NULL, rev {int} NOT NULL,
    valid_from {int}, valid_until {int},
    doc TEXT NOT NULL, manifest TEXT NOT NULL, digest TEXT NOT NULL,
    put_at {int} NOT NULL, sent_rev {int}, claimed_until {int}, withdrawn {int} NOT NULL,
    order_changes TEXT
) {strict};
CREATE INDEX route_by_van ON route (van, put_at);
CREATE INDEX route_by_end ON route (van, (COALESCE(valid_until, COALESCE(valid_from, put_at) + 86400000)));

-- Announced parcels. `epc` is the canonical URI used in all events.
CREATE TABLE parcel (
    epc TEXT PRIMARY KEY,
    number TEXT NOT NULL, number_key TEXT, token TEXT NOT NULL UNIQUE, postcode TEXT,
    route TEXT, rev {int}, stop_id TEXT, stop_seq {int},
    gift {int} NOT NULL, language TEXT,
    preferences TEXT,
    put_at {int} NOT NULL, ended_at {int}, expires_at {int},
    case_state TEXT, case_at {int}, case_note TEXT
) {strict};
CREATE INDEX parcel_by_number ON parcel (number);
CREATE INDEX parcel_by_number_key ON parcel (number_key);
CREATE INDEX parcel_by_route ON parcel (route);
CREATE INDEX parcel_by_case ON parcel (case_state);
CREATE INDEX parcel_by_end ON parcel (ended_at);
CREATE INDEX parcel_to_forget ON parcel (ended_at)
    WHERE postcode IS NOT NULL OR preferences IS NOT NULL OR language IS NOT NULL OR case_note IS NOT NULL;

-- Vans that were given a parcel: by any revision of a route, or by a recorded transfer, whose
-- `route` is empty. Only their events change what is known about the parcel.
CREATE TABLE assignment (
    epc TEXT NOT NULL, van TEXT NOT NULL, route TEXT NOT NULL, at_time {int} NOT NULL,
    PRIMARY KEY (epc, van, route)
) {strict};
CREATE INDEX assignment_by_age ON assignment (at_time);

-- Events about a parcel that their van was not given, and events about the route of another van,
-- which have an empty `epc`.
CREATE TABLE unassigned_event (
    n {int} NOT NULL, epc TEXT NOT NULL, van TEXT NOT NULL, kind TEXT NOT NULL, route TEXT NOT NULL,
    event_time {int} NOT NULL, captured_at {int} NOT NULL,
    PRIMARY KEY (n, epc)
) {strict};
CREATE INDEX unassigned_event_by_van ON unassigned_event (van, captured_at);
CREATE INDEX unassigned_event_by_age ON unassigned_event (captured_at);
CREATE INDEX unassigned_event_by_epc ON unassigned_event (epc);

CREATE TABLE command (
    id TEXT PRIMARY KEY,
    van TEXT NOT NULL, epc TEXT, name TEXT NOT NULL, doc TEXT NOT NULL,
    made_at {int} NOT NULL, expires_at {int},
    sent_at {int}, next_at {int} NOT NULL DEFAULT 0, tries {int} NOT NULL,
    status TEXT NOT NULL, code TEXT, detail TEXT, answered_at {int}
) {strict};
CREATE INDEX command_by_van ON command (van, made_at);
CREATE INDEX command_by_status ON command (status, made_at);
CREATE INDEX command_by_epc ON command (epc);
CREATE INDEX command_by_age ON command (made_at);

-- Capture jobs: `state` is `running`, `success` or `errors`; `doc` is the document while running.
CREATE TABLE capture_job (
    id TEXT PRIMARY KEY,
    who TEXT NOT NULL, behaviour TEXT NOT NULL,
    made_at {int} NOT NULL, finished_at {int}, claimed_until {int} NOT NULL,
    state TEXT NOT NULL, events {int} NOT NULL, doc TEXT, errors TEXT
) {strict};
CREATE INDEX capture_job_by_state ON capture_job (state, claimed_until);
CREATE INDEX capture_job_by_age ON capture_job (made_at, id);

-- Named queries of EPCIS, and subscriptions to them with the position of the last event sent.
CREATE TABLE epcis_query (
    name {ascii} PRIMARY KEY,
    who TEXT NOT NULL, doc TEXT NOT NULL, made_at {int} NOT NULL
) {strict};
CREATE TABLE epcis_subscription (
    id TEXT PRIMARY KEY,
    query {ascii} NOT NULL, who TEXT NOT NULL, dest TEXT NOT NULL, secret TEXT,
    made_at {int} NOT NULL, after_at {int} NOT NULL, after_n {int} NOT NULL,
    next_at {int} NOT NULL, claimed_until {int} NOT NULL, tries {int} NOT NULL, error TEXT
) {strict};
CREATE INDEX epcis_subscription_by_query ON epcis_subscription (query);
CREATE INDEX epcis_subscription_by_time ON epcis_subscription (next_at);

-- Dead letters with the reason. Each van has its own limit; `van` is empty for other topics.
CREATE TABLE poison (
    n {serial},
    van TEXT NOT NULL DEFAULT '',
    topic TEXT NOT NULL, reason TEXT NOT NULL, payload {bytes} NOT NULL, bytes {int} NOT NULL, received_at {int} NOT NULL
) {strict};
CREATE INDEX poison_by_age ON poison (received_at);
CREATE INDEX poison_by_van ON poison (van, n);

-- Van to which an event source was handed over; by default it belongs to the van that used it first.
CREATE TABLE source_owner (
    source TEXT PRIMARY KEY, van TEXT NOT NULL, at_time {int} NOT NULL
) {strict};

-- Subscribers to a parcel, and the alerts for them. Only a confirmed subscriber receives alerts.
-- `previous_secret` signs beside `secret` for a while after `rotated_at`.
CREATE TABLE subscriber (
    id TEXT PRIMARY KEY,
    epc TEXT NOT NULL, channel TEXT NOT NULL, address TEXT NOT NULL, language TEXT,
    made_at {int} NOT NULL,
    confirm_token TEXT, confirmed_at {int},
    secret TEXT, previous_secret TEXT, rotated_at {int},
    UNIQUE (epc, channel, address)
) {strict};
CREATE INDEX subscriber_by_age ON subscriber (made_at);
CREATE INDEX subscriber_by_confirm_token ON subscriber (confirm_token);
-- `occurrence` is the route or the event that the alert is about.
CREATE TABLE alert (
    subscriber TEXT NOT NULL, kind TEXT NOT NULL, occurrence TEXT NOT NULL,
    epc TEXT NOT NULL, doc TEXT NOT NULL,
    made_at {int} NOT NULL, fresh_until {int} NOT NULL,
    state TEXT NOT NULL, tries {int} NOT NULL, next_at {int} NOT NULL, claimed_until {int} NOT NULL, error TEXT,
    PRIMARY KEY (subscriber, kind, occurrence)
) {strict};
CREATE INDEX alert_by_state ON alert (state, next_at);
CREATE INDEX alert_by_age ON alert (made_at);
CREATE INDEX alert_by_epc ON alert (epc);

-- Audit log.
CREATE TABLE audit (
    n {serial},
    at_time {int} NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, target TEXT NOT NULL
) {strict};
CREATE INDEX audit_by_age ON audit (at_time);

-- Instances by their MQTT client identifier. An old `heard_at` means that messages may wait in the
-- broker's session of that identifier. `leaving` is 1 from the beginning of an orderly stop.
CREATE TABLE instance (
    client_id TEXT PRIMARY KEY,
    share_group TEXT NOT NULL, version TEXT NOT NULL,
    started_at {int} NOT NULL, heard_at {int} NOT NULL, leaving {int} NOT NULL
) {strict};

CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) {strict};
";

/// Checks that this program supports the schema version.
pub(super) fn check_supported(version: usize) -> Result<(), String> {
    if version <= MIGRATIONS.len() {
        return Ok(());
    }
    Err(format!(
        "schema version {version} is newer than the supported version {}; start a newer waypost-backend, or \
         restore an older backup",
        MIGRATIONS.len()
    ))
}

/// Checks that the schema is current, for a command, which does not migrate it.
pub(super) fn check_current(version: usize) -> Result<(), String> {
    check_supported(version)?;
    if version == MIGRATIONS.len() {
        return Ok(());
    }
    Err(format!(
        "schema version {version}, but this program needs version {}; start the service once, \
         which migrates it",
        MIGRATIONS.len()
    ))
}

/// Translates to the syntax of SQLite.
pub(super) fn for_sqlite(migration: &str) -> String {
    migration
        .replace("{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT")
        .replace("{int}", "INTEGER")
        .replace("{real}", "REAL")
        .replace("{bytes}", "BLOB")
        .replace("{ascii}", "TEXT")
        .replace("{strict}", "STRICT")
        .replace("{by_time}", "STRICT, WITHOUT ROWID")
        .replace("{backdate}", "")
}

/// Translates to the syntax of PostgreSQL.
pub(super) fn for_postgres(migration: &str) -> String {
    migration
        .replace("{serial}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
        .replace("{int}", "BIGINT")
        .replace("{real}", "DOUBLE PRECISION")
        .replace("{bytes}", "BYTEA")
        .replace("{ascii}", "TEXT COLLATE \"C\"")
        .replace("{strict}", "")
        .replace("{by_time}", "PARTITION BY RANGE (time)")
        .replace("{backdate}", "CREATE TABLE track_late PARTITION OF track DEFAULT;")
}
