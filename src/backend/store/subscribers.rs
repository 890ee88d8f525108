//! Who wants to be told of a parcel, and what was told ↔ rows.

use super::{Row, Statement, Store, StoreError};
use crate::backend::view::parcel::AlertView;

/// Somebody who wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// By which it is ended; nobody can guess it.
    pub id: String,
    /// The parcel.
    pub epc: String,
    /// `email` or `webhook`.
    pub channel: String,
    /// Where.
    pub address: String,
    /// BCP 47.
    pub language: Option<String>,
}

impl Subscriber {
    /// As everybody with the link may see it.
    #[must_use]
    pub fn view(&self) -> AlertView {
        AlertView {
            id: self.id.clone(),
            channel: self.channel.clone(),
            address: masked(&self.channel, &self.address),
        }
    }
}

/// `m…@example.com`, `https://example.com/…`
fn masked(channel: &str, address: &str) -> String {
    if channel == "email" {
        let (name, host) = address.rsplit_once('@').unwrap_or(("", address));
        let first: String = name.chars().take(1).collect();
        return format!("{first}…@{host}");
    }
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A user name or password before the host is nobody's business.
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("https://{host}/…")
}

const COLUMNS: &str = "id, epc, channel, address, language";

fn subscriber(row: &Row) -> Subscriber {
    Subscriber {
        id: row.text(0).to_owned(),
        epc: row.text(1).to_owned(),
        channel: row.text(2).to_owned(),
        address: row.text(3).to_owned(),
        language: row.maybe_text(4).map(str::to_owned),
    }
}

impl Store {
    /// Who wants to be told of a parcel, in the order in which they asked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn subscribers(&self, epc: &str) -> Result<Vec<Subscriber>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM subscriber WHERE epc = $1 ORDER BY made_at, id");
        let rows = self.read(Statement::new(sql, [epc.into()])).await?;
        Ok(rows.iter().map(subscriber).collect())
    }
}
