//! Reads an open serial line: detects its baud rate, forwards bytes and measures the line load.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio_serial::SerialStream;

use super::autobaud::{BaudDetector, Detection};
use super::line_load::{LineLoad, LoadSample};
use super::ublox_setup::{SetupResult, UbloxSetup, is_boot_message};
use super::{Chunk, LineState, READ_BYTES, ReceiverDropped, ReceiverState, Source, SourceEvent};
use crate::transport::serial;
use waypost_model::units::Uptime;
use waypost_pipeline::ubx::Message;

#[derive(Debug)]
pub(super) struct SerialLine<'a> {
    source: &'a Source,
    port: SerialStream,
    baud_detector: &'a mut BaudDetector,
    load: Option<LineLoad>,
    setup: Option<UbloxSetup>,
    /// Last logged result of the setup, so that an unchanged one is not logged again.
    logged_setup: Option<SetupResult>,
    state: LineState,
    reported: Option<ReceiverState>,
    last_byte_at: Uptime,
    /// Whether any byte was received since the port was opened.
    received_any: bool,
}

impl<'a> SerialLine<'a> {
    pub(super) fn new(source: &'a Source, port: SerialStream, hunt: &'a mut BaudDetector) -> Self {
        let heard_at = source.clock.uptime();
        hunt.on_open(heard_at);
        let mut line = Self {
            source,
            port,
            baud_detector: hunt,
            load: None,
            setup: source.config.line.setup.clone().map(UbloxSetup::new),
            logged_setup: None,
            state: LineState::default(),
            reported: None,
            last_byte_at: heard_at,
            received_any: false,
        };
        if line.baud_detector.is_locked() {
            line.reset_load();
        }
        line
    }

    /// Reads until the port is closed or fails.
    pub(super) async fn read(mut self) -> Result<io::Result<()>, ReceiverDropped> {
        self.send_line_state(LineState::default()).await?;
        let mut buffer = [0; READ_BYTES];
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                read = self.port.read(&mut buffer) => match read {
                    Ok(0) => return Ok(Ok(())),
                    Ok(count) => self.on_bytes(buffer[..count].to_vec()).await?,
                    Err(error) => return Ok(Err(error)),
                },
                now = self.source.clock.sleep_until(deadline) => self.tick(now).await?,
            }
        }
    }

    fn deadline(&self) -> Option<Uptime> {
        let silent = (self.reported != Some(ReceiverState::Silent))
            .then(|| self.last_byte_at + self.source.config.silent_after);
        let setup = self.setup.as_ref().and_then(UbloxSetup::deadline);
        [silent, self.baud_detector.deadline(), setup].into_iter().flatten().min()
    }

    async fn on_bytes(&mut self, bytes: Vec<u8>) -> Result<(), ReceiverDropped> {
        let at = self.source.clock.uptime();
        (self.last_byte_at, self.received_any) = (at, true);
        let (count, answers) = (bytes.len(), self.setup.as_ref().map(|_| bytes.clone()));
        let (mut sentences, mut booted) = (false, false);
        let mut handed_on = Vec::new();
        let before = self.state.clone();
        match self.baud_detector.push(Chunk { bytes, at }, &mut handed_on, |sentence| {
            sentences = true;
            booted |= is_boot_message(sentence);
        }) {
            Detection::None => {}
            Detection::Found => self.on_baud_found(),
            Detection::Lost => self.on_baud_lost(),
        }
        if let Some(answers) = answers {
            self.run_setup(&answers, sentences && self.baud_detector.is_locked(), booted, at);
        }
        self.update_load(count, at);
        // Sent before the receiver state, so that the resulting `state` message includes it.
        self.send_line_state(before).await?;
        if self.baud_detector.is_locked() {
            self.send_state(ReceiverState::Open).await?;
        } else if self.baud_detector.failed() > 0 || self.reported.is_some() {
            self.send_state(ReceiverState::DetectingBaud).await?;
        }
        for chunk in handed_on {
            self.source.send(SourceEvent::Bytes(chunk)).await?;
        }
        Ok(())
    }

    async fn tick(&mut self, now: Uptime) -> Result<(), ReceiverDropped> {
        if now.since(self.last_byte_at) >= self.source.config.silent_after {
            let before = self.state.clone();
            self.state.load_percent = None;
            // The receiver may have lost its power, and with it its settings.
            if let Some(setup) = &mut self.setup {
                setup.restart();
            }
            self.send_state(ReceiverState::Silent).await?;
            self.send_line_state(before).await?;
        }
        let before = self.state.clone();
        let message = self.setup.as_mut().and_then(|setup| setup.tick(now));
        self.write_message(message);
        self.send_line_state(before).await?;
        let Some(baud) = self.baud_detector.tick(now) else { return Ok(()) };
        if let Err(error) = serial::set_baud_rate(&mut self.port, baud) {
            // Some adapters do not support every rate. The trial then ends without a sentence.
            tracing::debug!(baud, %error, "baud rate not set");
        }
        if self.received_any && self.baud_detector.has_tried_all() {
            tracing::warn!(
                "no baud rate yields sentences, still trying: does the receiver send NMEA 0183, and are RX and ground connected?"
            );
        }
        if self.received_any && self.reported != Some(ReceiverState::Silent) {
            self.send_state(ReceiverState::DetectingBaud).await?;
        }
        Ok(())
    }

    fn on_baud_found(&mut self) {
        if let Some(baud) = self.baud_detector.baud().filter(|_| self.baud_detector.failed() > 0) {
            tracing::info!(baud, "receiver baud rate detected");
        }
        self.reset_load();
    }

    fn on_baud_lost(&mut self) {
        self.load = None;
        self.state = LineState::default();
        if let Some(setup) = &mut self.setup {
            setup.restart();
        }
        if let Some(baud) = self.baud_detector.baud()
            && let Err(error) = serial::set_baud_rate(&mut self.port, baud)
        {
            tracing::debug!(baud, %error, "baud rate not set");
        }
    }

    fn run_setup(&mut self, bytes: &[u8], understood: bool, booted: bool, at: Uptime) {
        let Some(setup) = &mut self.setup else { return };
        if booted {
            setup.on_boot(at);
        }
        let message = setup.push(bytes, understood, at);
        self.write_message(message);
    }

    /// Sends a pending message and records the result of the setup.
    fn write_message(&mut self, message: Option<Message>) {
        if let Some(message) = message
            && let Err(error) = self.port.try_write(&message.frame())
        {
            // Treated like a message lost on the line: it is sent again.
            tracing::debug!(%error, "write to the receiver failed");
        }
        let result = self.setup.as_ref().and_then(UbloxSetup::result);
        if result != self.state.setup {
            let news = result.is_some() && self.logged_setup != result;
            match &result {
                None => {}
                Some(_) if !news => {}
                Some(SetupResult::Done) => tracing::info!("receiver configured"),
                Some(refused) => tracing::warn!(
                    setup = %refused,
                    "receiver configuration failed: remove unsupported settings from gnss.ublox, or disable it if this is not a u-blox"
                ),
            }
            if news {
                self.logged_setup.clone_from(&result);
            }
            self.state.setup = result;
        }
    }

    /// Updates the line load.
    fn update_load(&mut self, bytes: usize, at: Uptime) {
        let measured = self.load.as_mut().and_then(|load| load.count(bytes, at));
        let Some(LoadSample { percent, became_full }) = measured else { return };
        self.state.load_percent = Some(percent);
        if became_full {
            tracing::warn!(
                line_percent = percent,
                baud = self.state.baud,
                "serial line saturated, sentences are late or truncated: raise the receiver's baud rate or disable GSV"
            );
        }
    }

    fn reset_load(&mut self) {
        self.state.baud = self.baud_detector.baud();
        self.load = self.state.baud.map(LineLoad::new);
    }

    async fn send_state(&mut self, state: ReceiverState) -> Result<(), ReceiverDropped> {
        if self.reported.as_ref() == Some(&state) {
            return Ok(());
        }
        self.reported = Some(state.clone());
        self.source.send(SourceEvent::Receiver(state)).await
    }

    /// Sends the state of the line if it differs from `before`.
    async fn send_line_state(&self, before: LineState) -> Result<(), ReceiverDropped> {
        if self.state == before {
            return Ok(());
        }
        self.source.send(SourceEvent::Line(self.state.clone())).await
    }
}
