//! Validates configuration values. Every problem is reported with its key, value and remedy.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use tracing::Level;

use super::{
    Config, HttpConfig, MqttConfig, MqttTls, NotificationsConfig, PagesConfig, Retention, Scope,
    SmtpConfig, StoreConfig, Token, VisibilityPolicy,
};
use waypost_config_schema::Values;
use waypost_wire::epcis::segment;

pub(super) fn config(values: &mut Values) -> Option<Config> {
    let store = store(values);
    let mqtt = mqtt(values);
    let http = http(values);
    let tokens = tokens(values);
    let domain = domain(values);
    let exposure = visibility(values);
    let retention = retention(values);
    let alerts = notifications(values);
    let pages = pages(values);
    let log_level = values.parse("log.level", |level| {
        level
            .parse::<Level>()
            .map_err(|_| format!("{level:?} is not one of error, warn, info, debug, trace"))
    });
    Some(Config {
        store: store?,
        mqtt: mqtt?,
        http: http?,
        tokens: tokens?,
        domain: domain?,
        visibility: exposure?,
        retention: retention?,
        notifications: alerts?,
        pages: pages?,
        log_level: log_level?,
    })
}

/// Validates only the keys for commands on the store.
pub(super) fn store_and_domain(values: &mut Values) -> Option<(StoreConfig, String)> {
    let (store, domain) = (store(values), domain(values));
    Some((store?, domain?))
}

fn domain(values: &mut Values) -> Option<String> {
    values.parse("parcels.domain", |domain| {
        let label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        };
        if domain.len() <= 128 && domain.split('.').all(label) {
            Ok(domain.to_owned())
        } else {
            Err(format!(
                "{domain:?} is not a domain; set it to delivery.domain of the vans, such as id.example.com"
            ))
        }
    })
}

fn store(values: &mut Values) -> Option<StoreConfig> {
    let path = values.text("store.path")?;
    let password = values.secret("store.password_file")?;
    let url = values.parse("store.url", |url| {
        let scheme = ["postgresql://", "postgres://"].iter().find_map(|it| url.strip_prefix(it));
        match scheme {
            _ if url.is_empty() => Ok(String::new()),
            None => {
                Err(format!("{url:?} is not a PostgreSQL URL; use postgresql://USER@HOST/DATABASE"))
            }
            Some(rest) if rest.split('/').next().is_some_and(has_password) => {
                // The value contains a secret and is not printed.
                Err("contains a password; move it to store.password_file".to_owned())
            }
            Some(_) => crate::store::check_url(url).map(|()| url.to_owned()),
        }
    })?;
    match (url.is_empty(), password) {
        (true, None) if path.is_empty() => {
            values.report_problem("store.path", "is empty; set the path of the file, or store.url");
            None
        }
        (true, None) => Some(StoreConfig::Sqlite(PathBuf::from(path))),
        (true, Some(_)) => {
            values.report_problem(
                "store.password_file",
                "is set without store.url; set store.url or remove the password",
            );
            None
        }
        (false, None) => Some(StoreConfig::Postgres(url)),
        (false, Some(password)) => {
            let joint = if url.contains('?') { '&' } else { '?' };
            Some(StoreConfig::Postgres(format!("{url}{joint}password={}", segment(&password))))
        }
    }
}

fn has_password(authority: &str) -> bool {
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

fn mqtt(values: &mut Values) -> Option<MqttConfig> {
    let broker = values.parse("mqtt.broker", |url| {
        let refused = || {
            format!("{url:?} is not a broker URL; use mqtts://HOST[:PORT] or mqtt://HOST[:PORT]")
        };
        let (secure, rest) = match url.split_once("://") {
            Some(("mqtts", rest)) => (true, rest),
            Some(("mqtt", rest)) => (false, rest),
            _ => return Err(refused()),
        };
        let (host, port) =
            host_and_port(rest, if secure { 8883 } else { 1883 }).ok_or_else(refused)?;
        Ok((secure, host, port))
    });
    let client = values.certificate("mqtt.cert_file", "mqtt.key_file");
    let ca = values.text("mqtt.ca_file")?;
    let client_id = values.parse("mqtt.client_id", parse_client_id);
    let share_group = values.parse("mqtt.share_group", parse_client_id);
    let topic_root = values.parse("mqtt.topic_root", |root| {
        let level = |level: &str| !level.is_empty() && !level.contains(['+', '#', ' ', '\0']);
        if root.split('/').all(level) && !root.starts_with('$') {
            Ok(root.to_owned())
        } else {
            Err(format!(
                "{root:?} is not a topic prefix; use levels separated by single /, without + # $ and spaces"
            ))
        }
    });
    let username = Some(values.text("mqtt.username")?).filter(|name| !name.is_empty());
    let password = values.secret("mqtt.password_file")?;
    if password.is_some() && username.is_none() {
        values.report_problem(
            "mqtt.password_file",
            "is set without mqtt.username; set mqtt.username or remove the password",
        );
        return None;
    }
    let (secure, host, port) = broker?;
    let client = client?;
    Some(MqttConfig {
        host,
        port,
        tls: secure.then(|| MqttTls { ca: ca.into(), client }),
        client_id: client_id?,
        username,
        password,
        topic_root: topic_root?,
        share_group: share_group?,
        publish_acks: values.flag("mqtt.ack")?,
        owntracks: values.flag("mqtt.owntracks")?,
    })
}

/// `HOST[:PORT]`, where the host may be an IPv6 address in brackets.
fn host_and_port(text: &str, default: u16) -> Option<(String, u16)> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, default),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let good = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
    (!host.is_empty() && host.chars().all(good)).then(|| (host.to_owned(), port))
}

fn parse_client_id(name: &str) -> Result<String, String> {
    parse_identifier(name, 64)
}

fn parse_identifier(name: &str, most: usize) -> Result<String, String> {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
    if (1..=most).contains(&name.len()) && name.bytes().all(good) {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "{name:?} is not a valid name; use 1 to {most} characters of A-Z a-z 0-9 _ . -"
        ))
    }
}

fn http(values: &mut Values) -> Option<HttpConfig> {
    let listen: Option<std::net::SocketAddr> = values.parse("http.listen", |listen| {
        listen.parse().map_err(|_| {
            format!("{listen:?} is not an address and port; use one such as 127.0.0.1:8080")
        })
    });
    let tls = values.certificate("http.cert_file", "http.key_file");
    let public_url = values.parse("http.public_url", |url| {
        let web = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match web {
            _ if url.is_empty() => Ok(None),
            Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', ' ']) => {
                Ok(Some(url.trim_end_matches('/').to_owned()))
            }
            _ => {
                Err(format!("{url:?} is not a site URL; use one such as https://track.example.com"))
            }
        }
    });
    let trusted_proxies = values.parse_list("http.trusted_proxies", |network| {
        parse_network(network).ok_or_else(|| {
            format!(
                "{network:?} is not an address or a network; use one such as 10.0.0.0/8 or 2001:db8:7::/48"
            )
        })
    });
    let (listen, tls) = (listen?, tls?);
    Some(HttpConfig {
        listen,
        public_url: public_url?
            .unwrap_or_else(|| HttpConfig::default_public_url(listen, tls.is_some())),
        tls,
        trusted_proxies: trusted_proxies?,
    })
}

/// An address, or a network in CIDR notation.
fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn tokens(values: &mut Values) -> Option<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    for table in values.tables("token") {
        let name = values.parse(&format!("{table}.name"), |name| {
            parse_identifier(name, 32).and_then(|name| {
                if tokens.iter().any(|token| token.name == name) {
                    Err(format!(
                        "{name:?} is already the name of another token; choose a unique name"
                    ))
                } else {
                    Ok(name)
                }
            })
        });
        let sha256 = values.parse(&format!("{table}.sha256"), |hash| {
            if hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_hexdigit()) {
                Ok(hash.to_ascii_lowercase())
            } else {
                Err("is not a SHA-256; use 64 hexadecimal digits, as printed by `waypost-backend token`"
                    .to_owned())
            }
        });
        let scopes = values.parse(&format!("{table}.scopes"), |scopes| {
            scopes
                .split(',')
                .map(|scope| {
                    let scope = scope.trim();
                    Scope::parse(scope)
                        .ok_or_else(|| format!("{scope:?} is not one of {}", Scope::names()))
                })
                .collect::<Result<Vec<_>, _>>()
        });
        let owners = values.parse(&format!("{table}.owners"), parse_binding);
        let sites = values.parse(&format!("{table}.sites"), parse_binding);
        tokens.push(Token {
            name: name?,
            sha256: sha256?,
            scopes: scopes?,
            owners: owners?,
            sites: sites?,
        });
    }
    Some(tokens)
}

/// Parses the owners or sites of a token; `*` gives an empty list.
fn parse_binding(text: &str) -> Result<Vec<String>, String> {
    if text.trim() == "*" {
        return Ok(Vec::new());
    }
    let parse = |one: &str| {
        let one = one.trim();
        let is_prefix = one.len() >= 4 && one.bytes().all(|c| c.is_ascii_digit());
        let is_uri = one.contains(':') && one.bytes().all(|c| c.is_ascii_graphic());
        match is_prefix || is_uri {
            true => Ok(one.to_owned()),
            false => Err(format!(
                "{one:?} is neither a GS1 company prefix of at least 4 digits nor the beginning of a URI; use * for all"
            )),
        }
    };
    text.split(',').map(parse).collect()
}

fn visibility(values: &mut Values) -> Option<VisibilityPolicy> {
    Some(VisibilityPolicy {
        max_stops_away: values.integer("exposure.max_stops_away")?,
        max_fix_age: Duration::from_secs(values.integer("exposure.max_fix_age_s")?),
    })
}

pub(super) fn retention(values: &mut Values) -> Option<Retention> {
    let days = |key: &str| values.integer(key).map(|days: u64| Duration::from_hours(24 * days));
    Some(Retention {
        track: days("retention.track_days")?,
        events: days("retention.events_days")?,
        page: days("retention.page_days")?,
        audit: days("retention.audit_days")?,
        dead_letters: days("retention.poison_days")?,
    })
}

fn notifications(values: &mut Values) -> Option<NotificationsConfig> {
    let time_zone = values.parse("alerts.time_zone", |name| {
        TimeZone::get(name).map_err(|_| {
            format!("{name:?} is not a time zone; use a name such as Europe/Berlin or UTC")
        })
    });
    let url = values.parse("alerts.smtp_url", |url| {
        let known = ["smtp://", "smtps://", "smtp+starttls://"];
        if url.is_empty() || known.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|host| !host.is_empty())) {
            Ok(url.to_owned())
        } else {
            Err(format!("{url:?} is not an SMTP URL; use smtp://HOST[:PORT], smtps://HOST[:PORT] or smtp+starttls://HOST[:PORT]"))
        }
    })?;
    let from = values.text("alerts.from")?;
    let username = Some(values.text("alerts.smtp_username")?).filter(|name| !name.is_empty());
    let password = values.secret("alerts.smtp_password_file")?;
    let smtp = match (url.is_empty(), from.parse::<lettre::message::Mailbox>()) {
        (true, _) => None,
        (false, Ok(_)) => Some(SmtpConfig { url, username, password, from }),
        (false, Err(_)) => {
            let problem = format!(
                "{from:?} is not a sender; use a form such as Parcels <parcels@example.com>"
            );
            values.report_problem("alerts.from", &problem);
            return None;
        }
    };
    Some(NotificationsConfig {
        smtp,
        webhook_enabled: values.flag("alerts.webhook_enabled")?,
        time_zone: time_zone?,
        allow_private_webhooks: values.flag("alerts.webhook_private")?,
    })
}

fn pages(values: &mut Values) -> Option<PagesConfig> {
    let tiles = values.parse("pages.tiles", |tiles| {
        let complete = ["{z}", "{x}", "{y}"].iter().all(|part| tiles.contains(part));
        if tiles.is_empty()
            || (tiles.starts_with("https://") && complete && !tiles.contains([' ', ';', '\'', '"']))
        {
            Ok(Some(tiles.to_owned()).filter(|tiles| !tiles.is_empty()))
        } else {
            Err(format!("{tiles:?} is not a tile URL; use https://HOST/{{z}}/{{x}}/{{y}}.png"))
        }
    });
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Some(PagesConfig {
        tile_url: tiles?,
        attribution: given(values.text("pages.tiles_by")?),
        operator: given(values.text("pages.operator")?),
    })
}
