//! Changes of parcels → people who asked to be told: letters and webhooks, each kind once.

use super::Shared;
use super::store::StoreError;
use super::view::parcel::AlertView;

/// What somebody who wants to be told gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// `email` or `webhook`.
    pub channel: String,
    /// An address or a URL.
    pub address: String,
    /// BCP 47; the parcel's if absent.
    pub language: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// Nobody has this token, or its page has expired.
    Unknown,
    /// The address or channel cannot be used: what, and the remedy.
    Wrong(String),
    /// A parcel has so many subscribers at most.
    TooMany,
    /// It is known, now or since before.
    Taken(AlertView),
}

/// Somebody wants to be told of the parcel with this token.
///
/// # Errors
/// [`StoreError`].
pub async fn subscribe(
    shared: &Shared,
    token: &str,
    subscription: &Subscription,
) -> Result<Subscribed, StoreError> {
    let _ = (shared, token, subscription);
    Ok(Subscribed::Unknown)
}

/// Ends a subscription of the parcel with this token; whether there was one.
///
/// # Errors
/// [`StoreError`].
pub async fn unsubscribe(shared: &Shared, token: &str, id: &str) -> Result<bool, StoreError> {
    let _ = (shared, token, id);
    Ok(false)
}
