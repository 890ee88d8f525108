//! Subset of u-blox's UBX protocol for receiver setup: frames, acknowledgements, version and four
//! settings.
//!
//! A frame is `B5 62`, class, id, length, payload and an 8-bit Fletcher checksum (RFC 1145) over
//! everything in between. Integers are little endian. Generation 9 and later (protocol 27 on) use
//! keys and values with CFG-VALSET; earlier ones use one message per subject. Settings are written
//! to RAM only, so a power cycle reverts them.

const SYNC: [u8; 2] = [0xb5, 0x62];

/// Maximum payload in bytes; longer frames are treated as noise. A MON-VER with all extensions has
/// 400 bytes.
const MAX_PAYLOAD: usize = 1024;

/// Message class and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId(pub u8, pub u8);

const ACK_NAK: MessageId = MessageId(0x05, 0x00);
const ACK_ACK: MessageId = MessageId(0x05, 0x01);
const CFG_RATE: MessageId = MessageId(0x06, 0x08);
const CFG_NMEA: MessageId = MessageId(0x06, 0x17);
const CFG_NAV5: MessageId = MessageId(0x06, 0x24);
const CFG_GNSS: MessageId = MessageId(0x06, 0x3e);
const CFG_VALSET: MessageId = MessageId(0x06, 0x8a);
const MON_VER: MessageId = MessageId(0x0a, 0x04);

/// A message sent to the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Class and id, which the acknowledgement repeats.
    pub id: MessageId,
    payload: Vec<u8>,
}

impl Message {
    /// Requests the receiver's version.
    #[must_use]
    pub const fn poll_version() -> Self {
        Self { id: MON_VER, payload: Vec::new() }
    }

    /// Encodes the message as a frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let MessageId(class, id) = self.id;
        let length = u16::try_from(self.payload.len()).expect("short payload").to_le_bytes();
        let body = [&[class, id], length.as_slice(), &self.payload].concat();
        [SYNC.as_slice(), &body, &checksum(&body)].concat()
    }
}

fn checksum(body: &[u8]) -> [u8; 2] {
    body.iter().fold([0, 0], |[a, b]: [u8; 2], byte| {
        let a = a.wrapping_add(*byte);
        [a, b.wrapping_add(a)]
    })
}

/// A response from the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The message was accepted.
    Ack(MessageId),
    /// The message was rejected.
    Nak(MessageId),
    /// The receiver's configuration interface.
    Version(Generation),
}

/// Configuration interface of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// u-blox 8 and before: CFG-RATE, CFG-NAV5, CFG-NMEA, CFG-GNSS.
    Legacy,
    /// u-blox 9 and later: CFG-VALSET.
    Keys,
}

/// Finds responses between sentences and noise.
#[derive(Debug, Default)]
pub struct ResponseParser {
    frame: Vec<u8>,
}

impl ResponseParser {
    /// Processes received bytes and passes each complete response to `answer`.
    pub fn push(&mut self, bytes: &[u8], mut answer: impl FnMut(Response)) {
        for &byte in bytes {
            self.frame.push(byte);
            while let Err(skip) = self.parse_frame(&mut answer) {
                self.frame.drain(..skip);
                let next = self.frame.iter().position(|byte| *byte == SYNC[0]);
                self.frame.drain(..next.unwrap_or(self.frame.len()));
            }
        }
    }

    /// Parses the buffered frame. `Err` is the number of leading bytes that cannot start a frame.
    fn parse_frame(&self, answer: &mut impl FnMut(Response)) -> Result<(), usize> {
        let frame = &self.frame;
        if frame.iter().zip(SYNC).any(|(byte, sync)| *byte != sync) {
            return Err(1);
        }
        let &[_, _, class, id, low, high, ..] = frame.as_slice() else { return Ok(()) };
        let length = usize::from(u16::from_le_bytes([low, high]));
        // Another message or noise: the following bytes may be a response.
        let is_ours = match MessageId(class, id) {
            ACK_ACK | ACK_NAK => length == 2,
            MON_VER => length <= MAX_PAYLOAD,
            _ => false,
        };
        if !is_ours {
            return Err(1);
        }
        let end = 6 + length;
        if frame.len() < end + 2 {
            return Ok(());
        }
        if frame[end..end + 2] != checksum(&frame[2..end]) {
            return Err(1);
        }
        if let Some(said) = parse_response(MessageId(class, id), &frame[6..end]) {
            answer(said);
        }
        Err(frame.len())
    }
}

fn parse_response(id: MessageId, payload: &[u8]) -> Option<Response> {
    match (id, payload) {
        (ACK_ACK, &[class, id]) => Some(Response::Ack(MessageId(class, id))),
        (ACK_NAK, &[class, id]) => Some(Response::Nak(MessageId(class, id))),
        (MON_VER, [_, ..]) => Some(Response::Version(generation(payload))),
        _ => None,
    }
}

/// Parses `PROTVER=34.10` (`PROTVER 14.00` on older receivers) from the extensions of 30 bytes. The
/// oldest receivers have none.
fn generation(version: &[u8]) -> Generation {
    let text = String::from_utf8_lossy(version);
    let major = text.split_once("PROTVER").and_then(|(_, rest)| {
        let digits = rest.get(1..)?.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u32>().ok()
    });
    if major.is_some_and(|major| major >= 27) { Generation::Keys } else { Generation::Legacy }
}

/// Requested receiver settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Epochs per second, 1..=10.
    pub rate_hz: u8,
    /// Constellations to use; empty leaves them unchanged. Of the four global ones, those not
    /// listed are disabled.
    pub constellations: Vec<Constellation>,
    /// NMEA 0183 version; `None` leaves it unchanged.
    pub nmea_version: Option<NmeaVersion>,
    /// Dynamic platform model; `None` leaves it unchanged.
    pub dynamic_model: Option<DynamicModel>,
}

/// A single setting, named as in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Rate,
    DynamicModel,
    NmeaVersion,
    Constellations,
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rate => "rate_hz",
            Self::DynamicModel => "dynamic_model",
            Self::NmeaVersion => "nmea_version",
            Self::Constellations => "constellations",
        })
    }
}

/// A constellation that can be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constellation {
    /// USA.
    Gps,
    /// Europe.
    Galileo,
    /// China.
    BeiDou,
    /// Russia.
    Glonass,
}

impl Constellation {
    pub const ALL: [Self; 4] = [Self::Gps, Self::Galileo, Self::BeiDou, Self::Glonass];

    /// The display name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gps => "GPS",
            Self::Galileo => "Galileo",
            Self::BeiDou => "BeiDou",
            Self::Glonass => "GLONASS",
        }
    }

    /// Configuration key `CFG-SIGNAL-*_ENA`.
    const fn key(self) -> u32 {
        match self {
            Self::Gps => 0x1031_001f,
            Self::Galileo => 0x1031_0021,
            Self::BeiDou => 0x1031_0022,
            Self::Glonass => 0x1031_0025,
        }
    }

    /// gnssId, reserved and maximum channels of a CFG-GNSS block, with the factory values of u-blox
    /// 8.
    const fn block(self) -> [u8; 3] {
        match self {
            Self::Gps => [0, 8, 16],
            Self::Galileo => [2, 4, 8],
            Self::BeiDou => [3, 8, 16],
            Self::Glonass => [6, 8, 14],
        }
    }
}

/// An NMEA 0183 version that u-blox supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmeaVersion {
    /// 4.0
    V40,
    /// 4.1
    V41,
    /// 4.11
    V411,
}

/// Dynamic platform model. The receiver smooths accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicModel {
    /// Slow movement of any kind.
    Portable,
    /// No movement.
    Stationary,
    /// Walking.
    Pedestrian,
    /// Driving.
    Automotive,
}

impl DynamicModel {
    const fn number(self) -> u8 {
        match self {
            Self::Portable => 0,
            Self::Stationary => 2,
            Self::Pedestrian => 3,
            Self::Automotive => 4,
        }
    }
}

impl Settings {
    /// The requested settings. Constellations are last, because a change restarts the satellite
    /// search.
    #[must_use]
    pub fn requested(&self) -> Vec<Setting> {
        let optional = [
            self.dynamic_model.map(|_| Setting::DynamicModel),
            self.nmea_version.map(|_| Setting::NmeaVersion),
            (!self.constellations.is_empty()).then_some(Setting::Constellations),
        ];
        [Some(Setting::Rate)].into_iter().chain(optional).flatten().collect()
    }

    /// The message that applies `setting`.
    #[must_use]
    pub fn message_for(&self, setting: Setting, generation: Generation) -> Message {
        match generation {
            Generation::Keys => self.valset_message(setting),
            Generation::Legacy => self.legacy_message(setting),
        }
    }

    fn period_ms(&self) -> u16 {
        1000 / u16::from(self.rate_hz.max(1))
    }

    fn valset_message(&self, setting: Setting) -> Message {
        // Version 0, layer RAM.
        let mut payload = vec![0, 1, 0, 0];
        let mut set = |key: u32, value: &[u8]| {
            payload.extend(key.to_le_bytes());
            payload.extend(value);
        };
        match setting {
            Setting::Rate => set(0x3021_0001, &self.period_ms().to_le_bytes()),
            Setting::DynamicModel => {
                set(0x2011_0021, &[self.dynamic_model.map_or(0, DynamicModel::number)]);
            }
            Setting::NmeaVersion => {
                let version = match self.nmea_version {
                    Some(NmeaVersion::V40) | None => 40,
                    Some(NmeaVersion::V41) => 41,
                    Some(NmeaVersion::V411) => 42,
                };
                set(0x2093_0001, &[version]);
            }
            Setting::Constellations => {
                for constellation in Constellation::ALL {
                    let on = self.constellations.contains(&constellation);
                    set(constellation.key(), &[u8::from(on)]);
                }
            }
        }
        Message { id: CFG_VALSET, payload }
    }

    fn legacy_message(&self, setting: Setting) -> Message {
        let mut payload = Vec::new();
        let id = match setting {
            Setting::Rate => {
                payload.extend(self.period_ms().to_le_bytes());
                // One fix per measurement, aligned to GPS time.
                payload.extend([1, 0, 1, 0]);
                CFG_RATE
            }
            Setting::DynamicModel => {
                // Apply only the dynamic model (mask bit 0).
                payload.extend([1, 0, self.dynamic_model.map_or(0, DynamicModel::number)]);
                payload.resize(36, 0);
                CFG_NAV5
            }
            Setting::NmeaVersion => {
                let version = match self.nmea_version {
                    Some(NmeaVersion::V40) | None => 0x40,
                    Some(NmeaVersion::V41) => 0x41,
                    Some(NmeaVersion::V411) => 0x4b,
                };
                // No filter, `consider` as in the factory setting, message version 1.
                payload.extend([0, version, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
                payload.resize(20, 0);
                CFG_NMEA
            }
            Setting::Constellations => {
                // Version 0, all tracking channels (0xff), four blocks.
                payload.extend([0, 0, 0xff, 4]);
                for constellation in Constellation::ALL {
                    let on = u8::from(self.constellations.contains(&constellation));
                    payload.extend(constellation.block());
                    // Enabled flag, then the signal at L1.
                    payload.extend([0, on, 0, 1, 0]);
                }
                CFG_GNSS
            }
        };
        Message { id, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            rate_hz: 5,
            constellations: vec![Constellation::Gps, Constellation::Galileo],
            nmea_version: Some(NmeaVersion::V41),
            dynamic_model: Some(DynamicModel::Stationary),
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn answers(bytes: &[u8]) -> Vec<Response> {
        let mut answers = Vec::new();
        let mut scanner = ResponseParser::default();
        for byte in bytes {
            scanner.push(&[*byte], |answer| answers.push(answer));
        }
        answers
    }

    #[test]
    fn messages_are_those_of_the_interface_descriptions() {
        let cases = [
            (Setting::Rate, Generation::Legacy, "b5 62 06 08 06 00 c8 00 01 00 01 00 de 6a"),
            (
                Setting::NmeaVersion,
                Generation::Legacy,
                "b5 62 06 17 14 00 00 41 00 02 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 75 57",
            ),
            (
                Setting::DynamicModel,
                Generation::Keys,
                "b5 62 06 8a 09 00 00 01 00 00 21 00 11 20 02 ee 4b",
            ),
        ];
        for (setting, generation, expected) in cases {
            let frame = settings().message_for(setting, generation).frame();
            assert_eq!(frame, hex(expected), "{setting} {generation:?}");
        }
        assert_eq!(Message::poll_version().frame(), hex("b5 62 0a 04 00 00 0e 34"));
        let fast = Settings { rate_hz: 10, ..settings() };
        let frame = fast.message_for(Setting::Rate, Generation::Legacy).frame();
        assert_eq!(frame, hex("b5 62 06 08 06 00 64 00 01 00 01 00 7a 12"));
    }

    #[test]
    fn payloads_have_the_documented_layout() {
        let payload = |setting, generation| settings().message_for(setting, generation).payload;
        assert_eq!(payload(Setting::Rate, Generation::Keys), hex("00 01 00 00 01 00 21 30 c8 00"));
        assert_eq!(
            payload(Setting::Constellations, Generation::Keys),
            hex("00 01 00 00 1f 00 31 10 01 21 00 31 10 01 22 00 31 10 00 25 00 31 10 00")
        );
        let gnss = payload(Setting::Constellations, Generation::Legacy);
        assert_eq!(gnss.len(), 4 + 4 * 8);
        assert_eq!(gnss[..12], hex("00 00 ff 04 00 08 10 00 01 00 01 00"));
        assert_eq!(gnss[28..], hex("06 08 0e 00 00 00 01 00"));
        let nav5 = payload(Setting::DynamicModel, Generation::Legacy);
        assert_eq!((nav5.len(), &nav5[..4]), (36, hex("01 00 02 00").as_slice()));
    }

    #[test]
    fn answers_are_found_between_sentences_and_noise() {
        let ack = Message { id: ACK_ACK, payload: vec![0x06, 0x8a] }.frame();
        let nak = Message { id: ACK_NAK, payload: vec![0x06, 0x3e] }.frame();
        assert_eq!(ack, hex("b5 62 05 01 02 00 06 8a 98 c1"));
        let mut spoilt = ack.clone();
        spoilt[8] ^= 1;
        let endless = [0xb5, 0x62, 0x01, 0x07, 0xff, 0xff];
        let stream =
            [b"$GPGGA\xb5\xb5".as_slice(), &ack, b"$GP\xb5\x62", &spoilt, &endless, &nak].concat();
        let expected = [Response::Ack(CFG_VALSET), Response::Nak(CFG_GNSS)];
        assert_eq!(answers(&stream), expected);
        let mut scanner = ResponseParser::default();
        scanner.push(&[0xb5; 100_000], |_| panic!("no response"));
        assert!(scanner.frame.len() <= 1);
    }

    #[test]
    fn the_version_says_which_settings_a_receiver_takes() {
        for (extension, expected) in [
            ("PROTVER=34.10", Generation::Keys),
            ("PROTVER=27.11", Generation::Keys),
            ("PROTVER=18.00", Generation::Legacy),
            ("PROTVER 14.00", Generation::Legacy),
            ("", Generation::Legacy),
        ] {
            let mut payload = b"ROM SPG".to_vec();
            payload.resize(40, 0);
            payload.extend(extension.as_bytes());
            payload.resize(70, 0);
            let version = Message { id: MON_VER, payload };
            assert_eq!(answers(&version.frame()), [Response::Version(expected)], "{extension}");
        }
    }
}
