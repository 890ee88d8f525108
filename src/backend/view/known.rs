//! What the store and the newest messages say → the inputs of all views. Nothing here was judged yet.

use std::sync::Arc;

use super::fact::Fact;
use super::parcel::{AlertView, Wish};
use crate::core::delivery::manifest::{Manifest, Stop};
use crate::units::UtcTime;
use crate::wire::json::{ConnectionState, Position, State};

/// A parcel as it was announced, and what people asked of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownParcel {
    /// Its URI.
    pub epc: String,
    /// Its number, as it was announced.
    pub number: String,
    /// The name of its stop on the route.
    pub stop_id: Option<String>,
    /// Whether the recipient must not know where it comes from, and so not where the van is.
    pub gift: bool,
    /// BCP 47.
    pub language: Option<String>,
    /// What the recipient asked for.
    pub asked: Option<Wish>,
    /// The command that carries it to the van.
    pub command: Option<KnownCommand>,
    /// When its page goes.
    pub expires_at: Option<UtcTime>,
    /// `none`, `open`, `found`, `lost`.
    pub case_state: String,
    /// What somebody wrote to it.
    pub case_note: Option<String>,
    /// Who is told of it.
    pub alerts: Vec<AlertView>,
}

/// A command to a van about a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCommand {
    /// `update_preferences` and the like.
    pub name: String,
    /// `waiting`, `sent`, or what the van answered.
    pub status: String,
    /// When it was asked for.
    pub made_at: UtcTime,
}

/// A route as it was put.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownRoute {
    /// Whose it is.
    pub van: String,
    /// Stops and parcels.
    pub manifest: Arc<Manifest>,
    /// Canonical URI of each parcel of each stop, in the order of [`Manifest::stops`].
    pub epcs: Arc<Vec<Vec<String>>>,
    /// When this revision was put.
    pub put_at: UtcTime,
    /// Whether it was taken back.
    pub withdrawn: bool,
    /// What its van said of it, as of [`Fact::of_route`]: in any order, any number of times.
    pub facts: Arc<Vec<Fact>>,
}

impl KnownRoute {
    /// A route, with the URIs that its parcels have under `domain`.
    #[must_use]
    pub fn new(van: &str, manifest: Manifest, put_at: UtcTime, domain: &str) -> Self {
        let epcs = manifest.stops.iter().map(|stop| epcs_of(stop, domain)).collect();
        Self {
            van: van.to_owned(),
            manifest: Arc::new(manifest),
            epcs: Arc::new(epcs),
            put_at,
            withdrawn: false,
            facts: Arc::default(),
        }
    }

    /// The index of the stop where a parcel is due.
    #[must_use]
    pub fn stop_of(&self, epc: &str) -> Option<usize> {
        self.epcs.iter().position(|epcs| epcs.iter().any(|one| one == epc))
    }
}

fn epcs_of(stop: &Stop, domain: &str) -> Vec<String> {
    stop.parcels.iter().map(|listed| crate::backend::epc::of_listed(listed, domain)).collect()
}

/// What a van says of itself now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownVan {
    /// Its id.
    pub van: String,
    /// Its newest position.
    pub position: Option<Arc<Position>>,
    /// Where it last was under way before it stood: what is shown while it stands at somebody's door.
    pub driving: Option<Moment>,
    /// Its newest state.
    pub state: Option<State>,
    /// Whether it is connected.
    pub connection: Option<ConnectionState>,
    /// The domain that it names things with, if that is not ours.
    pub other_domain: Option<String>,
    /// When anything of it last came.
    pub heard_at: Option<UtcTime>,
}

/// A place and when the van was there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// When.
    pub time: UtcTime,
    /// Where.
    pub position: crate::units::Position,
}
