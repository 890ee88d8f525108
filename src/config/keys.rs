//! Schema of `waypost.toml`: name, type, default and description of every key.
//! `config/waypost.toml` is generated from it.

use waypost_config_schema::ValueKind::{Flag, Integer, Number, Text};
use waypost_config_schema::{ConfigSchema, KeySpec, TableListSpec, key};

/// Schema of `waypost.toml`.
pub(super) static SCHEMA: ConfigSchema = ConfigSchema {
    program: "waypost",
    file_header: "# waypost: configuration of the van's agent. Every key is listed with its default.\n\
           # Only van.id and mqtt.broker are required. `waypost check` reports every problem.\n",
    reference_intro: REFERENCE_INTRO,
    keys: KEYS,
    lists: LISTS,
};

const REFERENCE_INTRO: &str = "\
# Configuration\n\n\
Every key of `waypost.toml`, generated from the schema that the agent validates a file against\n\
(`src/config/keys.rs`). An omitted key has its default. `waypost check` reports all keys that are\n\
unknown, of the wrong type or out of range at once.\n\n\
Drop-ins, `conf.d/*.toml` next to the file (`/etc/waypost/conf.d/` for `/etc/waypost/waypost.toml`), are read in the\n\
order of their names. Each overrides the files before it, key by key. An array of tables such as\n\
`[[scanner]]` is overridden as a whole: a drop-in must repeat all of its tables, and `scanner = []` removes them. Hidden\n\
files and those that do not end in `.toml` are ignored. A problem in a drop-in is reported with its name:\n\
`conf.d/20-van.toml: mqtt.keep_alive_s: 5 is outside 10..=1200`. `waypost config show --origin` shows the\n\
effective values with the file that sets each of them.\n\n";

/// Keys in the order of the file.
pub(super) const KEYS: &[KeySpec] = &[
    key(
        "van.id",
        Text,
        r#""""#,
        "Id of the van in topics, and its MQTT client identifier: 1 to 64 of A-Z a-z 0-9 _ . : - (required unless id_from is set)",
    ),
    key(
        "van.id_from",
        Text,
        r#""""#,
        "Source of the id if van.id is empty: file:PATH (its first line), hostname (from /etc/hostname), machine-id (derived from /etc/machine-id without revealing it) or certificate (the common name in mqtt.cert_file). Empty for none",
    ),
    key(
        "mqtt.broker",
        Text,
        r#""""#,
        "URL of the MQTT broker: mqtts://HOST[:PORT] with TLS (port 8883), or mqtt://HOST[:PORT] without (port 1883). With the feature websocket also wss://HOST[:PORT][/PATH] (port 443) and ws://HOST[:PORT][/PATH] (port 80), default path /mqtt. Several URLs, separated by commas, are tried in this order (required)",
    ),
    key(
        "mqtt.proxy",
        Text,
        r#""""#,
        "With the feature proxy: http://HOST:PORT of a proxy that connects to the broker by HTTP CONNECT. TLS is end to end with the broker. Empty for a direct connection",
    ),
    key("mqtt.proxy_username", Text, r#""""#, "User name for the proxy; empty for none"),
    key(
        "mqtt.proxy_password_file",
        Text,
        r#""""#,
        "File whose first line is the password for the proxy; the rules of mqtt.password_file apply",
    ),
    key(
        "mqtt.version",
        Text,
        r#""5""#,
        "MQTT version: 5 or 3.1.1. With 3.1.1 the broker's acknowledgement has no reason code, so a record is kept until the backend acknowledges it on the topic ack",
    ),
    key(
        "mqtt.ca_file",
        Text,
        r#""/etc/ssl/certs/ca-certificates.crt""#,
        "With mqtts or wss: PEM file of the CA certificates trusted for the broker, preferably only the fleet's own CA. Read for each connection",
    ),
    key(
        "mqtt.cert_file",
        Text,
        r#""""#,
        "With mqtts or wss: PEM file of the van's client certificate, if the broker requires one; empty for none",
    ),
    key(
        "mqtt.key_file",
        Text,
        r#""""#,
        "PEM file of the certificate's private key; rejected if all users can read it",
    ),
    key(
        "mqtt.alpn",
        Text,
        r#""""#,
        "With mqtts: application protocols to offer (ALPN), separated by commas; AWS IoT on port 443 requires x-amzn-mqtt-ca",
    ),
    key("mqtt.username", Text, r#""""#, "User name; empty for none"),
    key(
        "mqtt.password_file",
        Text,
        r#""""#,
        "File whose first line is the password; empty for none. Rejected if all users can read it. The configuration never contains the password itself",
    ),
    key(
        "mqtt.topic_root",
        Text,
        r#""fleet""#,
        "First levels of every topic: {topic_root}/v1/{van}/...",
    ),
    key(
        "mqtt.keep_alive_s",
        Integer(10, 1200),
        "120",
        "MQTT keep-alive in seconds. Each ping transfers about 200 bytes. A dead connection is detected earlier if data are pending",
    ),
    key(
        "mqtt.live_error_m",
        Number(0.0, 10_000.0),
        "25.0",
        "A live position is sent when dead reckoning from the last one would be off by this many metres; 0 to send at the intervals below only. A change between driving and standing is sent at once",
    ),
    key(
        "mqtt.position_moving_s",
        Number(0.0, 3600.0),
        "30.0",
        "Maximum seconds between live positions while the van drives; 0 to send every fix",
    ),
    key(
        "mqtt.position_halted_s",
        Number(0.0, 3600.0),
        "60.0",
        "Maximum seconds between live positions while the van stands; 0 to send every fix",
    ),
    key(
        "mqtt.state_s",
        Number(1.0, 86_400.0),
        "300.0",
        "Seconds between messages on state, which describe receiver, outbox and route; changes are sent at once",
    ),
    key(
        "mqtt.in_flight",
        Integer(1, 1000),
        "20",
        "Maximum number of unacknowledged messages; the broker may allow fewer",
    ),
    key(
        "mqtt.backlog_bytes_per_s",
        Integer(0, 1_000_000_000),
        "0",
        "Maximum bytes of backlog per second; 0 for no limit other than that live positions are not delayed",
    ),
    key(
        "mqtt.ack_timeout_s",
        Number(1.0, 600.0),
        "30.0",
        "Seconds without an expected acknowledgement after which the agent reconnects",
    ),
    key(
        "mqtt.require_subscriber",
        Flag,
        "false",
        "Keep records that the broker acknowledges with \"no matching subscribers\" (0x10). For brokers where the backend has a persistent session",
    ),
    key(
        "mqtt.require_ack",
        Flag,
        "false",
        "Keep every record until the backend acknowledges it on the topic ack, even if the broker has acknowledged it; always on with version 3.1.1, and to be set with more than one instance of the backend",
    ),
    key(
        "mqtt.command_key",
        Text,
        r#""""#,
        "PEM file of an Ed25519 public key (openssl pkey -pubout): only commands signed with its private key are executed (docs/mqtt-contract.md). Empty to execute every command that the broker delivers",
    ),
    key(
        "mqtt.owntracks",
        Flag,
        "false",
        "Also publish the live position as OwnTracks JSON on owntracks/{first level of topic_root}/{van}, for its recorder and map",
    ),
    key(
        "mqtt.monthly_budget_mb",
        Number(0.0, 1_000_000.0),
        "0.0",
        "Data budget per calendar month in megabytes (10^6 bytes), including headers and handshakes; 0 for none. If usage is ahead of the calendar, the intervals of positions, track and state are multiplied by 2, 4 or 8; at 8 the backlog is held. Events and changes of state are always sent",
    ),
    key(
        "mqtt.metered",
        Flag,
        "false",
        "Metered connection: the intervals of positions, track and state are doubled from the start",
    ),
    key(
        "gnss.source",
        Text,
        r#""serial:/dev/ttyUSB0""#,
        "Source of NMEA 0183: serial:PATH (preferably a name in /dev/serial/by-id), tcp:HOST:PORT, gpsd:HOST[:PORT], log:FILE or stdin:",
    ),
    key(
        "gnss.baud",
        Integer(1200, 4_000_000),
        "9600",
        "Baud rate of a serial receiver, and the first one that detection tries. Ignored for USB receivers at /dev/ttyACM",
    ),
    key(
        "gnss.hunt",
        Flag,
        "true",
        "Detect the baud rate while gnss.baud yields no sentences: other rates are tried for 2.5 s each, without limit",
    ),
    key(
        "gnss.silent_s",
        Number(1.0, 3600.0),
        "5.0",
        "Seconds without a byte after which the receiver is reported as silent",
    ),
    key(
        "gnss.ublox.enable",
        Flag,
        "false",
        "Configure a u-blox receiver on a serial port with the following settings whenever it is connected. Only its RAM is changed, which it loses without power. If false, nothing is ever written to a receiver",
    ),
    key(
        "gnss.ublox.rate_hz",
        Integer(1, 10),
        "1",
        "Fixes per second; higher values need a higher baud rate",
    ),
    key(
        "gnss.ublox.constellations",
        Text,
        r#""""#,
        "Constellations to use, joined by +, such as GPS+Galileo+GLONASS (and BeiDou); empty to keep the receiver's setting",
    ),
    key(
        "gnss.ublox.nmea_version",
        Text,
        r#""""#,
        "NMEA version: 4.0, 4.1 or 4.11; empty to keep the receiver's setting",
    ),
    key(
        "gnss.ublox.dynamic_model",
        Text,
        r#""automotive""#,
        "Dynamic model: automotive, portable, stationary or pedestrian; empty to keep the receiver's setting",
    ),
    key(
        "journey.depart_speed_mps",
        Number(0.5, 50.0),
        "2.0",
        "Minimum speed, for 3 s, at which the van departs, in m/s",
    ),
    key(
        "journey.stop_speed_mps",
        Number(0.0, 50.0),
        "0.8",
        "Maximum speed, for dwell_s, at which the van halts, in m/s",
    ),
    key(
        "journey.dwell_s",
        Number(5.0, 3600.0),
        "30.0",
        "Seconds of standing after which the van counts as halted; longer than most traffic lights",
    ),
    key(
        "track.sampling",
        Text,
        r#""bounded""#,
        "Sampling of the stored track: bounded (the fewest points that keep the two errors below) or raw (every fix)",
    ),
    key(
        "track.max_error_m",
        Number(1.0, 1000.0),
        "5.0",
        "Maximum distance in metres between a fix and the track interpolated at its time",
    ),
    key(
        "track.max_speed_error_mps",
        Number(0.1, 100.0),
        "2.0",
        "Maximum error of the speed between two stored points, in m/s",
    ),
    key(
        "track.encoding",
        Text,
        r#""json""#,
        "Encoding of track messages: json or compact, a binary format (docs/compact.md, waypost decode). Compact takes half of the bytes, a quarter with batch_s = 60, a tenth for a backlog",
    ),
    key("track.batch_points", Integer(1, 500), "60", "Maximum points per track message"),
    key(
        "track.backlog_batch_points",
        Integer(1, 500),
        "500",
        "Maximum points per track message for the backlog; slow connections use fewer",
    ),
    key(
        "track.batch_s",
        Number(0.0, 3600.0),
        "3.0",
        "Maximum seconds that a point waits for its batch to fill. Keep it below outbox.commit_after_s: on a good connection points are then acknowledged before they are written to the card, which saves flash writes",
    ),
    key(
        "outbox.path",
        Text,
        r#""/var/lib/waypost/outbox.db""#,
        "SQLite database that keeps every record until the broker has acknowledged it",
    ),
    key(
        "outbox.tail_path",
        Text,
        r#""/run/waypost/tail""#,
        "Journal on tmpfs with the records not yet in outbox.path, in case the agent is killed. It needs no flash writes. Empty for none",
    ),
    key(
        "outbox.commit_after_s",
        Number(0.0, 300.0),
        "5.0",
        "Age in seconds at which an unacknowledged point is written to the card. A power cut loses at most the points of this time. 0 writes every point within a second; 60 reduces flash wear. Departures and halts are written at once",
    ),
    key(
        "outbox.max_mib",
        Integer(1, 65_536),
        "64",
        "Maximum size in MiB. Beyond it the oldest track is first thinned and finally evicted. 64 MiB hold 60 days at 1 Hz",
    ),
    key(
        "outbox.max_age_days",
        Integer(1, 3650),
        "30",
        "Maximum age of points relative to the newest one, in days; older points are evicted",
    ),
    key(
        "delivery.domain",
        Text,
        r#""waypost.invalid""#,
        "Operator's domain in the URIs of vans, stops, routes and of parcels without a GS1 number. Set it before the first parcel, because published URIs cannot be changed. The default is an invalid domain on purpose",
    ),
    key(
        "delivery.van_uri",
        Text,
        r#""""#,
        "URI of the van in events, such as its GIAI https://id.gs1.org/8004/...; empty: https://{domain}/fleet/obj/{van}",
    ),
    key(
        "delivery.gateway_uri",
        Text,
        r#""""#,
        "URI of this computer, given in events as the device that measured positions; empty for none",
    ),
    key(
        "delivery.duty_at_start",
        Text,
        r#""on""#,
        "Duty state at the first start of the agent: on or off. Off duty the van's position is neither stored nor sent",
    ),
    key(
        "delivery.off_duty_after_return_min",
        Number(0.0, 1440.0),
        "10.0",
        "Minutes after the return to the station at which duty ends automatically; 0 for never",
    ),
    key(
        "control.path",
        Text,
        r#""/run/waypost/control""#,
        "Control socket for waypost status, scan, outcome, duty and log, accessible for the agent's user and group; empty for none",
    ),
    key(
        "metrics.listen",
        Text,
        r#""""#,
        "Address and port that serve GET /metrics as OpenMetrics, preferably 127.0.0.1:9752; empty to disable. The systemd unit must permit the port: systemctl edit waypost, [Service] SocketBindAllow=tcp:9752",
    ),
    key(
        "log.level",
        Text,
        r#""info""#,
        "Log level: error, warn, info, debug or trace. From debug on, the log contains positions, which are personal data",
    ),
];

/// Arrays of tables in the order of the file, after [`KEYS`].
pub(super) const LISTS: &[TableListSpec] = &[
    TableListSpec {
        name: "scanner",
        max_tables: 8,
        help: "Barcode scanners and RFID readers: one table each, at most 8. They may be disconnected and reconnected at any time",
        keys: &[
            key(
                "scanner.name",
                Text,
                "",
                "Unique name, shown to people and to the backend: 1 to 32 of A-Z a-z 0-9 _ . -",
            ),
            key(
                "scanner.source",
                Text,
                "",
                "Source of its lines: serial:PATH[@BAUD] (preferably a name in /dev/serial/by-id), tcp:HOST:PORT, unix:PATH (a stream socket) or fifo:PATH",
            ),
            key("scanner.kind", Text, r#""barcode""#, "Type: barcode or rfid"),
            key(
                "scanner.place",
                Text,
                r#""van""#,
                "Location: van, or station for a fixed scanner, whose scans are located at the station wherever the van is",
            ),
            key(
                "scanner.pattern",
                Text,
                r#""bare""#,
                "Line format of an RFID reader: bare (EPC alone), key-value (EPC:...,RSSI:...,ANT:...), count (EPC;COUNT;RSSI), terse (COUNT, ANT, TYPE, EPC in groups), or a regex with a group (?<epc>...) in hexadecimal and optional groups (?<rssi>...), (?<ant>...) and (?<count>...)",
            ),
            key(
                "scanner.baud",
                Integer(1200, 4_000_000),
                "9600",
                "Baud rate of a serial scanner, unless its source has one",
            ),
        ],
    },
    TableListSpec {
        name: "privacy_zone",
        max_tables: 64,
        help: "Privacy zones, such as the driver's home: one table each, at most 64. Positions within a zone are neither stored nor sent",
        keys: &[
            key("privacy_zone.name", Text, r#""""#, "Name, used in this file only"),
            key("privacy_zone.lat", Number(-90.0, 90.0), "", "Latitude in degrees north, WGS 84"),
            key("privacy_zone.lon", Number(-180.0, 180.0), "", "Longitude in degrees east, WGS 84"),
            key("privacy_zone.radius_m", Number(10.0, 50_000.0), "200.0", "Radius in metres"),
        ],
    },
];
