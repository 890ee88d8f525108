//! Checks the texts of a page, and takes its picture on request.
//!
//! `UPDATE_PICTURES=1` writes the pictures of the documentation. `PICTURES=/a/folder` writes every
//! page, narrow and wide, light and dark.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::super::van::Van;
use super::super::world::World;
use crate::support::repository;
use crate::support::webdriver::Browser;

/// Maximum size of a picture, so that the README loads quickly.
const MAX_BYTES: u64 = 100_000;
const MAX_HEIGHT: u32 = 1300;
const WIDTHS: [u32; 2] = [390, 1280];
const SCHEMES: [&str; 2] = ["light", "dark"];

/// Pictures used in the documentation.
const PUBLISHED: [&str; 14] = [
    "start-light-390",
    "near-light-390",
    "near-dark-1280",
    "next-dark-390",
    "delivered-light-390",
    "attempted-light-390",
    "delayed-light-390",
    "missing-light-390",
    "vans-light-1280",
    "vans-dark-390",
    "wrong-stop-van-light-1280",
    "wrong-stop-trace-dark-390",
    "missing-trace-light-1280",
    "offline-van-dark-390",
];

/// Whether a recipient's page shows the van on its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnMap {
    Shown,
    Hidden,
}

pub(super) struct Camera<'a> {
    pub(super) browser: &'a Browser,
    pub(super) world: &'a World,
}

impl Camera<'_> {
    /// Checks the page of one of the van's parcels, which must not contain data of other
    /// recipients.
    pub(super) fn recipient(
        &self,
        name: &str,
        (van, number): (&Van, &str),
        on_map: OnMap,
        says: &[&str],
    ) {
        let page = van.page(number).strip_prefix(&self.world.url).unwrap().to_owned();
        let others = van.day().parcels().iter().map(|parcel| parcel.key.as_str());
        let others: Vec<&str> = others.filter(|other| *other != number).collect();
        self.take(name, &page, says, &[&others[..], &["stop-", "wrong", &van.id]].concat());
        // Transitions and streams take a moment.
        let there = "document.querySelector('[data-place=van]')";
        match on_map {
            OnMap::Shown => self.browser.until(&format!("Boolean({there})")),
            OnMap::Hidden => self.browser.until(&format!("!{there}")),
        }
    }

    /// Waits until a dispatcher's page contains all of `says`, and checks that none of `not` is on
    /// it.
    pub(super) fn take(&self, name: &str, path: &str, says: &[&str], not: &[&str]) {
        let looks = WIDTHS.into_iter().flat_map(|width| SCHEMES.map(|scheme| (width, scheme)));
        let mut seen = false;
        for (width, scheme) in looks {
            let picture = picture(name, scheme, width);
            if picture.is_none() && seen {
                continue;
            }
            self.browser.look(width, scheme);
            if !seen || picture.is_some() {
                self.browser.visit(&format!("{}{path}", self.world.url));
            }
            for text in says {
                self.browser.until_text("body", text);
            }
            seen = true;
            let overflow =
                self.browser.run("return document.documentElement.scrollWidth - innerWidth");
            assert_eq!(overflow, json!(0), "{name}, {path} at {width} px");
            let page = self.browser.text("body");
            for text in not {
                assert!(!page.contains(text), "{name}: {path} contains {text}: {page}");
            }
            if let Some(file) = picture {
                self.save(&file);
            }
        }
    }

    /// Takes a picture of the current page.
    pub(super) fn shoot(&self, name: &str) {
        for scheme in SCHEMES {
            if let Some(file) = picture(name, scheme, WIDTHS[0]) {
                self.browser.look(WIDTHS[0], scheme);
                self.save(&file);
            }
        }
    }

    fn save(&self, file: &Path) {
        // Wait for the van's movement and for transitions to end.
        std::thread::sleep(Duration::from_millis(1200));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, self.browser.picture(MAX_HEIGHT)).unwrap();
        // Reduces the colours if the tool is installed.
        let fewer = ["--force", "--skip-if-larger", "--strip", "--ext", ".png", "64"];
        Command::new("pngquant").args(fewer).arg(file).status().ok();
        let bytes = std::fs::metadata(file).unwrap().len();
        assert!(bytes <= MAX_BYTES, "{}: {bytes} bytes", file.display());
    }
}

/// Returns the file for the picture of a page, if it is requested.
fn picture(name: &str, scheme: &str, width: u32) -> Option<PathBuf> {
    let name = format!("{name}-{scheme}-{width}");
    let file = format!("{name}.png");
    if let Some(folder) = std::env::var_os("PICTURES") {
        return Some(Path::new(&folder).join(file));
    }
    let kept = std::env::var_os("UPDATE_PICTURES").is_some() && PUBLISHED.contains(&name.as_str());
    kept.then(|| repository("docs/pictures").join(file))
}
