//! Debian's Chromium, driven by WebDriver (W3C): JSON over HTTP, with Chromium's own commands where
//! WebDriver has none.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Process, installed};

/// Maximum time until a page shows an update.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Key codes of WebDriver (§17.4.2).
pub(crate) mod key {
    pub(crate) const TAB: &str = "\u{e004}";
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const SPACE: &str = " ";
    pub(crate) const RIGHT: &str = "\u{e014}";
    pub(crate) const DOWN: &str = "\u{e015}";
}

/// A browser with its own profile. Its time zone is that of Munich.
pub(crate) struct Browser {
    agent: ureq::Agent,
    session: String,
    _driver: Process,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Returns `None` and reports a skip if there is no browser.
    pub(crate) fn open(languages: &str) -> Option<Self> {
        let chromium = installed("chromium")?;
        let chromedriver = installed("chromedriver")?;
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(chromedriver);
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        command.env("TZ", "Europe/Berlin").env("HOME", profile.path());
        let mut driver = Process::start(&mut command);
        let mut lines = BufReader::new(driver.0.stdout.take().unwrap()).lines();
        let port: u16 = lines
            .find_map(|line| {
                let line = line.unwrap();
                let said = line.rsplit_once("started successfully on port ")?.1;
                said.trim_end_matches('.').parse().ok()
            })
            .expect("chromedriver prints its port");
        // The process would block on a pipe that is not read.
        std::thread::spawn(move || lines.for_each(drop));
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = ureq::Agent::new_with_config(config.build());
        let folder = format!("--user-data-dir={}", profile.path().display());
        let languages = format!("--accept-lang={languages}");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &folder,
            &languages,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments, "binary": chromium},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let url = format!("http://127.0.0.1:{port}/session");
        let made = answer(agent.post(&url).send(wanted.to_string()).unwrap());
        let session = format!("{url}/{}", made["sessionId"].as_str().unwrap());
        Some(Self { agent, session, _driver: driver, _profile: profile })
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        answer(self.agent.post(format!("{}{path}", self.session)).send(body.to_string()).unwrap())
    }

    pub(crate) fn visit(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    pub(crate) fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    /// Runs a function with this body in the page, and returns its result.
    pub(crate) fn run(&self, body: &str) -> Value {
        self.post("/execute/sync", &json!({"script": body, "args": []}))
    }

    /// Sends a command of the DevTools protocol.
    pub(crate) fn tools(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Waits until an expression is true in the page.
    pub(crate) fn until(&self, expression: &str) {
        let body = format!("return Boolean({expression})");
        for _ in 0..TIMEOUT.as_millis() / POLL_INTERVAL.as_millis() {
            if self.run(&body) == json!(true) {
                return;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        let page = self.run("return document.body.innerText");
        panic!(
            "never: {expression}\nconsole: {:?}\npage: {}",
            self.console_errors(),
            page.as_str().unwrap()
        );
    }

    /// Waits until the selected element contains this text.
    pub(crate) fn until_text(&self, selector: &str, text: &str) {
        self.until(&format!(
            "[...document.querySelectorAll({})].some((node) => !node.closest('[hidden]') && node.innerText.includes({}))",
            json!(selector),
            json!(text)
        ));
    }

    /// Returns the text of the first selected element; empty if there is none.
    pub(crate) fn text(&self, selector: &str) -> String {
        let text = self
            .run(&format!("return document.querySelector({})?.innerText ?? ''", json!(selector)));
        text.as_str().unwrap().to_owned()
    }

    fn element(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({"using": "css selector", "value": selector}));
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("{selector}: {found}")).to_owned()
    }

    /// Opens another tab and activates it; the others are hidden.
    pub(crate) fn tab(&self) -> String {
        let made = self.post("/window/new", &json!({"type": "tab"}));
        let handle = made["handle"].as_str().unwrap().to_owned();
        self.look_at(&handle);
        handle
    }

    /// Activates a tab.
    pub(crate) fn look_at(&self, tab: &str) {
        self.post("/window", &json!({"handle": tab}));
        self.tools("Page.bringToFront", &json!({}));
    }

    /// Clicks like a mouse; a hidden or covered element cannot be clicked.
    pub(crate) fn click(&self, selector: &str) {
        self.post(&format!("/element/{}/click", self.element(selector)), &json!({}));
    }

    /// Types into the selected element.
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        self.post(&format!("/element/{}/value", self.element(selector)), &json!({"text": text}));
    }

    /// Presses keys on the focused element.
    pub(crate) fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
            })
            .collect();
        self.post(
            "/actions",
            &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}),
        );
    }

    /// Performs a series of actions (§17).
    pub(crate) fn act(&self, actions: &Value) {
        self.post("/actions", actions);
    }

    /// Presses TAB until the selected element has the focus.
    pub(crate) fn tab_to(&self, selector: &str) {
        for _ in 0..80 {
            if self.run(&format!("return document.activeElement.matches({})", json!(selector)))
                == json!(true)
            {
                return;
            }
            self.press(key::TAB);
        }
        panic!("{selector} is not reached by TAB");
    }

    /// Sets the width in CSS pixels, and the scheme `light` or `dark`.
    pub(crate) fn look(&self, width: u32, scheme: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.tools("Emulation.setDeviceMetricsOverride", &size);
        self.media(&[
            ("prefers-color-scheme", scheme),
            ("prefers-reduced-motion", "no-preference"),
        ]);
    }

    /// Sets media features.
    pub(crate) fn media(&self, features: &[(&str, &str)]) {
        let features: Vec<Value> =
            features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.tools("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Returns a screenshot of the page as PNG, up to `height` pixels.
    pub(crate) fn picture(&self, height: u32) -> Vec<u8> {
        let size = self.run("return [innerWidth, document.documentElement.scrollHeight]");
        let height = size[1].as_u64().unwrap().min(height.into()).max(400);
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1});
        let wanted = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let made = self.tools("Page.captureScreenshot", &wanted);
        from_base64(made["data"].as_str().unwrap())
    }

    /// Returns the console messages since the last call.
    pub(crate) fn console_errors(&self) -> Vec<String> {
        let said = self.post("/se/log", &json!({"type": "browser"}));
        let said = said.as_array().cloned().unwrap_or_default();
        said.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its processes and its profile end with it.
        self.agent.delete(&self.session).call().ok();
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Value {
    let status = response.status();
    let config = response.body_mut().with_config().limit(64 << 20);
    let body: Value = serde_json::from_str(&config.read_to_string().unwrap()).unwrap();
    assert!(status.is_success(), "{}", body["value"]);
    body["value"].clone()
}

/// RFC 4648 §4.
fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte));
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in digits {
        bits = bits << 6 | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}
