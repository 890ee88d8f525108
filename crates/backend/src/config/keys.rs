//! Schema of `waypost-backend.toml`: name, type, default and description of every key.

use waypost_config_schema::ValueKind::{Flag, Integer, Text, TextList};
use waypost_config_schema::{ConfigSchema, KeySpec, TableListSpec, key};

/// Keys and table lists of `waypost-backend.toml`.
pub(super) static SCHEMA: ConfigSchema = ConfigSchema {
    program: "waypost-backend",
    file_header: "# waypost-backend: configuration of the tracking backend. Every key is listed with its default.\n\
           # Only mqtt.broker and parcels.domain are required. `waypost-backend check` reports every problem.\n",
    reference_intro: REFERENCE_INTRO,
    keys: KEYS,
    lists: LISTS,
};

const REFERENCE_INTRO: &str = "\
# Configuration of the backend\n\n\
Every key of `waypost-backend.toml`, generated from the table that the backend validates a file against\n\
(`src/backend/config/keys.rs`). A missing key has its default. A key that is unknown, of the wrong type or out\n\
of range is reported by `waypost-backend check`, all in one report. Drop-ins in `conf.d/*.toml` beside the file are merged\n\
as for the agent ([configuration.md](../configuration.md)). Secrets are files with the secret in their first line. A\n\
world-readable secret file is rejected.\n\n";

/// Ordered as in the file.
const KEYS: &[KeySpec] = &[
    key(
        "store.path",
        Text,
        r#""/var/lib/waypost-backend/backend.db""#,
        "SQLite file, used while store.url is empty. Only one process may use it",
    ),
    key(
        "store.url",
        Text,
        r#""""#,
        "PostgreSQL instead of a file: postgresql://USER@HOST[:PORT]/DATABASE, or postgresql:///DATABASE?host=/run/postgresql&user=USER for its socket. Any number of instances may share it. Must not contain the password",
    ),
    key(
        "store.password_file",
        Text,
        r#""""#,
        "File with the PostgreSQL password in its first line; empty for none",
    ),
    key(
        "mqtt.broker",
        Text,
        r#""""#,
        "MQTT 5 broker of the vans: mqtts://HOST[:PORT] with TLS (port 8883), or mqtt://HOST[:PORT] without (port 1883) (required)",
    ),
    key(
        "mqtt.ca_file",
        Text,
        r#""/etc/ssl/certs/ca-certificates.crt""#,
        "With mqtts: PEM file of the CA certificates that the broker is verified against",
    ),
    key(
        "mqtt.cert_file",
        Text,
        r#""""#,
        "With mqtts: PEM file of the client certificate, if the broker requires one; empty for none",
    ),
    key("mqtt.key_file", Text, r#""""#, "PEM file of the client's private key"),
    key(
        "mqtt.client_id",
        Text,
        r#""waypost-backend""#,
        "MQTT client identifier: stable across restarts and unique per instance",
    ),
    key("mqtt.username", Text, r#""""#, "User name; empty for none"),
    key(
        "mqtt.password_file",
        Text,
        r#""""#,
        "File with the password in its first line; empty for none",
    ),
    key(
        "mqtt.topic_root",
        Text,
        r#""fleet""#,
        "First levels of all topics; the same as mqtt.topic_root of the vans",
    ),
    key(
        "mqtt.share_group",
        Text,
        r#""waypost-backend""#,
        "Instances of one group share the messages of the vans ($share, MQTT 5 section 4.8.2)",
    ),
    key(
        "mqtt.ack",
        Flag,
        "true",
        "Publish what is stored on the topic ack. Vans with MQTT 3.1.1 require it; others do not subscribe to it",
    ),
    key(
        "mqtt.owntracks",
        Flag,
        "false",
        "Accept positions of OwnTracks phones: owntracks/{topic_root}/{van}",
    ),
    key("http.listen", Text, r#""127.0.0.1:8080""#, "Address and port of pages and API"),
    key(
        "http.cert_file",
        Text,
        r#""""#,
        "PEM file of the certificate for HTTPS; empty if a proxy terminates TLS. Reloaded on SIGHUP",
    ),
    key("http.key_file", Text, r#""""#, "PEM file of the certificate's private key"),
    key(
        "http.public_url",
        Text,
        r#""""#,
        "Prefix of links, such as https://track.example.com; empty: derived from http.listen",
    ),
    key(
        "http.trusted_proxies",
        TextList,
        "[]",
        "Addresses or networks (CIDR, IPv4 and IPv6) of reverse proxies whose X-Forwarded-For is trusted, such as [\"127.0.0.1\", \"10.0.0.0/8\", \"2001:db8:7::/48\"]. The client is the last address of the header that is none of these",
    ),
    key(
        "parcels.domain",
        Text,
        r#""""#,
        "Domain in the URIs of parcels without a GS1 number; the same as delivery.domain of the vans (required)",
    ),
    key(
        "exposure.max_stops_away",
        Integer(0, 100),
        "10",
        "Recipients see the van only within this number of stops",
    ),
    key(
        "exposure.max_fix_age_s",
        Integer(5, 3600),
        "90",
        "Recipients see the van only while its position is not older than this, in seconds",
    ),
    key("retention.track_days", Integer(1, 3650), "60", "Retention of track points, in days"),
    key(
        "retention.events_days",
        Integer(1, 3650),
        "365",
        "Retention of events with their proofs of delivery, in days",
    ),
    key(
        "retention.page_days",
        Integer(1, 365),
        "30",
        "Retention of a tracking page after delivery or return, in days",
    ),
    key("retention.audit_days", Integer(1, 3650), "365", "Retention of the audit log, in days"),
    key("retention.poison_days", Integer(1, 365), "30", "Retention of dead letters, in days"),
    key(
        "alerts.smtp_url",
        Text,
        r#""""#,
        "SMTP server: smtp://HOST[:PORT], smtps://HOST[:PORT] or smtp+starttls://HOST[:PORT]; empty: no e-mail",
    ),
    key("alerts.smtp_username", Text, r#""""#, "SMTP user name; empty for none"),
    key(
        "alerts.smtp_password_file",
        Text,
        r#""""#,
        "File with the SMTP password in its first line; empty for none",
    ),
    key("alerts.from", Text, r#""""#, "Sender of e-mails: Parcels <parcels@example.com>"),
    key(
        "alerts.webhook_enabled",
        Flag,
        "false",
        "Send webhooks. Each subscription has its own signing secret, shown once when it is created",
    ),
    key(
        "alerts.time_zone",
        Text,
        r#""UTC""#,
        "Time zone of times in messages, such as Europe/Berlin, for stops whose route has none",
    ),
    key(
        "alerts.webhook_private",
        Flag,
        "false",
        "Allow webhooks to private networks and to this host",
    ),
    key(
        "pages.tiles",
        Text,
        r#""""#,
        "URL of map tiles, such as https://tile.example.com/{z}/{x}/{y}.png; empty: the pages load nothing from other hosts",
    ),
    key("pages.tiles_by", Text, r#""""#, "Attribution of the tiles, shown on the map"),
    key("pages.operator", Text, r#""""#, "Name of the operator, shown on the pages"),
    key("log.level", Text, r#""info""#, "error, warn, info, debug or trace"),
];

/// Table lists, ordered as in the file, after the keys.
const LISTS: &[TableListSpec] = &[TableListSpec {
    name: "token",
    max_tables: 64,
    help: "Clients of the API, one table each. `waypost-backend token NAME SCOPES` creates a token and prints its table",
    keys: &[
        key(
            "token.name",
            Text,
            "",
            "Name of the client in the audit log: 1 to 32 of A-Z a-z 0-9 _ . -",
        ),
        key(
            "token.sha256",
            Text,
            "",
            "SHA-256 of the token, hexadecimal; the token itself is not stored",
        ),
        key(
            "token.scopes",
            Text,
            "",
            "Permissions, separated by commas: routes (put routes, send commands), capture (capture events, import carrier lists), retract (retract events of other tokens), events (query events), desk (dispatcher console), metrics",
        ),
        key(
            "token.owners",
            Text,
            r#""*""#,
            "Owners whose parcels the token may capture or import, separated by commas: GS1 company prefixes such as 9521234, or beginnings of URIs; * for all",
        ),
        key(
            "token.sites",
            Text,
            r#""*""#,
            "Sites at which the token may capture, separated by commas: beginnings of the URI of readPoint or bizLocation; * for all",
        ),
    ],
}];
