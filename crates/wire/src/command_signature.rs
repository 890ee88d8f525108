//! Signed commands: verifies the envelope on the topic `cmd` against the van's public key.
//!
//! The signature covers the van id, so that a command for one van is invalid for another. Replay
//! and delay are handled as for all commands, by id and `expires`.

use std::borrow::Cow;

use ring::signature::{ED25519, ED25519_PUBLIC_KEY_LEN, UnparsedPublicKey};
use serde::Deserialize;

use super::command::MAX_BYTES;
use super::{VERSION, VanId, base64};

/// Prefix of the signed bytes. It prevents the reuse of signatures made for another purpose.
const PURPOSE: &str = "waypost cmd v1";

/// `SubjectPublicKeyInfo` prefix of an Ed25519 key (RFC 8410 §4), before the key bytes.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Public key that the commands for a van must be signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandKey {
    key: [u8; ED25519_PUBLIC_KEY_LEN],
    van: VanId,
}

/// The key is not an Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an Ed25519 public key: run openssl genpkey -algorithm ed25519, then openssl pkey -pubout"
)]
pub struct NotEd25519;

/// Reason why a command is not accepted as signed. No result is sent, since an unsigned id cannot
/// be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The payload is not a valid envelope.
    #[error("not a signed command: {0}; send the envelope described in docs/mqtt-contract.md")]
    Envelope(String),
    /// The signature does not match.
    #[error("not signed for this van with the private key that belongs to mqtt.command_key")]
    Signature,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    v: u64,
    #[serde(borrow)]
    signed: Cow<'a, str>,
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

impl CommandKey {
    /// Reads the key from a `SubjectPublicKeyInfo`, for commands to `van`.
    ///
    /// # Errors
    /// Returns [`NotEd25519`] for any other kind of key.
    pub fn new(spki: &[u8], van: VanId) -> Result<Self, NotEd25519> {
        let key = spki.strip_prefix(&SPKI).and_then(|key| key.try_into().ok());
        key.map(|key| Self { key, van }).ok_or(NotEd25519)
    }

    /// Verifies the envelope and returns the signed bytes: the JSON of the command.
    ///
    /// # Errors
    /// Returns [`SignatureError`] if the envelope is malformed or the signature does not match.
    pub fn open(&self, payload: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let refuse = |problem: &str| SignatureError::Envelope(problem.to_owned());
        if payload.len() > MAX_BYTES {
            return Err(refuse("longer than 4 KiB"));
        }
        let Envelope { v, signed, sig } = serde_json::from_slice(payload)
            .map_err(|error| SignatureError::Envelope(error.to_string()))?;
        if v != u64::from(VERSION) {
            return Err(refuse("v is not 1"));
        }
        let signed = base64::decode(&signed).ok_or_else(|| refuse("signed is not base64"))?;
        let sig = base64::decode(&sig).ok_or_else(|| refuse("sig is not base64"))?;
        let message = [format!("{PURPOSE}\n{}\n", self.van).as_bytes(), &signed].concat();
        UnparsedPublicKey::new(&ED25519, self.key)
            .verify(&message, &sig)
            .map_err(|_| SignatureError::Signature)?;
        Ok(signed)
    }
}

/// Signed commands, for tests.
#[cfg(any(test, feature = "test-support"))]
#[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a test that panics has failed")]
pub mod testing {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::{CommandKey, SPKI, VanId, base64};

    #[cfg(test)]
    pub(super) const COMMAND: &[u8] =
        br#"{"v":1,"id":"0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10","cmd":"flush"}"#;

    pub(super) fn dispatcher() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    /// Returns the key of VAN-042.
    #[must_use]
    pub fn van() -> CommandKey {
        let spki = [&SPKI[..], dispatcher().public_key().as_ref()].concat();
        CommandKey::new(&spki, VanId::new("VAN-042").unwrap()).unwrap()
    }

    pub(super) fn base64url(bytes: &[u8]) -> String {
        base64::encode(bytes).replace('+', "-").replace('/', "_").replace('=', "")
    }

    pub(super) fn envelope(command: &[u8], signed: &[u8]) -> String {
        let sig = dispatcher().sign(signed);
        let (command, sig) = (base64url(command), base64url(sig.as_ref()));
        format!(r#"{{"v":1,"signed":"{command}","sig":"{sig}"}}"#)
    }

    /// Returns a command signed for VAN-042.
    #[must_use]
    pub fn signed_for_van(command: &[u8]) -> Vec<u8> {
        envelope(command, &message("VAN-042", command)).into_bytes()
    }

    pub(super) fn message(van: &str, command: &[u8]) -> Vec<u8> {
        [format!("waypost cmd v1\n{van}\n").as_bytes(), command].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    #[test]
    fn what_was_signed_for_this_van_is_given_back_byte_for_byte() {
        let payload = envelope(COMMAND, &message("VAN-042", COMMAND));
        assert_eq!(van().open(payload.as_bytes()).as_deref(), Ok(COMMAND));
    }

    #[test]
    fn a_signature_over_anything_else_is_none() {
        let other = COMMAND.to_ascii_uppercase();
        for signed in [
            message("VAN-043", COMMAND),
            message("VAN-042", &other),
            COMMAND.to_vec(),
            [b"waypost manifest v1\nVAN-042\n", COMMAND].concat(),
            message("VAN-042\n", COMMAND),
        ] {
            let payload = envelope(COMMAND, &signed);
            assert_eq!(van().open(payload.as_bytes()), Err(SignatureError::Signature));
        }
        let right = envelope(COMMAND, &message("VAN-042", COMMAND));
        let mut next_unlisted = van();
        next_unlisted.key = Ed25519KeyPair::from_seed_unchecked(&[8; 32])
            .unwrap()
            .public_key()
            .as_ref()
            .try_into()
            .unwrap();
        assert_eq!(next_unlisted.open(right.as_bytes()), Err(SignatureError::Signature));
        let short = right.replace(r#""sig":""#, r#""sig":"AA"#);
        assert_eq!(van().open(short.as_bytes()), Err(SignatureError::Signature));
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let right = envelope(COMMAND, &message("VAN-042", COMMAND));
        for payload in [
            COMMAND.to_vec(),
            Vec::new(),
            b"null".to_vec(),
            vec![b'['; 4096],
            right.replace(r#""v":1"#, r#""v":2"#).into_bytes(),
            right.replace("signed\":\"", "signed\":\"*").into_bytes(),
            right.replace("sig\":\"", "sig\":\"*").into_bytes(),
            format!("{right}{}", " ".repeat(4096)).into_bytes(),
        ] {
            assert!(matches!(van().open(&payload), Err(SignatureError::Envelope(_))));
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let van = VanId::new("VAN-042").unwrap();
        let right = [&SPKI[..], &[9; 32]].concat();
        assert!(CommandKey::new(&right, van.clone()).is_ok());
        let mut x25519 = right.clone();
        x25519[8] = 0x6e;
        for spki in [&right[..43], &[&right[..], &[0]].concat(), &x25519, &[9; 32], &[]] {
            assert_eq!(CommandKey::new(spki, van.clone()), Err(NotEd25519));
        }
    }
}
