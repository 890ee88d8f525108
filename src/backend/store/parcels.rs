//! Parcels that somebody may ask for ↔ rows. A token is made once and stays, whatever route the parcel is on.

use super::{Row, Statement, Store, StoreError, Value};
use crate::backend::epc;
use crate::units::UtcTime;

/// A parcel as somebody announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Canonical URI: what events name it by.
    pub epc: String,
    /// Its number, normalised.
    pub number: String,
    /// The secret of its page: 128 random bits, hexadecimal. Of a parcel that is put again the first one stays.
    pub token: String,
    /// Normalised ([`postcode`]); without it nobody can ask by number.
    pub postcode: Option<String>,
    /// The route that lists it.
    pub route: Option<String>,
    /// Name of its stop.
    pub stop_id: Option<String>,
    /// Number of its stop.
    pub stop_seq: Option<u32>,
    /// Nobody is shown where the van is.
    pub gift: bool,
    /// BCP 47.
    pub language: Option<String>,
    /// What the recipient asked for: JSON of a `Wish`.
    pub preferences: Option<String>,
    /// When it was announced first.
    pub put_at: UtcTime,
    /// When its way ended.
    pub ended_at: Option<UtcTime>,
    /// When its page is gone.
    pub expires_at: Option<UtcTime>,
    /// `open`, `found`, `lost`.
    pub case_state: Option<String>,
    /// When somebody said so.
    pub case_at: Option<UtcTime>,
    /// What somebody wrote to it.
    pub case_note: Option<String>,
}

const COLUMNS: &str = "epc, number, token, postcode, route, stop_id, stop_seq, gift, language, preferences, put_at, \
     ended_at, expires_at, case_state, case_at, case_note";

/// A postcode as it is compared: upper case, without spaces and hyphens.
#[must_use]
pub fn postcode(text: &str) -> String {
    let letters = text.chars().filter(|letter| !letter.is_whitespace() && *letter != '-');
    letters.flat_map(char::to_uppercase).take(16).collect()
}

/// Says when a parcel's way ended, and when its page is gone. The last word counts.
#[must_use]
pub fn end(epc: &str, ended_at: UtcTime, expires_at: UtcTime) -> Statement {
    Statement::new(
        "UPDATE parcel SET ended_at = $2, expires_at = $3 WHERE epc = $1",
        [epc.into(), ended_at.into(), expires_at.into()],
    )
}

/// Keeps what the recipient asked for: JSON of a `Wish`.
#[must_use]
pub fn wish(epc: &str, wish: &str) -> Statement {
    Statement::new("UPDATE parcel SET preferences = $2 WHERE epc = $1", [epc.into(), wish.into()])
}

/// Keeps what is known of a case.
#[must_use]
pub fn case(epc: &str, state: &str, note: Option<&str>, at: UtcTime) -> Statement {
    Statement::new(
        "UPDATE parcel SET case_state = $2, case_note = $3, case_at = $4 WHERE epc = $1",
        [epc.into(), state.into(), note.into(), at.into()],
    )
}

/// Keeps a parcel of a route if the revision that lists it is the one that is there: see [`super::routes`].
///
/// On another route than before its way begins again.
pub(super) fn of_route(parcel: &Parcel, route: &[Value; 3]) -> Statement {
    let [name, rev, digest] = route.clone();
    Statement::new(
        "INSERT INTO parcel (epc, number, token, postcode, route, rev, stop_id, stop_seq, gift, language, put_at) \
         SELECT $1, $2, $3, $4, route.route, route.rev, $5, CAST($6 AS BIGINT), CAST($7 AS BIGINT), $8, \
         CAST($9 AS BIGINT) FROM route WHERE route.route = $10 AND route.rev = $11 AND route.digest = $12 \
         ON CONFLICT (epc) DO UPDATE SET number = excluded.number, \
         postcode = COALESCE(excluded.postcode, parcel.postcode), route = excluded.route, rev = excluded.rev, \
         stop_id = excluded.stop_id, stop_seq = excluded.stop_seq, gift = excluded.gift, \
         language = COALESCE(excluded.language, parcel.language), \
         ended_at = CASE WHEN parcel.route = excluded.route THEN parcel.ended_at END, \
         expires_at = CASE WHEN parcel.route = excluded.route THEN parcel.expires_at END",
        [
            parcel.epc.as_str().into(),
            parcel.number.as_str().into(),
            parcel.token.as_str().into(),
            parcel.postcode.as_deref().into(),
            parcel.stop_id.as_deref().into(),
            parcel.stop_seq.into(),
            parcel.gift.into(),
            parcel.language.as_deref().into(),
            parcel.put_at.into(),
            name,
            rev,
            digest,
        ],
    )
}

/// Takes off a route what none of its later revisions lists.
pub(super) fn off_route(route: &[Value; 3]) -> Statement {
    Statement::new(
        "UPDATE parcel SET route = NULL, stop_id = NULL, stop_seq = NULL WHERE route = $1 AND rev < $2 \
         AND EXISTS (SELECT 1 FROM route WHERE route.route = $1 AND route.rev = $2 AND route.digest = $3)",
        route.clone(),
    )
}

/// Takes everything off the routes of a van that were withdrawn.
pub(super) fn off_withdrawn(van: &str) -> Statement {
    Statement::new(
        "UPDATE parcel SET route = NULL, stop_id = NULL, stop_seq = NULL \
         WHERE route IN (SELECT route.route FROM route WHERE route.van = $1 AND route.withdrawn = 1)",
        [van.into()],
    )
}

fn parcel(row: &Row) -> Parcel {
    let text = |column| row.maybe_text(column).map(str::to_owned);
    Parcel {
        epc: row.text(0).to_owned(),
        number: row.text(1).to_owned(),
        token: row.text(2).to_owned(),
        postcode: text(3),
        route: text(4),
        stop_id: text(5),
        stop_seq: row.maybe_int(6).and_then(|seq| u32::try_from(seq).ok()),
        gift: row.int(7) != 0,
        language: text(8),
        preferences: text(9),
        put_at: row.utc(10),
        ended_at: row.maybe_utc(11),
        expires_at: row.maybe_utc(12),
        case_state: text(13),
        case_at: row.maybe_utc(14),
        case_note: text(15),
    }
}

impl Store {
    /// The parcel with this canonical URI.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn parcel(&self, epc: &str) -> Result<Option<Parcel>, StoreError> {
        self.parcels("WHERE epc = $1", vec![epc.into()]).await.map(|mut found| found.pop())
    }

    /// The parcel of a page.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn parcel_by_token(&self, token: &str) -> Result<Option<Parcel>, StoreError> {
        self.parcels("WHERE token = $1", vec![token.into()]).await.map(|mut found| found.pop())
    }

    /// Parcels that people may mean by `number`, as they type it: those of that number first, then those that it may
    /// stand for. `domain` is that of URIs of numbers that are not GS1's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn parcels_called(
        &self,
        number: &str,
        domain: &str,
    ) -> Result<Vec<Parcel>, StoreError> {
        const CANDIDATES: usize = 4;
        let key = epc::number(number);
        let mut values: Vec<Value> = vec![key.as_str().into()];
        let candidates = epc::of_number(number, domain);
        // Always as many places, so that it is one text to prepare, and as much work whatever the number.
        for index in 0..CANDIDATES {
            values.push(candidates.get(index).map_or("", String::as_str).into());
        }
        let mut found = self
            .parcels("WHERE number = $1 OR epc IN ($2, $3, $4, $5) ORDER BY put_at DESC", values)
            .await?;
        found.sort_by_key(|parcel| parcel.number != key);
        Ok(found)
    }

    /// What a route lists, in the order of stops.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn parcels_of_route(&self, route: &str) -> Result<Vec<Parcel>, StoreError> {
        self.parcels("WHERE route = $1 ORDER BY stop_seq, number", vec![route.into()]).await
    }

    async fn parcels(
        &self,
        which: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Parcel>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM parcel {which} LIMIT 10000");
        Ok(self.read(Statement::new(sql, values)).await?.iter().map(parcel).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postcode_is_compared_however_people_write_it() {
        for (text, expected) in
            [(" sw1a 1aa", "SW1A1AA"), ("80331", "80331"), ("1234-567", "1234567"), ("", "")]
        {
            assert_eq!(postcode(text), expected);
        }
        assert_eq!(postcode(&"x".repeat(1000)).len(), 16);
    }
}
