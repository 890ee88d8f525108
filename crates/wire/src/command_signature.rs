//! Signed commands: JSON Web Signatures in flattened JSON (RFC 7515 §7.2.2) with Ed25519 (RFC 8037),
//! on the topic `command`.
//!
//! The payload names the van, so that a command for one van is invalid for another. Replay and delay
//! are handled as for all commands, by id and `expires`.

use ring::signature::{ED25519, ED25519_PUBLIC_KEY_LEN, UnparsedPublicKey};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::command::MAX_BYTES;
use super::{VanId, base64};

/// `typ` of the protected header. It prevents the reuse of signatures made for another purpose.
const TYPE: &str = "waypost-command+jws";

/// `SubjectPublicKeyInfo` prefix of an Ed25519 key (RFC 8410 §4), before the key bytes.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Ed25519 public key of a dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: String,
    key: [u8; ED25519_PUBLIC_KEY_LEN],
}

impl PublicKey {
    /// Reads the key from a `SubjectPublicKeyInfo`. `id` is its `kid` in a protected header.
    ///
    /// # Errors
    /// Returns [`NotEd25519`] for any other kind of key.
    pub fn new(id: String, spki: &[u8]) -> Result<Self, NotEd25519> {
        let key = spki.strip_prefix(&SPKI).and_then(|key| key.try_into().ok());
        key.map(|key| Self { id, key }).ok_or(NotEd25519)
    }
}

/// Public keys of which one must have signed each command for a van. Several keys allow to replace
/// one without touching all vans at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandKeys {
    keys: Vec<PublicKey>,
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
    /// The payload is not a valid JSON Web Signature.
    #[error("not a signed command: {0}; send the JWS described in docs/mqtt-contract.md")]
    Malformed(String),
    /// No key has the `kid` of the header.
    #[error("no key has the kid of the command; add it to commands.public_key_files")]
    UnknownKey,
    /// The signature does not match.
    #[error("not signed with the private key of a key in commands.public_key_files")]
    Signature,
    /// The command is for another van.
    #[error("signed for another van: write this van's id into the member van")]
    OtherVan,
}

/// Flattened JSON serialization (RFC 7515 §7.2.2). The unprotected `header` is ignored.
#[derive(Deserialize)]
struct Jws {
    payload: String,
    protected: String,
    signature: String,
}

#[derive(Deserialize)]
struct ProtectedHeader {
    alg: String,
    typ: String,
    kid: Option<String>,
    /// Extensions that a recipient must understand (§4.1.11). This one understands none.
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Audience {
    van: String,
}

impl CommandKeys {
    /// Creates the keys for commands to `van`.
    #[must_use]
    pub const fn new(keys: Vec<PublicKey>, van: VanId) -> Self {
        Self { keys, van }
    }

    /// Verifies a signed command and returns its payload: the JSON of the command.
    ///
    /// # Errors
    /// Returns [`SignatureError`] if the JWS is malformed, was not signed by one of the keys, or is
    /// for another van.
    pub fn open(&self, payload: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let malformed = |problem: &str| SignatureError::Malformed(problem.to_owned());
        if payload.len() > MAX_BYTES {
            return Err(malformed("longer than 4 KiB"));
        }
        let jws: Jws = serde_json::from_slice(payload)
            .map_err(|error| SignatureError::Malformed(error.to_string()))?;
        let decode = |name: &str, text: &str| {
            base64::decode(text).ok_or_else(|| malformed(&format!("{name} is not base64url")))
        };
        let header: ProtectedHeader = serde_json::from_slice(&decode("protected", &jws.protected)?)
            .map_err(|error| SignatureError::Malformed(format!("protected: {error}")))?;
        if header.alg != "EdDSA" {
            return Err(malformed("alg is not EdDSA"));
        }
        if header.typ != TYPE {
            return Err(malformed("typ is not waypost-command+jws"));
        }
        if header.crit.is_some() {
            return Err(malformed("crit names extensions that are not supported"));
        }
        let command = decode("payload", &jws.payload)?;
        let signature = decode("signature", &jws.signature)?;
        let mut candidates = self
            .keys
            .iter()
            .filter(|key| header.kid.as_ref().is_none_or(|kid| *kid == key.id))
            .peekable();
        if candidates.peek().is_none() {
            return Err(SignatureError::UnknownKey);
        }
        let signing_input = format!("{}.{}", jws.protected, jws.payload);
        let is_signed = candidates.any(|key| {
            let key = UnparsedPublicKey::new(&ED25519, key.key);
            key.verify(signing_input.as_bytes(), &signature).is_ok()
        });
        if !is_signed {
            return Err(SignatureError::Signature);
        }
        let audience: Audience = serde_json::from_slice(&command)
            .map_err(|error| SignatureError::Malformed(format!("payload: {error}")))?;
        if audience.van != self.van.as_str() {
            return Err(SignatureError::OtherVan);
        }
        Ok(command)
    }
}

/// Signed commands, for tests.
#[cfg(any(test, feature = "test-support"))]
#[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a test that panics has failed")]
pub mod testing {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::{CommandKeys, PublicKey, SPKI, VanId, base64};

    pub(super) const HEADER: &str =
        r#"{"alg":"EdDSA","kid":"dispatch","typ":"waypost-command+jws"}"#;

    pub(super) fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    pub(super) fn public_key(id: &str, seed: u8) -> PublicKey {
        let spki = [&SPKI[..], pair(seed).public_key().as_ref()].concat();
        PublicKey::new(id.to_owned(), &spki).unwrap()
    }

    /// Returns the keys of VAN-042.
    #[must_use]
    pub fn van() -> CommandKeys {
        let keys = vec![public_key("dispatch", 7), public_key("next", 8)];
        CommandKeys::new(keys, VanId::new("VAN-042").unwrap())
    }

    pub(super) fn base64url(bytes: &[u8]) -> String {
        base64::encode(bytes).replace('+', "-").replace('/', "_").replace('=', "")
    }

    pub(super) fn jws(header: &str, payload: &str, seed: u8) -> String {
        let (header, payload) = (base64url(header.as_bytes()), base64url(payload.as_bytes()));
        let signature = pair(seed).sign(format!("{header}.{payload}").as_bytes());
        let signature = base64url(signature.as_ref());
        format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#)
    }

    /// Returns a command, a JSON object, signed for VAN-042.
    #[must_use]
    pub fn signed_for_van(command: &[u8]) -> Vec<u8> {
        let command = std::str::from_utf8(command).unwrap();
        let command = command.replacen('{', r#"{"van":"VAN-042","#, 1);
        jws(HEADER, &command, 7).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    const COMMAND: &str = r#"{"v":1,"van":"VAN-042","id":"0b6f6f0e-8a3c-4a0e-9b61-0a2f4b1b8f10","cmd":"flush_outbox"}"#;

    #[test]
    fn a_command_that_was_signed_for_this_van_is_returned_byte_for_byte() {
        let next = HEADER.replace("dispatch", "next");
        let without_kid = r#"{"typ":"waypost-command+jws","alg":"EdDSA"}"#;
        for (header, seed) in [(HEADER, 7), (&next, 8), (without_kid, 7), (without_kid, 8)] {
            let payload = jws(header, COMMAND, seed);
            assert_eq!(van().open(payload.as_bytes()).as_deref(), Ok(COMMAND.as_bytes()));
        }
    }

    #[test]
    fn a_signature_over_anything_else_is_invalid() {
        let right = jws(HEADER, COMMAND, 7);
        let refused = |payload: &str| van().open(payload.as_bytes()).unwrap_err();
        assert_eq!(refused(&jws(HEADER, COMMAND, 8)), SignatureError::Signature, "another's kid");
        assert_eq!(refused(&jws(HEADER, COMMAND, 9)), SignatureError::Signature);
        let stranger = HEADER.replace("dispatch", "stranger");
        assert_eq!(refused(&jws(&stranger, COMMAND, 7)), SignatureError::UnknownKey);
        let other_payload = right.replace(&base64url(COMMAND.as_bytes()), &base64url(b"{}"));
        assert_eq!(refused(&other_payload), SignatureError::Signature);
        let short = right.replace(r#""signature":""#, r#""signature":"AA"#);
        assert_eq!(refused(&short), SignatureError::Signature);
        for other in ["VAN-043", "van-042", "VAN-042 "] {
            let payload = jws(HEADER, &COMMAND.replace("VAN-042", other), 7);
            assert_eq!(refused(&payload), SignatureError::OtherVan, "{other}");
        }
    }

    #[test]
    fn a_malformed_jws_is_refused() {
        let right = jws(HEADER, COMMAND, 7);
        for payload in [
            COMMAND.as_bytes().to_vec(),
            Vec::new(),
            b"null".to_vec(),
            vec![b'['; 4096],
            right.replace("payload\":\"", "payload\":\"*").into_bytes(),
            right.replace("signature\":\"", "signature\":\"*").into_bytes(),
            right.replace("protected\":\"", "protected\":\"*").into_bytes(),
            format!("{right}{}", " ".repeat(4096)).into_bytes(),
            jws(&HEADER.replace("EdDSA", "none"), COMMAND, 7).into_bytes(),
            jws(&HEADER.replace("EdDSA", "HS256"), COMMAND, 7).into_bytes(),
            jws(&HEADER.replace("command+jws", "manifest+jws"), COMMAND, 7).into_bytes(),
            jws(&HEADER.replace('}', r#","crit":["b64"]}"#), COMMAND, 7).into_bytes(),
            jws("{}", COMMAND, 7).into_bytes(),
            jws(HEADER, &COMMAND.replace(r#""van":"VAN-042","#, ""), 7).into_bytes(),
        ] {
            let shown = String::from_utf8_lossy(&payload).into_owned();
            assert!(matches!(van().open(&payload), Err(SignatureError::Malformed(_))), "{shown}");
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let right = [&SPKI[..], &[9; 32]].concat();
        assert!(PublicKey::new("a".to_owned(), &right).is_ok());
        let mut x25519 = right.clone();
        x25519[8] = 0x6e;
        for spki in [&right[..43], &[&right[..], &[0]].concat(), &x25519, &[9; 32], &[]] {
            assert_eq!(PublicKey::new("a".to_owned(), spki), Err(NotEd25519));
        }
    }
}
