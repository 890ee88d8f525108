//! Store and newest positions → the inputs of [`view`](super::view) → what somebody sees.
//!
//! - A view is a few questions by key. A route's events are read once by each instance, and then only what is new.
//! - Nothing is decided here: whoever may see what is the rule of [`view`](super::view).

use crate::backend::Shared;
use crate::backend::store::StoreError;
use crate::backend::view::desk::{DayView, TraceView, VanView};
use crate::backend::view::parcel::{ParcelView, Wish};
use crate::units::UtcTime;

/// What a link leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Nobody has this token.
    Unknown,
    /// The page has expired.
    Gone,
    /// The page.
    Page(Box<Page>),
}

/// A parcel's page, and what changes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// What is seen.
    pub view: ParcelView,
    /// The parcel's URI, as in [`Change::Parcels`](super::live::Change).
    pub epc: String,
    /// Its route.
    pub route: Option<String>,
    /// The van of that route.
    pub van: Option<String>,
    /// When time alone changes what is seen, at the soonest: a fix becomes too old, the page expires.
    pub changes_at: Option<UtcTime>,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Nobody has this token.
    Unknown,
    /// The page has expired.
    Gone,
    /// It is too late: why, as in [`Manage::closed_because`](super::view::parcel::Manage).
    TooLate(&'static str),
    /// The wish cannot be taken as it is: place, value and remedy.
    Wrong(String),
    /// It was taken: the page as it is now.
    Taken(Box<Page>),
}

/// The page of a token.
///
/// # Errors
/// [`StoreError`].
pub async fn parcel(shared: &Shared, token: &str) -> Result<Found, StoreError> {
    let _ = (shared, token);
    Ok(Found::Unknown)
}

/// Takes a recipient's wish: it is kept, and goes to the van.
///
/// # Errors
/// [`StoreError`].
pub async fn wish(shared: &Shared, token: &str, wish: &Wish) -> Result<Asked, StoreError> {
    let _ = (shared, token, wish);
    Ok(Asked::Unknown)
}

/// A van now; `None` if nobody has heard of it.
///
/// # Errors
/// [`StoreError`].
pub async fn van(shared: &Shared, van: &str) -> Result<Option<VanView>, StoreError> {
    let _ = (shared, van);
    Ok(None)
}

/// All vans, in the order of their ids.
///
/// # Errors
/// [`StoreError`].
pub async fn vans(shared: &Shared) -> Result<Vec<VanView>, StoreError> {
    let _ = shared;
    Ok(Vec::new())
}

/// What a van did from `from` to `until`; `None` if nobody has heard of it.
///
/// # Errors
/// [`StoreError`].
pub async fn day(
    shared: &Shared,
    van: &str,
    from: UtcTime,
    until: UtcTime,
) -> Result<Option<DayView>, StoreError> {
    let _ = (shared, van, from, until);
    Ok(None)
}

/// Everything about the parcel with this number, as people type it; `None` if nobody has heard of it.
///
/// # Errors
/// [`StoreError`].
pub async fn trace(shared: &Shared, number: &str) -> Result<Option<TraceView>, StoreError> {
    let _ = (shared, number);
    Ok(None)
}
