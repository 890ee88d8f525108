//! Announced parcels. A parcel's token is created once and stays the same on every route.

use super::{Row, Statement, Store, StoreError, Value};
use crate::epc;
use waypost_model::units::UtcTime;

/// An announced parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Canonical URI, used in events.
    pub epc: String,
    /// Normalized number.
    pub number: String,
    /// Secret of the tracking page: 128 random bits, hexadecimal. A parcel that is stored again
    /// keeps its first one.
    pub token: String,
    /// Normalized by `normalize_postcode`; without it a lookup by number is impossible.
    pub postcode: Option<String>,
    /// Route that lists it.
    pub route: Option<String>,
    /// Name of its stop.
    pub stop_id: Option<String>,
    /// Number of its stop.
    pub stop_seq: Option<u32>,
    /// Whether the van's position is hidden from the recipient.
    pub gift: bool,
    /// Language tag (BCP 47).
    pub language: Option<String>,
    /// Delivery preferences of the recipient, JSON of a `DeliveryPreference`.
    pub preferences: Option<String>,
    /// Time of the first announcement.
    pub put_at: UtcTime,
    /// Time of the delivery or return.
    pub ended_at: Option<UtcTime>,
    /// Expiry of the tracking page.
    pub expires_at: Option<UtcTime>,
    /// `open`, `found`, `lost`.
    pub case_state: Option<String>,
    /// Time of the last change of the case.
    pub case_at: Option<UtcTime>,
    /// Note of the dispatcher.
    pub case_note: Option<String>,
}

const COLUMNS: &str = "epc, number, token, postcode, route, stop_id, stop_seq, gift, language, preferences, put_at, \
     ended_at, expires_at, case_state, case_at, case_note";

/// Country codes that people write before a postcode: ISO 3166-1, and the distinguishing signs of
/// road vehicles.
const POSTCODE_COUNTRIES: &[&str] = &[
    "A", "AT", "B", "BE", "BG", "CH", "CY", "CZ", "D", "DE", "DK", "E", "EE", "EL", "ES", "F",
    "FI", "FIN", "FL", "FR", "GR", "H", "HR", "HU", "I", "IT", "L", "LI", "LT", "LU", "LV", "N",
    "NL", "NO", "P", "PL", "PT", "RO", "S", "SE", "SI", "SK", "SLO", "US", "USA",
];

/// Number of digits of a ZIP code; the four digits after it name a block (ZIP+4).
const ZIP_DIGITS: usize = 5;

/// Normalizes a postcode for comparison: upper case, without spaces and hyphens, without the
/// country before a postcode of digits, and without the block of a ZIP+4 code.
#[must_use]
pub fn normalize_postcode(text: &str) -> String {
    let mut code = epc::number_key(text);
    let letters = code.len() - code.trim_start_matches(|c: char| c.is_ascii_uppercase()).len();
    let digits = &code[letters..];
    let is_number = digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && POSTCODE_COUNTRIES.contains(&&code[..letters]) {
        code.drain(..letters);
    }
    if code.len() == ZIP_DIGITS + 4 && code.bytes().all(|byte| byte.is_ascii_digit()) {
        code.truncate(ZIP_DIGITS);
    }
    code.chars().take(16).collect()
}

/// Statement that sets the end of a parcel's delivery and the expiry of its page. The last one
/// wins.
#[must_use]
pub fn set_ended(epc: &str, ended_at: UtcTime, expires_at: UtcTime) -> Statement {
    Statement::new(
        "UPDATE parcel SET ended_at = $2, expires_at = $3 WHERE epc = $1",
        [epc.into(), ended_at.into(), expires_at.into()],
    )
}

/// Statement that stores delivery preferences, JSON of a `DeliveryPreference`; `None` withdraws
/// them.
#[must_use]
pub fn set_preferences(epc: &str, wish: Option<&str>) -> Statement {
    Statement::new("UPDATE parcel SET preferences = $2 WHERE epc = $1", [epc.into(), wish.into()])
}

/// Statement that stores the state of a case.
#[must_use]
pub fn set_case(epc: &str, state: &str, note: Option<&str>, at: UtcTime) -> Statement {
    Statement::new(
        "UPDATE parcel SET case_state = $2, case_note = $3, case_at = $4 WHERE epc = $1",
        [epc.into(), state.into(), note.into(), at.into()],
    )
}

/// Statement that stores a parcel if the listing revision is the stored one; see [`super::routes`].
///
/// On a different route than before, its delivery starts again.
pub(super) fn upsert_for_route(parcel: &Parcel, route: &[Value; 3]) -> Statement {
    let [name, rev, digest] = route.clone();
    Statement::new(
        "INSERT INTO parcel (epc, number, token, postcode, route, rev, stop_id, stop_seq, gift, language, put_at, number_key) \
         SELECT $1, $2, $3, $4, route.route, route.rev, $5, CAST($6 AS BIGINT), CAST($7 AS BIGINT), $8, \
         CAST($9 AS BIGINT), $13 FROM route WHERE route.route = $10 AND route.rev = $11 AND route.digest = $12 \
         ON CONFLICT (epc) DO UPDATE SET number = excluded.number, number_key = excluded.number_key, \
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
            epc::number_key(&parcel.number).into(),
        ],
    )
}

/// Statement that unlinks parcels which the current revision of a route no longer lists.
pub(super) fn unlink_from_route(route: &[Value; 3]) -> Statement {
    Statement::new(
        "UPDATE parcel SET route = NULL, stop_id = NULL, stop_seq = NULL WHERE route = $1 AND rev < $2 \
         AND EXISTS (SELECT 1 FROM route WHERE route.route = $1 AND route.rev = $2 AND route.digest = $3)",
        route.clone(),
    )
}

/// Statement that unlinks all parcels from a van's withdrawn routes.
pub(super) fn unlink_from_withdrawn(van: &str) -> Statement {
    Statement::new(
        "UPDATE parcel SET route = NULL, stop_id = NULL, stop_seq = NULL \
         WHERE route IN (SELECT route.route FROM route WHERE route.van = $1 AND route.withdrawn = 1)",
        [van.into()],
    )
}

fn parcel_from_row(row: &Row) -> Parcel {
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
    pub async fn parcel(&self, epc: &str) -> Result<Option<Parcel>, StoreError> {
        self.select_parcels("WHERE epc = $1", vec![epc.into()]).await.map(|mut found| found.pop())
    }

    /// The parcel of a tracking page.
    pub async fn parcel_by_token(&self, token: &str) -> Result<Option<Parcel>, StoreError> {
        self.select_parcels("WHERE token = $1", vec![token.into()])
            .await
            .map(|mut found| found.pop())
    }

    /// Parcels that a typed `number` may mean: exact matches first, then other interpretations.
    /// `domain` forms the URIs of numbers that are not GS1's.
    pub async fn find_parcels(
        &self,
        number: &str,
        domain: &str,
    ) -> Result<Vec<Parcel>, StoreError> {
        const MAX_CANDIDATES: usize = 8;
        let exact = epc::normalize_number(number);
        let mut values: Vec<Value> = vec![exact.as_str().into(), epc::number_key(number).into()];
        let mut candidates = epc::uris_for_number(number, domain);
        if number.contains("://") {
            candidates.insert(0, epc::canonical(number));
        }
        // A fixed number of placeholders: one prepared text, and the same work for every number.
        for index in 0..MAX_CANDIDATES {
            values.push(candidates.get(index).map_or("", String::as_str).into());
        }
        let mut found = self
            .select_parcels(
                "WHERE number = $1 OR number_key = $2 OR epc IN ($3, $4, $5, $6, $7, $8, $9, $10) \
                 ORDER BY put_at DESC",
                values,
            )
            .await?;
        found.sort_by_key(|parcel| parcel.number != exact);
        Ok(found)
    }

    /// Parcels on a route, in the order of stops.
    pub async fn parcels_for_route(&self, route: &str) -> Result<Vec<Parcel>, StoreError> {
        self.select_parcels("WHERE route = $1 ORDER BY stop_seq, number", vec![route.into()]).await
    }

    async fn select_parcels(
        &self,
        which: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Parcel>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM parcel {which} LIMIT 10000");
        Ok(self.read(Statement::new(sql, values)).await?.iter().map(parcel_from_row).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postcode_is_compared_however_people_write_it() {
        for (text, expected) in [
            (" sw1a 1aa", "SW1A1AA"),
            ("80331", "80331"),
            ("D-80331", "80331"),
            ("de 80331", "80331"),
            ("８０３３１", "80331"),
            ("L-1234", "1234"),
            ("CH-8001", "8001"),
            ("1234-567", "1234567"),
            ("12345-6789", "12345"),
            ("12345 6789", "12345"),
            ("US 12345-6789", "12345"),
            ("1012 AB", "1012AB"),
            ("D02 X285", "D02X285"),
            ("AD500", "AD500"),
            ("VLT 1117", "VLT1117"),
            ("D-123", "D123"),
            ("", ""),
        ] {
            assert_eq!(normalize_postcode(text), expected);
        }
        assert_eq!(normalize_postcode(&"x".repeat(1000)).len(), 16);
    }
}
