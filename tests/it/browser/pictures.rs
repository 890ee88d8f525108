//! What customers and dispatchers see of a day on which not all goes well: `docs/pictures/`, with `UPDATE_PICTURES=1`.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use waypost::simulate::{Fate, Parcel};
use waypost::wire::json::ConnectionState;

use super::van::{Van, day};
use super::world::{World, log_in};
use crate::support::repository;
use crate::support::webdriver::Browser;

/// So that nobody waits for the README.
const MOST_BYTES: usize = 100_000;
const MOST_HEIGHT: u32 = 1300;

struct Camera<'a> {
    browser: &'a Browser,
    world: &'a World,
}

impl Camera<'_> {
    /// A page once it says something, in a width and a scheme.
    fn take(&self, name: &str, (width, scheme): (u32, &str), path: &str, says: &str) {
        self.browser.look(width, scheme);
        self.browser.visit(&format!("{}{path}", self.world.url));
        self.browser.until_text("body", says);
        let overflow = self.browser.run("return document.documentElement.scrollWidth - innerWidth");
        assert_eq!(overflow, json!(0), "{path} at {width} px");
        if std::env::var_os("UPDATE_PICTURES").is_none() {
            return;
        }
        // A van that moves, and what comes softly, have come.
        std::thread::sleep(Duration::from_millis(1200));
        let file = repository("docs/pictures").join(format!("{name}.png"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, self.browser.picture(MOST_HEIGHT)).unwrap();
        // Fewer colours, where that tool is installed.
        let fewer = ["--force", "--skip-if-larger", "--strip", "--ext", ".png", "64"];
        Command::new("pngquant").args(fewer).arg(&file).status().ok();
        let bytes = std::fs::metadata(&file).unwrap().len();
        assert!(bytes <= MOST_BYTES as u64, "{name}: {bytes} bytes");
    }
}

fn until(van: &mut Van, world: &World, stop: impl Fn(&Van) -> bool) {
    loop {
        assert!(van.drive(world, |_| true), "the day is over");
        if stop(van) {
            return;
        }
    }
}

fn of_fate(van: &Van, wanted: impl Fn(&Parcel) -> bool) -> String {
    van.day().parcels().iter().find(|parcel| wanted(parcel)).unwrap().key.clone()
}

fn page(world: &World, links: &[(String, String)], number: &str) -> String {
    let (_, url) = links.iter().find(|(known, _)| known == number).unwrap();
    url.strip_prefix(&world.url).unwrap().to_owned()
}

#[expect(clippy::too_many_lines, reason = "one day, scene by scene")]
#[test]
fn a_day_on_which_not_all_goes_well_is_told_to_those_it_concerns() {
    let Some(browser) = Browser::open("en-GB") else { return };
    let Some(world) = World::start() else { return };
    let camera = Camera { browser: &browser, world: &world };
    let mut links = Vec::new();
    let mut vans: Vec<Van> = ["VAN-042", "VAN-043", "VAN-044"]
        .into_iter()
        .zip(1..)
        .map(|(id, seed)| {
            let day = day(seed);
            links.extend(world.put(id, &day));
            let mut van = Van::new(&world, id, day);
            van.take_route(&world);
            van
        })
        .collect();
    camera.take("start-light-390", (390, "light"), "/", "Where is my parcel?");
    let [first, second, third] = &mut vans[..] else { unreachable!() };
    let start = first.utc;
    let minutes = |van: &Van| van.utc.millis_since(start) / 60_000;
    until(third, &world, |van| minutes(van) >= 9);
    third.connection(&world, ConnectionState::ConnectionBroken);

    let late = of_fate(first, |parcel| parcel.fate == Fate::Delivered && parcel.stop >= 7);
    let near = page(&world, &links, &late);
    browser.look(390, "light");
    browser.visit(&format!("{}{near}", world.url));
    while !browser.text("#status").starts_with("3 stops") {
        assert!(first.drive(&world, |_| true));
        std::thread::sleep(Duration::from_millis(20));
    }
    let reached = minutes(first);
    until(second, &world, |van| minutes(van) >= reached);
    // The newest word of the first is as young as that of the second.
    let caught_up = second.utc;
    until(first, &world, |van| van.utc >= caught_up);
    camera.take("near-light-390", (390, "light"), &near, "before yours");
    camera.take("near-dark-1280", (1280, "dark"), &near, "before yours");

    log_in(&browser, &world);
    browser.until_text(".vans", "VAN-044");
    camera.take("vans-light-1280", (1280, "light"), "/desk", "VAN-044");
    camera.take("offline-dark-390", (390, "dark"), "/desk/vans/VAN-044", "offline");
    camera.take("van-light-1280", (1280, "light"), "/desk/vans/VAN-042", "Left the station");

    let order = json!({"cmd": "delay", "args": {"reason": "weather", "seconds": 2700}});
    world.ask("planner", "POST /api/v1/vans/VAN-042/commands", &order);
    browser.visit(&format!("{}{near}", world.url));
    for _ in 0..100 {
        first.listen(&world);
        if browser.text("#why").contains("bad weather") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    camera.take("delayed-light-390", (390, "light"), &near, "bad weather");
    let lost = of_fate(first, |parcel| matches!(parcel.fate, Fate::Lost(_)));
    camera.take(
        "missing-light-1280",
        (1280, "light"),
        &format!("/desk/trace/{lost}"),
        "Every sighting",
    );
}
