//! Every key of `waypost.toml`: name, kind, default and what it means. `config/waypost.toml` is written from these tables.

use crate::settings::Kind::{Flag, Integer, Number, Text};
use crate::settings::{Book, Key, List, key};

/// `waypost.toml`, its keys and its lists.
pub(super) static BOOK: Book = Book {
    program: "waypost",
    head: "# waypost: configuration of the van's agent. Every key stands here with its default.\n\
           # Only van.id and mqtt.broker must be filled in. `waypost check` names everything that is wrong.\n",
    page: PAGE,
    keys: KEYS,
    lists: LISTS,
};

const PAGE: &str = "\
# Configuration\n\n\
Every key of `waypost.toml`, written from the table that the agent checks a file against\n\
(`src/config/keys.rs`). A key that is left out has its default; one that is unknown, of the wrong kind or out\n\
of range is reported by `waypost check`, all of them at once.\n\n\
Beside the file may be drop-ins, `conf.d/*.toml` (for `/etc/waypost/waypost.toml` in `/etc/waypost/conf.d/`). They\n\
are read in the order of their names, and each goes before what came ahead of it, key by key. A list such as\n\
`[[scanner]]` is one thing: a drop-in with one of its tables has all of them, and `scanner = []` has none. Hidden\n\
files and those that do not end in `.toml` are not read. A problem in a drop-in is reported with its name:\n\
`conf.d/20-van.toml: mqtt.keep_alive_s: 5 is outside 10..=1200`. `waypost config show --origin` writes what the\n\
parts come to, with the file that each value is from.\n\n";

/// In the order of the file.
pub(super) const KEYS: &[Key] = &[
    key(
        "van.id",
        Text,
        r#""""#,
        "The van's name in topics, and its MQTT client identifier: 1 to 64 of A-Z a-z 0-9 _ . : - (required, unless id_from says where it is)",
    ),
    key(
        "van.id_from",
        Text,
        r#""""#,
        "Where the id is, while van.id is empty: file:PATH (its first line), hostname (in /etc/hostname), machine-id (a number made of /etc/machine-id, which it does not give away) or certificate (the common name in mqtt.cert_file). Empty: nowhere",
    ),
    key(
        "mqtt.broker",
        Text,
        r#""""#,
        "The MQTT broker: mqtts://HOST[:PORT] with TLS (port 8883), or mqtt://HOST[:PORT] without (port 1883); with the feature websocket also wss://HOST[:PORT][/PATH] (port 443) and ws://HOST[:PORT][/PATH] (port 80), path /mqtt. Several, separated by commas, are tried in this order (required)",
    ),
    key(
        "mqtt.proxy",
        Text,
        r#""""#,
        "With the feature proxy: http://HOST:PORT of a proxy that makes the way to the broker by HTTP CONNECT; empty: straight to the broker. TLS goes through it to the broker",
    ),
    key("mqtt.proxy_username", Text, r#""""#, "User name at the proxy; empty for none"),
    key(
        "mqtt.proxy_password_file",
        Text,
        r#""""#,
        "File whose first line is the password to it; as mqtt.password_file",
    ),
    key(
        "mqtt.version",
        Text,
        r#""5""#,
        "Which MQTT the broker speaks: 5, or 3.1.1. In 3.1.1 an acknowledgement says nothing, and a record is kept until the backend acknowledges it on the topic ack",
    ),
    key(
        "mqtt.ca_file",
        Text,
        r#""/etc/ssl/certs/ca-certificates.crt""#,
        "With mqtts or wss: PEM file of the authorities that may vouch for the broker; best the fleet's own alone. Read anew for each connection",
    ),
    key(
        "mqtt.cert_file",
        Text,
        r#""""#,
        "With mqtts or wss: PEM file of the van's own certificate, if the broker wants one; empty for none",
    ),
    key(
        "mqtt.key_file",
        Text,
        r#""""#,
        "PEM file of the private key to it; refused if everybody on the computer may read it",
    ),
    key(
        "mqtt.alpn",
        Text,
        r#""""#,
        "With mqtts: application protocols to ask for, separated by commas; AWS IoT on port 443 wants x-amzn-mqtt-ca",
    ),
    key("mqtt.username", Text, r#""""#, "User name; empty for none"),
    key(
        "mqtt.password_file",
        Text,
        r#""""#,
        "File whose first line is the password; empty for none. Refused if everybody on the computer may read it. The password itself never stands in this file",
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
        "Seconds between pings. Each costs about 200 bytes on the air; a dead link is noticed sooner when data wait",
    ),
    key(
        "mqtt.live_error_m",
        Number(0.0, 10_000.0),
        "25.0",
        "A live position is sent when the last one, drawn on with its speed and course, would be so many metres wrong; 0 for the intervals below alone. A change between driving and standing is sent at once",
    ),
    key(
        "mqtt.position_moving_s",
        Number(0.0, 3600.0),
        "30.0",
        "Seconds after which a live position is sent at the latest while the van drives; 0 for every fix",
    ),
    key("mqtt.position_halted_s", Number(0.0, 3600.0), "60.0", "The same while the van stands"),
    key(
        "mqtt.state_s",
        Number(1.0, 86_400.0),
        "300.0",
        "Seconds between reports of receiver and outbox; a change is sent at once",
    ),
    key(
        "mqtt.in_flight",
        Integer(1, 1000),
        "20",
        "How many messages may wait for the broker's acknowledgement; the broker may allow fewer",
    ),
    key(
        "mqtt.backlog_bytes_per_s",
        Integer(0, 1_000_000_000),
        "0",
        "How many bytes of backlog may be sent a second; 0 for as many as the link takes without making live positions wait",
    ),
    key(
        "mqtt.ack_timeout_s",
        Number(1.0, 600.0),
        "30.0",
        "Seconds after which a missing acknowledgement makes the connection suspect, and it is made anew",
    ),
    key(
        "mqtt.require_subscriber",
        Flag,
        "false",
        "Keep what the broker acknowledges with \"no matching subscribers\" (0x10), for brokers where the backend's session is permanent",
    ),
    key(
        "mqtt.require_ack",
        Flag,
        "false",
        "Keep every record until the backend acknowledges it on the topic ack, whatever the broker says; always so with version 3.1.1",
    ),
    key(
        "mqtt.command_key",
        Text,
        r#""""#,
        "PEM file of an Ed25519 public key (openssl pkey -pubout): only commands signed with the key to it count, as docs/contract.md says; empty: the broker's word is enough",
    ),
    key(
        "mqtt.owntracks",
        Flag,
        "false",
        "Whether the live position is also said as OwnTracks JSON on owntracks/{first level of topic_root}/{van}, for its recorder and map",
    ),
    key(
        "mqtt.monthly_budget_mb",
        Number(0.0, 1_000_000.0),
        "0.0",
        "Megabytes (10^6) on the air that a calendar month may cost, headers and handshakes included; 0 for no bound. Ahead of the calendar, intervals of positions, trail and state become 2, 4 or 8 times as long, and at 8 the backlog waits. Events and changes of state always go",
    ),
    key(
        "mqtt.metered",
        Flag,
        "false",
        "Whether each byte costs: the same intervals are twice as long from the start",
    ),
    key(
        "gnss.source",
        Text,
        r#""serial:/dev/ttyUSB0""#,
        "Where NMEA 0183 comes from: serial:PATH (best a name in /dev/serial/by-id), tcp:HOST:PORT, gpsd:HOST[:PORT], log:FILE or stdin:",
    ),
    key(
        "gnss.baud",
        Integer(1200, 4_000_000),
        "9600",
        "Speed of a serial receiver in Bd: where the hunt for it begins. USB receivers that are /dev/ttyACM have none",
    ),
    key(
        "gnss.hunt",
        Flag,
        "true",
        "Whether other speeds are tried, 2.5 s each and without end, while gnss.baud gives no sentences",
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
        "Whether a u-blox receiver on a serial port is set up as follows, each time that it comes. Without this, nothing is ever written to a receiver. Only its RAM is changed: without power it forgets",
    ),
    key("gnss.ublox.rate_hz", Integer(1, 10), "1", "Fixes per second; more need a faster line"),
    key(
        "gnss.ublox.constellations",
        Text,
        r#""""#,
        "Satellites to use, such as GPS+Galileo+GLONASS (and BeiDou); empty: as they are",
    ),
    key(
        "gnss.ublox.nmea_version",
        Text,
        r#""""#,
        "Version of NMEA 0183: 4.0, 4.1 or 4.11; empty: as it is",
    ),
    key(
        "gnss.ublox.dynamic_model",
        Text,
        r#""automotive""#,
        "What carries the receiver: automotive, portable, stationary or pedestrian; empty: as it is",
    ),
    key(
        "journey.depart_speed_mps",
        Number(0.5, 50.0),
        "2.0",
        "The van departs when it is at least this fast for 3 s, in m/s",
    ),
    key(
        "journey.stop_speed_mps",
        Number(0.0, 50.0),
        "0.8",
        "The van halts when it is at most this fast for dwell_s, in m/s",
    ),
    key(
        "journey.dwell_s",
        Number(5.0, 3600.0),
        "30.0",
        "Seconds of standing that make a halt; longer than most traffic lights",
    ),
    key(
        "track.sampling",
        Text,
        r#""bounded""#,
        "Which fixes the trail keeps: bounded (as few as prove where the van was, within the two errors below) or raw (all)",
    ),
    key(
        "track.max_error_m",
        Number(1.0, 1000.0),
        "5.0",
        "How far the line between two kept points may be from where the van was at that moment, in metres",
    ),
    key(
        "track.max_speed_error_mps",
        Number(0.1, 100.0),
        "2.0",
        "How wrong the speed between two kept points may be, in m/s",
    ),
    key(
        "track.encoding",
        Text,
        r#""json""#,
        "How the trail is written: json, or compact, a binary form of the same (docs/compact.md, waypost decode): half the bytes on the air, a quarter with batch_s = 60, a tenth in a backlog",
    ),
    key(
        "track.batch_points",
        Integer(1, 500),
        "60",
        "How many points one track message has at most",
    ),
    key(
        "track.backlog_batch_points",
        Integer(1, 500),
        "500",
        "The same for the backlog; fewer go into a message where the link is thin",
    ),
    key(
        "track.batch_s",
        Number(0.0, 3600.0),
        "3.0",
        "Seconds after which a point no longer waits for its batch to fill. Below outbox.commit_after_s, so that a good link acknowledges a point before it would be written to the card: then points cost no flash",
    ),
    key(
        "outbox.path",
        Text,
        r#""/var/lib/waypost/outbox.db""#,
        "The file that keeps every record until the broker has acknowledged it",
    ),
    key(
        "outbox.tail_path",
        Text,
        r#""/run/waypost/tail""#,
        "A file on tmpfs that keeps what is not in outbox.path yet if the agent is killed, at no cost to the card; empty for none",
    ),
    key(
        "outbox.commit_after_s",
        Number(0.0, 300.0),
        "5.0",
        "A point that is so old and not acknowledged is written to the card: what a power cut may cost at most, in seconds. 0 writes every point within a second; 60 spares the card. Departures and halts are written at once",
    ),
    key(
        "outbox.max_mib",
        Integer(1, 65_536),
        "64",
        "Size at which the oldest of the trail makes room for the new, in MiB: it becomes coarser first, and goes last. 64 are 60 days at 1 Hz",
    ),
    key(
        "outbox.max_age_days",
        Integer(1, 3650),
        "30",
        "Points that are so much older than the newest are given up, in days by the points' own time",
    ),
    key(
        "delivery.domain",
        Text,
        r#""waypost.invalid""#,
        "The operator's domain in the URIs of vans, stops, routes and of parcels without a GS1 number. Set it before the first parcel: what was sent keeps its URI. The default leads nowhere, on purpose",
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
        "URI of this computer, as the device behind positions in events; empty for none",
    ),
    key(
        "delivery.namespace",
        Text,
        r#""""#,
        "URI, with / at its end, of what EPCIS has no word for; empty: https://ns.{domain}/van/",
    ),
    key(
        "delivery.type_prefix",
        Text,
        r#""""#,
        "Beginning of the types of events; empty: the domain backwards and van, such as com.example.van",
    ),
    key(
        "delivery.duty_at_start",
        Text,
        r#""on""#,
        "Whether the driver is on duty when the agent starts for the first time: on or off. Off duty, nothing is stored or sent of where the van is",
    ),
    key(
        "delivery.off_duty_after_return_min",
        Number(0.0, 1440.0),
        "10.0",
        "Minutes after the return to the station after which duty ends by itself; 0 for never",
    ),
    key(
        "control.path",
        Text,
        r#""/run/waypost/control""#,
        "The socket on which waypost status, scan, outcome, duty and log reach the agent: for its user and group; empty for none",
    ),
    key(
        "metrics.listen",
        Text,
        r#""""#,
        "Address and port at which GET /metrics gives what is counted, as OpenMetrics; best 127.0.0.1:9752. Empty: nowhere. The unit forbids listening: systemctl edit waypost, [Service] SocketBindAllow=tcp:9752",
    ),
    key(
        "log.level",
        Text,
        r#""info""#,
        "error, warn, info, debug or trace. Positions are personal data and appear from debug on",
    ),
];

/// In the order of the file, after [`KEYS`].
pub(super) const LISTS: &[List] = &[
    List {
        name: "scanner",
        most: 8,
        help: "Scanners of bar codes and readers of radio tags: a table for each, any number up to 8. They may come and go, as the receiver may",
        keys: &[
            key(
                "scanner.name",
                Text,
                "",
                "What people and the backend call it: 1 to 32 of A-Z a-z 0-9 _ . -, and no two alike",
            ),
            key(
                "scanner.source",
                Text,
                "",
                "Where its lines come from: serial:PATH[@BAUD] (best a name in /dev/serial/by-id), tcp:HOST:PORT, unix:PATH (a stream socket) or fifo:PATH",
            ),
            key("scanner.kind", Text, r#""barcode""#, "What it reads: barcode or rfid"),
            key(
                "scanner.place",
                Text,
                r#""van""#,
                "Where it is: in the van, or fixed at the station, so that what it reads is there, wherever the van is",
            ),
            key(
                "scanner.pattern",
                Text,
                r#""bare""#,
                "With rfid, what its lines look like: bare (EPC alone), key-value (EPC:...,RSSI:...,ANT:...), count (EPC;COUNT;RSSI), terse (COUNT, ANT, TYPE, EPC in groups), or a regex with a group (?<epc>...) in hexadecimal, and (?<rssi>...), (?<ant>...) and (?<count>...) where there are such",
            ),
            key(
                "scanner.baud",
                Integer(1200, 4_000_000),
                "9600",
                "Speed of a serial scanner in Bd, if its source does not say it",
            ),
        ],
    },
    List {
        name: "privacy_zone",
        most: 64,
        help: "Places that are nobody's business, such as where the driver lives: a table for each, any number up to 64. What the receiver says there is neither stored nor sent",
        keys: &[
            key("privacy_zone.name", Text, r#""""#, "For the person who reads this file"),
            key("privacy_zone.lat", Number(-90.0, 90.0), "", "Degrees north, WGS 84"),
            key("privacy_zone.lon", Number(-180.0, 180.0), "", "Degrees east, WGS 84"),
            key(
                "privacy_zone.radius_m",
                Number(10.0, 50_000.0),
                "200.0",
                "How far it reaches, in metres",
            ),
        ],
    },
];
