//! Values by key → [`Config`]. Each problem names its key, the value and the remedy; all are found.

use std::path::PathBuf;
use std::time::Duration;

use tracing::Level;

use super::{
    AlertsConfig, Config, ExposureRule, HttpConfig, MqttConfig, MqttTls, PagesConfig, Retention,
    Scope, SmtpConfig, StoreConfig, Token,
};
use crate::settings::Values;
use crate::wire::epcis::segment;

pub(super) fn config(values: &mut Values) -> Option<Config> {
    let store = store(values);
    let mqtt = mqtt(values);
    let http = http(values);
    let tokens = tokens(values);
    let domain = domain(values);
    let exposure = exposure(values);
    let retention = retention(values);
    let alerts = alerts(values);
    let pages = pages(values);
    let log_level = values.parsed("log.level", |level| {
        level
            .parse::<Level>()
            .map_err(|_| format!("{level:?} is none of error, warn, info, debug, trace"))
    });
    Some(Config {
        store: store?,
        mqtt: mqtt?,
        http: http?,
        tokens: tokens?,
        domain: domain?,
        exposure: exposure?,
        retention: retention?,
        alerts: alerts?,
        pages: pages?,
        log_level: log_level?,
    })
}

/// What commands need that work on the store alone.
pub(super) fn store_and_domain(values: &mut Values) -> Option<(StoreConfig, String)> {
    let (store, domain) = (store(values), domain(values));
    Some((store?, domain?))
}

fn domain(values: &mut Values) -> Option<String> {
    values.parsed("parcels.domain", |domain| {
        let label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        };
        if domain.len() <= 128 && domain.split('.').all(label) {
            Ok(domain.to_owned())
        } else {
            Err(format!(
                "{domain:?} is no domain: write the vans' delivery.domain, such as id.example.com"
            ))
        }
    })
}

fn store(values: &mut Values) -> Option<StoreConfig> {
    let path = values.text("store.path")?;
    let password = values.secret("store.password_file")?;
    let url = values.parsed("store.url", |url| {
        let scheme = ["postgresql://", "postgres://"].iter().find_map(|it| url.strip_prefix(it));
        match scheme {
            _ if url.is_empty() => Ok(String::new()),
            None => Err(format!(
                "{url:?} is no URL of PostgreSQL: write postgresql://USER@HOST/DATABASE"
            )),
            Some(rest) if rest.split('/').next().is_some_and(has_password) => {
                // The value is a secret.
                Err("has a password: write it in store.password_file".to_owned())
            }
            Some(_) => crate::backend::store::check_url(url).map(|()| url.to_owned()),
        }
    })?;
    match (url.is_empty(), password) {
        (true, None) if path.is_empty() => {
            values.problem("store.path", "is empty: name the file, or a store.url");
            None
        }
        (true, None) => Some(StoreConfig::Sqlite(PathBuf::from(path))),
        (true, Some(_)) => {
            values.problem("store.password_file", "there is a password and no store.url");
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
    let broker = values.parsed("mqtt.broker", |url| {
        let refused =
            || format!("{url:?} is no broker: write mqtts://HOST[:PORT] or mqtt://HOST[:PORT]");
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
    let client_id = values.parsed("mqtt.client_id", name_of_a_client);
    let share_group = values.parsed("mqtt.share_group", name_of_a_client);
    let topic_root = values.parsed("mqtt.topic_root", |root| {
        let level = |level: &str| !level.is_empty() && !level.contains(['+', '#', ' ', '\0']);
        if root.split('/').all(level) && !root.starts_with('$') {
            Ok(root.to_owned())
        } else {
            Err(format!(
                "{root:?} cannot begin a topic: levels between single /, without + # $ and spaces"
            ))
        }
    });
    let username = Some(values.text("mqtt.username")?).filter(|name| !name.is_empty());
    let password = values.secret("mqtt.password_file")?;
    if password.is_some() && username.is_none() {
        values.problem("mqtt.password_file", "there is a password and no mqtt.username");
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
        ack: values.flag("mqtt.ack")?,
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

fn name_of_a_client(name: &str) -> Result<String, String> {
    named(name, 64)
}

fn named(name: &str, most: usize) -> Result<String, String> {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
    if (1..=most).contains(&name.len()) && name.bytes().all(good) {
        Ok(name.to_owned())
    } else {
        Err(format!("{name:?} is no name: 1 to {most} of A-Z a-z 0-9 _ . -"))
    }
}

fn http(values: &mut Values) -> Option<HttpConfig> {
    let listen: Option<std::net::SocketAddr> = values.parsed("http.listen", |listen| {
        listen.parse().map_err(|_| {
            format!("{listen:?} is no address and port: write one such as 127.0.0.1:8080")
        })
    });
    let tls = values.certificate("http.cert_file", "http.key_file");
    let public_url = values.parsed("http.public_url", |url| {
        let web = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match web {
            _ if url.is_empty() => Ok(None),
            Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', ' ']) => {
                Ok(Some(url.trim_end_matches('/').to_owned()))
            }
            _ => Err(format!("{url:?} is no address of a site: write https://track.example.com")),
        }
    });
    let (listen, tls) = (listen?, tls?);
    Some(HttpConfig {
        listen,
        public_url: public_url?.unwrap_or_else(|| HttpConfig::own_url(listen, tls.is_some())),
        tls,
        behind_proxy: values.flag("http.behind_proxy")?,
    })
}

fn tokens(values: &mut Values) -> Option<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    for table in values.tables("token") {
        let name = values.parsed(&format!("{table}.name"), |name| {
            named(name, 32).and_then(|name| {
                if tokens.iter().any(|token| token.name == name) {
                    Err(format!("{name:?} is the name of another token too"))
                } else {
                    Ok(name)
                }
            })
        });
        let sha256 = values.parsed(&format!("{table}.sha256"), |hash| {
            if hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_hexdigit()) {
                Ok(hash.to_ascii_lowercase())
            } else {
                Err("is no SHA-256: 64 hexadecimal digits, as `waypost-backend token` writes them"
                    .to_owned())
            }
        });
        let scopes = values.parsed(&format!("{table}.scopes"), |scopes| {
            scopes
                .split(',')
                .map(|scope| {
                    let scope = scope.trim();
                    Scope::parse(scope)
                        .ok_or_else(|| format!("{scope:?} is none of {}", Scope::names()))
                })
                .collect::<Result<Vec<_>, _>>()
        });
        tokens.push(Token { name: name?, sha256: sha256?, scopes: scopes? });
    }
    Some(tokens)
}

fn exposure(values: &mut Values) -> Option<ExposureRule> {
    Some(ExposureRule {
        max_stops_away: values.integer("exposure.max_stops_away")?,
        max_fix_age: Duration::from_secs(values.integer("exposure.max_fix_age_s")?),
    })
}

fn retention(values: &mut Values) -> Option<Retention> {
    let days = |key: &str| values.integer(key).map(|days: u64| Duration::from_hours(24 * days));
    Some(Retention {
        track: days("retention.track_days")?,
        events: days("retention.events_days")?,
        page: days("retention.page_days")?,
        audit: days("retention.audit_days")?,
        poison: days("retention.poison_days")?,
    })
}

fn alerts(values: &mut Values) -> Option<AlertsConfig> {
    let url = values.parsed("alerts.smtp_url", |url| {
        let known = ["smtp://", "smtps://", "smtp+starttls://"];
        if url.is_empty() || known.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|host| !host.is_empty())) {
            Ok(url.to_owned())
        } else {
            Err(format!("{url:?} is no server: write smtp://HOST[:PORT], smtps://HOST[:PORT] or smtp+starttls://HOST[:PORT]"))
        }
    })?;
    let from = values.text("alerts.from")?;
    let username = Some(values.text("alerts.smtp_username")?).filter(|name| !name.is_empty());
    let password = values.secret("alerts.smtp_password_file")?;
    let smtp = match (url.is_empty(), from.parse::<lettre::message::Mailbox>()) {
        (true, _) => None,
        (false, Ok(_)) => Some(SmtpConfig { url, username, password, from }),
        (false, Err(_)) => {
            let problem =
                format!("{from:?} is nobody who writes: write Parcels <parcels@example.com>");
            values.problem("alerts.from", &problem);
            return None;
        }
    };
    Some(AlertsConfig {
        smtp,
        webhook_secret: values.secret("alerts.webhook_secret_file")?,
        webhook_private: values.flag("alerts.webhook_private")?,
    })
}

fn pages(values: &mut Values) -> Option<PagesConfig> {
    let tiles = values.parsed("pages.tiles", |tiles| {
        let complete = ["{z}", "{x}", "{y}"].iter().all(|part| tiles.contains(part));
        if tiles.is_empty()
            || (tiles.starts_with("https://") && complete && !tiles.contains([' ', ';', '\'', '"']))
        {
            Ok(Some(tiles.to_owned()).filter(|tiles| !tiles.is_empty()))
        } else {
            Err(format!(
                "{tiles:?} is no pattern of tiles: write https://HOST/{{z}}/{{x}}/{{y}}.png"
            ))
        }
    });
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Some(PagesConfig {
        tiles: tiles?,
        tiles_by: given(values.text("pages.tiles_by")?),
        operator: given(values.text("pages.operator")?),
    })
}
