//! Queries of the tracking page: the parcel, and delivery preferences.

use std::sync::Arc;
use std::time::Duration;

use super::load_route_with_van;
use crate::change_feed::Change;
use crate::event::Origin;
use crate::store::commands::{self, Command};
use crate::store::parcels::{self, Parcel};
use crate::store::{StoreError, subscribers};
use crate::tracking::delivery_preferences::{self, PreferenceContext};
use crate::tracking::inputs::{CommandInput, ParcelInput};
use crate::tracking::parcel::{DeliveryPreference, ParcelView, SubscriptionView};
use crate::tracking::tracking_event::TrackingEvent;
use crate::tracking::tracking_page::{self, PageInput, RouteContext};
use crate::{AppState, octets};
use waypost_model::units::UtcTime;

/// Assumed duration of a route without an end.
const MAX_ROUTE_DURATION: Duration = Duration::from_hours(24);

/// Result of looking up a tracking link.
#[derive(Clone, Debug, PartialEq)]
pub enum TrackingPageResult {
    /// The token is unknown.
    Unknown,
    /// The page has expired.
    Expired,
    Page(Box<TrackingPage>),
}

/// A tracking page and its dependencies.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackingPage {
    /// Content of the page.
    pub view: ParcelView,
    /// URI of the parcel, as in [`Change::Parcels`].
    pub epc: String,
    pub route: Option<String>,
    /// Van of the route.
    pub van: Option<String>,
    /// Earliest time at which the content changes without an event: the fix becomes too old, or the
    /// page expires.
    pub next_change_at: Option<UtcTime>,
    /// Time of the newest information about route and van.
    pub data_as_of: Option<UtcTime>,
    /// Event that the status is derived from.
    pub milestone: Option<Milestone>,
    /// `eventID`s of the parcel's retracted events.
    pub retracted: Vec<String>,
    /// Time zone of the route (IANA), if it names one.
    pub time_zone: Option<String>,
    /// Offset of the route from UTC in minutes, if it has one.
    pub utc_offset_min: Option<i16>,
}

/// The event that a parcel's status is derived from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Milestone {
    /// Time of the event.
    pub at: UtcTime,
    /// EPCIS `eventID`.
    pub event_id: String,
    /// Event kind, such as `parcel.delivered`; empty for events of other parties.
    pub event_kind: String,
    /// Reason of an attempt, a return or a damage.
    pub reason: Option<String>,
}

/// Result of setting delivery preferences.
#[derive(Clone, Debug, PartialEq)]
pub enum PreferenceResult {
    /// The token is unknown.
    Unknown,
    /// The page has expired.
    Expired,
    /// The change is too late: the reason, as in
    /// [`Manage::closed_because`](crate::tracking::parcel::PreferenceState).
    TooLate(&'static str),
    /// The preferences are invalid: place, value and remedy.
    Invalid(String),
    /// The preferences were stored: the updated page.
    Accepted(Box<TrackingPage>),
}

/// Returns the tracking page of a token.
pub async fn page_by_token(
    shared: &AppState,
    token: &str,
) -> Result<TrackingPageResult, StoreError> {
    let Some(parcel) = shared.store.parcel_by_token(token).await? else {
        return Ok(TrackingPageResult::Unknown);
    };
    if is_expired(&parcel, shared.now()) {
        return Ok(TrackingPageResult::Expired);
    }
    Ok(TrackingPageResult::Page(Box::new(page_for_parcel(shared, &parcel).await?)))
}

/// Returns the page of a parcel, expired or not.
pub async fn page_for_parcel(
    shared: &AppState,
    parcel: &Parcel,
) -> Result<TrackingPage, StoreError> {
    let store = &shared.store;
    let driven = async {
        match &parcel.route {
            Some(route) => load_route_with_van(shared, route).await,
            None => Ok(None),
        }
    };
    let (events, vans, driven, commands, alerts) = tokio::try_join!(
        store.events_for_epc(&parcel.epc),
        store.assigned_vans(&parcel.epc),
        driven,
        store.commands_for_epc(&parcel.epc, 8),
        store.subscribers(&parcel.epc),
    )?;
    let facts: Vec<TrackingEvent> =
        events.iter().map(|event| TrackingEvent::from_parcel_event(event, &vans)).collect();
    let alerts = alerts.iter().map(subscribers::Subscriber::view).collect();
    let known = parcel_input(parcel, &commands, alerts);
    let route_context = driven.as_ref().map(|driven| RouteContext {
        route: &driven.route,
        progress: &driven.progress,
        van: &driven.van,
    });
    let now = shared.now();
    let inputs = PageInput {
        parcel: &known,
        events: &facts,
        route_context,
        policy: &shared.config.visibility,
        now,
    };
    let view = tracking_page::tracking_page(&inputs);
    let milestone = tracking_page::milestone(&inputs).map(|fact| Milestone {
        at: fact.time,
        event_id: fact.event_id.clone(),
        event_kind: match fact.origin {
            Origin::Van | Origin::Backend => fact.kind.clone(),
            Origin::Capture | Origin::Import => String::new(),
        },
        reason: fact.details.reason.clone(),
    });
    let retractions = facts.iter().filter(|fact| fact.retracted_at.is_some());
    Ok(TrackingPage {
        milestone,
        retracted: retractions.map(|fact| fact.event_id.clone()).collect(),
        time_zone: driven.as_ref().and_then(|driven| driven.route.time_zone.clone()),
        utc_offset_min: driven.as_ref().and_then(|driven| driven.route.manifest.utc_offset_min),
        next_change_at: tracking_page::next_change_at(&view, &inputs),
        data_as_of: route_context.and_then(|on| tracking_page::data_as_of(&on)),
        view,
        epc: parcel.epc.clone(),
        route: parcel.route.clone(),
        van: driven.as_ref().map(|driven| driven.route.van.clone()),
    })
}

/// Converts a row to the input of the views.
pub(super) fn parcel_input(
    parcel: &Parcel,
    commands: &[Command],
    alerts: Vec<SubscriptionView>,
) -> ParcelInput {
    let asked = parcel.preferences.as_deref().and_then(|wish| serde_json::from_str(wish).ok());
    let wishes = commands
        .iter()
        .find(|command| matches!(command.name.as_str(), "set_preferences" | "recall_parcel"));
    ParcelInput {
        epc: parcel.epc.clone(),
        number: parcel.number.clone(),
        stop_id: parcel.stop_id.clone(),
        gift: parcel.gift,
        language: parcel.language.clone(),
        preferences: asked,
        command: wishes.map(|command| CommandInput {
            name: command.name.clone(),
            status: command.status.clone(),
            made_at: command.made_at,
            withdraws: withdraws(&command.doc),
        }),
        expires_at: parcel.expires_at,
        case_state: parcel.case_state.clone().unwrap_or_else(|| "none".to_owned()),
        case_note: parcel.case_note.clone(),
        alerts,
    }
}

/// Whether a command for the van has an empty set of preferences.
fn withdraws(doc: &str) -> bool {
    let doc: serde_json::Value = serde_json::from_str(doc).unwrap_or_default();
    doc["args"]["preferences"].as_object().is_some_and(serde_json::Map::is_empty)
}

#[must_use]
pub(crate) fn is_expired(parcel: &Parcel, now: UtcTime) -> bool {
    parcel.expires_at.is_some_and(|expires| expires <= now)
}

/// Stores a recipient's delivery preferences and sends them to the van.
pub async fn set_preferences(
    shared: &AppState,
    token: &str,
    wish: &DeliveryPreference,
) -> Result<PreferenceResult, StoreError> {
    let now = shared.now();
    let Some(parcel) = shared.store.parcel_by_token(token).await? else {
        return Ok(PreferenceResult::Unknown);
    };
    if is_expired(&parcel, now) {
        return Ok(PreferenceResult::Expired);
    }
    let wish = match delivery_preferences::validate(wish, now.date()) {
        Ok(wish) => wish,
        Err(problem) => return Ok(PreferenceResult::Invalid(problem)),
    };
    let page = page_for_parcel(shared, &parcel).await?;
    let stand = PreferenceContext {
        status: page.view.status,
        on_a_route: page.van.is_some(),
        stops_away: page.view.stops_away,
    };
    if let Some(why) =
        delivery_preferences::rejection_reason(&wish, stand, page.view.manage.asked.as_ref())
    {
        return Ok(PreferenceResult::TooLate(why));
    }
    let (Some(van), Some(route)) = (&page.van, &page.route) else {
        return Ok(PreferenceResult::TooLate(delivery_preferences::NOT_ANNOUNCED));
    };
    let withdraws = wish == DeliveryPreference::default();
    let same = if withdraws {
        page.view.manage.asked.is_none()
    } else {
        page.view.manage.asked.as_ref() == Some(&wish)
            && page.view.manage.answer.as_deref() != Some("rejected")
    };
    if !same {
        let expires = match shared.store.revision(route).await? {
            Some(revision) => revision.span.1,
            None => now.checked_add(MAX_ROUTE_DURATION).unwrap_or(now),
        };
        let id = octets::random_uuid();
        let (name, doc) =
            delivery_preferences::command(&wish, &id, (&parcel.number, route), expires);
        let command = Command {
            epc: Some(parcel.epc.clone()),
            expires_at: Some(expires),
            ..Command::new(id, van.clone(), name.to_owned(), doc, now)
        };
        let text = serde_json::to_string(&wish).expect("texts and booleans serialize");
        let text = (!withdraws).then_some(text.as_str());
        let kept = vec![parcels::set_preferences(&parcel.epc, text), commands::insert(&command)];
        shared.store.write(kept).await?;
        shared.downlink.notify_one();
        let epcs: Arc<[String]> = Arc::new([parcel.epc.clone()]);
        shared.publish_change(Change::Parcels { epcs, van: None }).await;
    }
    match page_by_token(shared, token).await? {
        TrackingPageResult::Page(page) => Ok(PreferenceResult::Accepted(page)),
        TrackingPageResult::Unknown => Ok(PreferenceResult::Unknown),
        TrackingPageResult::Expired => Ok(PreferenceResult::Expired),
    }
}
