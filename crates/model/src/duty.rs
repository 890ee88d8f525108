//! Driver duty.

use serde::{Deserialize, Serialize};

/// Duty status of the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// On duty: fixes are stored and sent.
    #[default]
    On,
    /// Off duty: nothing is stored.
    Off,
    /// On a break: nothing is stored.
    Break,
}

impl Duty {
    /// Returns the value as in the MQTT contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Break => "break",
        }
    }

    /// Parses the value as in the MQTT contract, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::On, Self::Off, Self::Break]
            .into_iter()
            .find(|duty| duty.as_str().eq_ignore_ascii_case(text))
    }
}
