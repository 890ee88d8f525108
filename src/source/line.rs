//! A serial line that is open: hunts for its speed, hands on what comes, and measures how full it is.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio_serial::SerialStream;

use super::hunt::{Hunt, Turn};
use super::load::{Load, Measured};
use super::setup::{Setup, SetupResult, is_boot};
use super::{Chunk, Event, LineState, READ_BYTES, ReceiverState, Source, Unheard};
use crate::core::ubx::Message;
use crate::port::serial;
use crate::units::Uptime;

#[derive(Debug)]
pub(super) struct Line<'a> {
    source: &'a Source,
    port: SerialStream,
    hunt: &'a mut Hunt,
    load: Option<Load>,
    setup: Option<Setup>,
    /// What was logged of it: the same once more is no news.
    said_setup: Option<SetupResult>,
    state: LineState,
    said: Option<ReceiverState>,
    heard_at: Uptime,
    /// Whether anything but silence came since the port was opened.
    heard: bool,
}

impl<'a> Line<'a> {
    pub(super) fn new(source: &'a Source, port: SerialStream, hunt: &'a mut Hunt) -> Self {
        let heard_at = source.clock.uptime();
        hunt.begin(heard_at);
        let mut line = Self {
            source,
            port,
            hunt,
            load: None,
            setup: source.config.line.setup.clone().map(Setup::new),
            said_setup: None,
            state: LineState::default(),
            said: None,
            heard_at,
            heard: false,
        };
        if line.hunt.is_good() {
            line.measure();
        }
        line
    }

    /// Reads until the end.
    pub(super) async fn read(mut self) -> Result<io::Result<()>, Unheard> {
        self.say_line(LineState::default()).await?;
        let mut buffer = [0; READ_BYTES];
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                read = self.port.read(&mut buffer) => match read {
                    Ok(0) => return Ok(Ok(())),
                    Ok(count) => self.heard(buffer[..count].to_vec()).await?,
                    Err(error) => return Ok(Err(error)),
                },
                now = self.source.clock.reached(deadline) => self.tick(now).await?,
            }
        }
    }

    fn deadline(&self) -> Option<Uptime> {
        let silent = (self.said != Some(ReceiverState::Silent))
            .then(|| self.heard_at + self.source.config.silent_after);
        let setup = self.setup.as_ref().and_then(Setup::deadline);
        [silent, self.hunt.deadline(), setup].into_iter().flatten().min()
    }

    async fn heard(&mut self, bytes: Vec<u8>) -> Result<(), Unheard> {
        let at = self.source.clock.uptime();
        (self.heard_at, self.heard) = (at, true);
        let (count, answers) = (bytes.len(), self.setup.as_ref().map(|_| bytes.clone()));
        let (mut sentences, mut booted) = (false, false);
        let mut handed_on = Vec::new();
        let before = self.state.clone();
        match self.hunt.push(Chunk { bytes, at }, &mut handed_on, |sentence| {
            sentences = true;
            booted |= is_boot(sentence);
        }) {
            Turn::None => {}
            Turn::Found => self.found(),
            Turn::Lost => self.lost(),
        }
        if let Some(answers) = answers {
            self.set_up(&answers, sentences && self.hunt.is_good(), booted, at);
        }
        self.weigh(count, at);
        // First, so that the `state` that a change of the receiver causes has it.
        self.say_line(before).await?;
        if self.hunt.is_good() {
            self.say(ReceiverState::Open).await?;
        } else if self.hunt.failed() > 0 || self.said.is_some() {
            self.say(ReceiverState::Hunting).await?;
        }
        for chunk in handed_on {
            self.source.say(Event::Bytes(chunk)).await?;
        }
        Ok(())
    }

    async fn tick(&mut self, now: Uptime) -> Result<(), Unheard> {
        if now.since(self.heard_at) >= self.source.config.silent_after {
            let before = self.state.clone();
            self.state.load_percent = None;
            // It may have lost its power, and with it what it was told.
            if let Some(setup) = &mut self.setup {
                setup.restart();
            }
            self.say(ReceiverState::Silent).await?;
            self.say_line(before).await?;
        }
        let before = self.state.clone();
        let message = self.setup.as_mut().and_then(|setup| setup.tick(now));
        self.send(message);
        self.say_line(before).await?;
        let Some(baud) = self.hunt.tick(now) else { return Ok(()) };
        if let Err(error) = serial::set_speed(&mut self.port, baud) {
            // Not every adapter can do every speed; this one's time passes without a sentence.
            tracing::debug!(baud, %error, "speed not set");
        }
        if self.heard && self.hunt.has_tried_all() {
            tracing::warn!(
                "no speed gives sentences, going on: does the receiver send NMEA 0183, and is it wired to RX and ground?"
            );
        }
        if self.heard && self.said != Some(ReceiverState::Silent) {
            self.say(ReceiverState::Hunting).await?;
        }
        Ok(())
    }

    fn found(&mut self) {
        if let Some(baud) = self.hunt.baud().filter(|_| self.hunt.failed() > 0) {
            tracing::info!(baud, "receiver's speed found");
        }
        self.measure();
    }

    fn lost(&mut self) {
        self.load = None;
        self.state = LineState::default();
        if let Some(setup) = &mut self.setup {
            setup.restart();
        }
        if let Some(baud) = self.hunt.baud()
            && let Err(error) = serial::set_speed(&mut self.port, baud)
        {
            tracing::debug!(baud, %error, "speed not set");
        }
    }

    fn set_up(&mut self, bytes: &[u8], understood: bool, booted: bool, at: Uptime) {
        let Some(setup) = &mut self.setup else { return };
        if booted {
            setup.booted(at);
        }
        let message = setup.push(bytes, understood, at);
        self.send(message);
    }

    /// Sends what is to be sent, and notes what came of the set-up.
    fn send(&mut self, message: Option<Message>) {
        if let Some(message) = message
            && let Err(error) = self.port.try_write(&message.frame())
        {
            // As if it had got lost on the way: it is sent once more.
            tracing::debug!(%error, "message to the receiver not written");
        }
        let result = self.setup.as_ref().and_then(Setup::result);
        if result != self.state.setup {
            let news = result.is_some() && self.said_setup != result;
            match &result {
                None => {}
                Some(_) if !news => {}
                Some(SetupResult::Done) => tracing::info!("receiver set up"),
                Some(refused) => tracing::warn!(
                    setup = %refused,
                    "receiver not set up as gnss.ublox says: leave out what it does not know, or is it no u-blox?"
                ),
            }
            if news {
                self.said_setup.clone_from(&result);
            }
            self.state.setup = result;
        }
    }

    /// Counts what came.
    fn weigh(&mut self, bytes: usize, at: Uptime) {
        let measured = self.load.as_mut().and_then(|load| load.count(bytes, at));
        let Some(Measured { percent, became_full }) = measured else { return };
        self.state.load_percent = Some(percent);
        if became_full {
            tracing::warn!(
                line_percent = percent,
                baud = self.state.baud,
                "the line is full, sentences come late or cut: raise the receiver's speed or turn GSV off"
            );
        }
    }

    fn measure(&mut self) {
        self.state.baud = self.hunt.baud();
        self.load = self.state.baud.map(Load::new);
    }

    async fn say(&mut self, state: ReceiverState) -> Result<(), Unheard> {
        if self.said.as_ref() == Some(&state) {
            return Ok(());
        }
        self.said = Some(state.clone());
        self.source.say(Event::Receiver(state)).await
    }

    /// Says what is known of the line, if it is not what was known `before`.
    async fn say_line(&self, before: LineState) -> Result<(), Unheard> {
        if self.state == before {
            return Ok(());
        }
        self.source.say(Event::Line(self.state.clone())).await
    }
}
