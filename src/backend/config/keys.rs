//! Every key of `waypost-backend.toml`: name, kind, default and what it means.

use crate::settings::Kind::{Flag, Integer, Text};
use crate::settings::{Book, Key, List, key};

/// `waypost-backend.toml`, its keys and its lists.
pub(super) static BOOK: Book = Book {
    program: "waypost-backend",
    head: "# waypost-backend: configuration of the tracking backend. Every key stands here with its default.\n\
           # Only mqtt.broker and parcels.domain must be filled in. `waypost-backend check` names everything that is wrong.\n",
    page: PAGE,
    keys: KEYS,
    lists: LISTS,
};

const PAGE: &str = "\
# Configuration of the backend\n\n\
Every key of `waypost-backend.toml`, written from the table that the backend checks a file against\n\
(`src/backend/config/keys.rs`). A key that is left out has its default; one that is unknown, of the wrong kind or out\n\
of range is reported by `waypost-backend check`, all of them at once. Drop-ins in `conf.d/*.toml` beside the file are read\n\
as the agent's are ([configuration.md](../configuration.md)). Secrets are files whose first line is the secret; one that\n\
everybody on the computer may read is refused.\n\n";

/// In the order of the file.
const KEYS: &[Key] = &[
    key(
        "store.path",
        Text,
        r#""/var/lib/waypost-backend/backend.db""#,
        "The SQLite file, while store.url is empty. One process uses it",
    ),
    key(
        "store.url",
        Text,
        r#""""#,
        "PostgreSQL instead of a file: postgresql://USER@HOST[:PORT]/DATABASE, or postgresql:///DATABASE?host=/run/postgresql&user=USER for its socket. Any number of instances may share it. Without the password",
    ),
    key(
        "store.password_file",
        Text,
        r#""""#,
        "File whose first line is PostgreSQL's password; empty for none",
    ),
    key(
        "mqtt.broker",
        Text,
        r#""""#,
        "The MQTT 5 broker of the vans: mqtts://HOST[:PORT] with TLS (port 8883), or mqtt://HOST[:PORT] without (port 1883) (required)",
    ),
    key(
        "mqtt.ca_file",
        Text,
        r#""/etc/ssl/certs/ca-certificates.crt""#,
        "With mqtts: PEM file of the authorities that may vouch for the broker",
    ),
    key(
        "mqtt.cert_file",
        Text,
        r#""""#,
        "With mqtts: PEM file of the backend's own certificate, if the broker wants one; empty for none",
    ),
    key("mqtt.key_file", Text, r#""""#, "PEM file of the private key to it"),
    key(
        "mqtt.client_id",
        Text,
        r#""waypost-backend""#,
        "MQTT client identifier: the same after each start, and another for each instance",
    ),
    key("mqtt.username", Text, r#""""#, "User name; empty for none"),
    key(
        "mqtt.password_file",
        Text,
        r#""""#,
        "File whose first line is the password; empty for none",
    ),
    key("mqtt.topic_root", Text, r#""fleet""#, "As in the vans' waypost.toml"),
    key(
        "mqtt.share_group",
        Text,
        r#""waypost-backend""#,
        "Instances of one group share the vans' messages ($share, MQTT 5 section 4.8.2)",
    ),
    key(
        "mqtt.ack",
        Flag,
        "true",
        "Tell vans on the topic ack what is stored. Those that speak MQTT 3.1.1 wait for it; others do not subscribe to it",
    ),
    key(
        "mqtt.owntracks",
        Flag,
        "false",
        "Take positions of OwnTracks too: owntracks/{topic_root}/{van}",
    ),
    key("http.listen", Text, r#""127.0.0.1:8080""#, "Address and port of pages and API"),
    key(
        "http.cert_file",
        Text,
        r#""""#,
        "PEM file of the certificate for https; empty where a proxy does that. Read anew at SIGHUP",
    ),
    key("http.key_file", Text, r#""""#, "PEM file of the private key to it"),
    key(
        "http.public_url",
        Text,
        r#""""#,
        "What links begin with, such as https://track.example.com; empty: http.listen itself",
    ),
    key(
        "http.behind_proxy",
        Flag,
        "false",
        "Believe the last address in X-Forwarded-For of requests that come from this host: a proxy is ahead",
    ),
    key(
        "parcels.domain",
        Text,
        r#""""#,
        "In the URIs of parcels that GS1 does not number; the vans' delivery.domain (required)",
    ),
    key(
        "exposure.max_stops_away",
        Integer(0, 100),
        "10",
        "A recipient sees the van when it is at most so many stops away",
    ),
    key(
        "exposure.max_fix_age_s",
        Integer(5, 3600),
        "90",
        "... and when its position is at most so many seconds old",
    ),
    key("retention.track_days", Integer(1, 3650), "60", "Days that the vans' trails are kept"),
    key(
        "retention.events_days",
        Integer(1, 3650),
        "365",
        "Days that events are kept, with their proofs of delivery",
    ),
    key(
        "retention.page_days",
        Integer(1, 365),
        "30",
        "Days after its end that a parcel's page is there",
    ),
    key(
        "retention.audit_days",
        Integer(1, 3650),
        "365",
        "Days that it is known who looked at what",
    ),
    key(
        "retention.poison_days",
        Integer(1, 365),
        "30",
        "Days that messages which nobody could read are kept",
    ),
    key(
        "alerts.smtp_url",
        Text,
        r#""""#,
        "Server that takes letters: smtp://HOST[:PORT], smtps://HOST[:PORT] or smtp+starttls://HOST[:PORT]; empty: no letters",
    ),
    key("alerts.smtp_username", Text, r#""""#, "User name there; empty for none"),
    key(
        "alerts.smtp_password_file",
        Text,
        r#""""#,
        "File whose first line is the password; empty for none",
    ),
    key("alerts.from", Text, r#""""#, "Who writes: Parcels <parcels@example.com>"),
    key(
        "alerts.webhook_secret_file",
        Text,
        r#""""#,
        "File whose first line signs webhooks (HMAC-SHA-256); empty: no webhooks",
    ),
    key(
        "alerts.webhook_private",
        Flag,
        "false",
        "Whether webhooks may go to addresses of private networks and of this host",
    ),
    key(
        "pages.tiles",
        Text,
        r#""""#,
        "Map tiles, such as https://tile.example.com/{z}/{x}/{y}.png; empty: the pages load nothing from elsewhere",
    ),
    key("pages.tiles_by", Text, r#""""#, "Whose tiles they are, to be shown on the map"),
    key("pages.operator", Text, r#""""#, "The operator's name on the pages"),
    key("log.level", Text, r#""info""#, "error, warn, info, debug or trace"),
];

/// In the order of the file, after the keys.
const LISTS: &[List] = &[List {
    name: "token",
    most: 64,
    help: "Who may use the API: a table for each. `waypost-backend token NAME SCOPES` makes a token and writes its table",
    keys: &[
        key("token.name", Text, "", "Who it is, for the audit log: 1 to 32 of A-Z a-z 0-9 _ . -"),
        key(
            "token.sha256",
            Text,
            "",
            "SHA-256 of the token, hexadecimal: the token itself stands nowhere",
        ),
        key(
            "token.scopes",
            Text,
            "",
            "What for, separated by commas: routes (put routes, send commands), capture (events and lists of others), retract (take back what came by other tokens), events (ask for events), desk (what a dispatcher sees), metrics",
        ),
    ],
}];
