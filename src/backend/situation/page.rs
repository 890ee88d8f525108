//! A customer's page: what is known of one parcel, and a wish.

use std::sync::Arc;
use std::time::Duration;

use super::driven;
use crate::backend::live::Change;
use crate::backend::store::commands::{self, Command};
use crate::backend::store::parcels::{self, Parcel};
use crate::backend::store::{StoreError, subscribers};
use crate::backend::view::fact::Fact;
use crate::backend::view::known::{KnownCommand, KnownParcel};
use crate::backend::view::page::{self, Inputs, OnRoute};
use crate::backend::view::parcel::{AlertView, ParcelView, Wish};
use crate::backend::view::wish::{self, Stand};
use crate::backend::{Shared, octets};
use crate::units::UtcTime;

/// A route without an end is over after so long.
const LONGEST: Duration = Duration::from_hours(24);

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
    /// The parcel's URI, as in [`Change::Parcels`].
    pub epc: String,
    /// Its route.
    pub route: Option<String>,
    /// The van of that route.
    pub van: Option<String>,
    /// When time alone changes what is seen, at the soonest: a fix becomes too old, the page expires.
    pub changes_at: Option<UtcTime>,
    /// When the newest of what is known of the route and its van was true.
    pub known_at: Option<UtcTime>,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Nobody has this token.
    Unknown,
    /// The page has expired.
    Gone,
    /// It is too late: why, as in [`Manage::closed_because`](crate::backend::view::parcel::Manage).
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
    let Some(parcel) = shared.store.parcel_by_token(token).await? else {
        return Ok(Found::Unknown);
    };
    if is_gone(&parcel, shared.now()) {
        return Ok(Found::Gone);
    }
    Ok(Found::Page(Box::new(page_of(shared, &parcel).await?)))
}

/// The page of a parcel, whether or not it has expired.
///
/// # Errors
/// [`StoreError`].
pub async fn page_of(shared: &Shared, parcel: &Parcel) -> Result<Page, StoreError> {
    let store = &shared.store;
    let driven = async {
        match &parcel.route {
            Some(route) => driven(shared, route).await,
            None => Ok(None),
        }
    };
    let (events, driven, commands, alerts) = tokio::try_join!(
        store.events_of_epc(&parcel.epc),
        driven,
        store.commands_of_epc(&parcel.epc, 8),
        store.subscribers(&parcel.epc),
    )?;
    let facts: Vec<Fact> = events.iter().map(Fact::of).collect();
    let alerts = alerts.iter().map(subscribers::Subscriber::view).collect();
    let known = known(parcel, &commands, alerts);
    let on_route = driven.as_ref().map(|driven| OnRoute {
        route: &driven.route,
        progress: &driven.progress,
        van: &driven.van,
    });
    let now = shared.now();
    let inputs =
        Inputs { parcel: &known, facts: &facts, on_route, rule: &shared.config.exposure, now };
    let view = page::parcel(&inputs);
    Ok(Page {
        changes_at: page::changes_at(&view, &inputs),
        known_at: on_route.and_then(|on| page::known_at(&on)),
        view,
        epc: parcel.epc.clone(),
        route: parcel.route.clone(),
        van: driven.as_ref().map(|driven| driven.route.van.clone()),
    })
}

/// A row, as views see it.
pub(super) fn known(parcel: &Parcel, commands: &[Command], alerts: Vec<AlertView>) -> KnownParcel {
    let asked = parcel.preferences.as_deref().and_then(|wish| serde_json::from_str(wish).ok());
    let wishes = commands
        .iter()
        .find(|command| matches!(command.name.as_str(), "update_preferences" | "recall_parcel"));
    KnownParcel {
        epc: parcel.epc.clone(),
        number: parcel.number.clone(),
        stop_id: parcel.stop_id.clone(),
        gift: parcel.gift,
        language: parcel.language.clone(),
        asked,
        command: wishes.map(|command| KnownCommand {
            name: command.name.clone(),
            status: command.status.clone(),
            made_at: command.made_at,
        }),
        expires_at: parcel.expires_at,
        case_state: parcel.case_state.clone().unwrap_or_else(|| "none".to_owned()),
        case_note: parcel.case_note.clone(),
        alerts,
    }
}

/// Whether the page of a parcel has expired.
#[must_use]
pub(in crate::backend) fn is_gone(parcel: &Parcel, now: UtcTime) -> bool {
    parcel.expires_at.is_some_and(|expires| expires <= now)
}

/// Takes a recipient's wish: it is kept, and goes to the van.
///
/// # Errors
/// [`StoreError`].
pub async fn wish(shared: &Shared, token: &str, wish: &Wish) -> Result<Asked, StoreError> {
    let now = shared.now();
    let Some(parcel) = shared.store.parcel_by_token(token).await? else {
        return Ok(Asked::Unknown);
    };
    if is_gone(&parcel, now) {
        return Ok(Asked::Gone);
    }
    let wish = match wish::checked(wish, now.date()) {
        Ok(wish) => wish,
        Err(problem) => return Ok(Asked::Wrong(problem)),
    };
    let page = page_of(shared, &parcel).await?;
    let stand = Stand {
        status: page.view.status,
        on_a_route: page.van.is_some(),
        stops_away: page.view.stops_away,
    };
    if let Some(why) = wish::too_late(&wish, stand) {
        return Ok(Asked::TooLate(why));
    }
    let (Some(van), Some(route)) = (&page.van, &page.route) else {
        return Ok(Asked::TooLate(wish::NOT_ANNOUNCED));
    };
    let same = page.view.manage.asked.as_ref() == Some(&wish)
        && page.view.manage.answer.as_deref() != Some("rejected");
    if !same {
        let expires = match shared.store.revision(route).await? {
            Some(revision) => revision.span.1,
            None => now.checked_add(LONGEST).unwrap_or(now),
        };
        let id = octets::random_uuid();
        let (name, doc) = wish::command(&wish, &id, (&parcel.number, route), expires);
        let command = Command {
            epc: Some(parcel.epc.clone()),
            expires_at: Some(expires),
            ..Command::new(id, van.clone(), name.to_owned(), doc, now)
        };
        let text = serde_json::to_string(&wish).expect("texts and truths");
        let kept = vec![parcels::wish(&parcel.epc, &text), commands::insert(&command)];
        shared.store.write(kept).await?;
        shared.downlink.notify_one();
        let epcs: Arc<[String]> = Arc::new([parcel.epc.clone()]);
        shared.tell(Change::Parcels { epcs, van: None }).await;
    }
    match self::parcel(shared, token).await? {
        Found::Page(page) => Ok(Asked::Taken(page)),
        Found::Unknown => Ok(Asked::Unknown),
        Found::Gone => Ok(Asked::Gone),
    }
}
