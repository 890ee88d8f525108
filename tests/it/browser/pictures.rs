//! What recipients and dispatchers see of days on which not all goes well: each scene says what is on a page, and what
//! must not be, and takes its picture.

mod camera;

use std::time::Duration;

use serde_json::json;
use waypost::backend::store::Statement;
use waypost::simulate::{Fate, Parcel};
use waypost::wire::json::ConnectionState;

use self::camera::{Camera, OnMap};
use super::van::Van;
use super::world::{World, log_in, seen_in};
use crate::support::backend::utc;
use crate::support::webdriver::Browser;

/// Drives until something is so after an event or a position.
fn until(van: &mut Van, world: &World, so: impl Fn(&Van) -> bool) {
    while !so(van) {
        assert!(van.drive(world, |_| true), "the day is over");
    }
}

/// Drives until one of these is told, and says of which parcel.
fn until_told(van: &mut Van, world: &World, kind: &str, with: &str) -> String {
    let mut number = None;
    van.drive(world, |told| {
        let found = told.kind == kind && told.text.contains(with);
        number = found.then(|| told.parcels().first().cloned()).flatten();
        found
    });
    number.unwrap_or_else(|| panic!("no {kind} with {with}"))
}

/// Lets the others be as far as the first: what they said is as young.
fn together(first: &Van, others: &mut [&mut Van], world: &World) {
    for other in others {
        until(other, world, |other| other.utc >= first.utc);
    }
}

fn due_late(parcel: &Parcel) -> bool {
    parcel.fate == Fate::Delivered && parcel.stop >= 9
}

#[test]
fn a_wrong_stop_an_attempt_and_a_silent_van_are_told_to_whom_they_concern() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let camera = Camera { browser: &browser, world: &world };
    let [mut van, mut gone, mut fine] = [("VAN-042", 2), ("VAN-043", 3), ("VAN-044", 4)]
        .map(|(id, seed)| Van::ready(&world, id, seed));
    for van in [&mut van, &mut gone, &mut fine] {
        assert!(van.drive(&world, |told| told.kind == "route.departed"));
    }
    log_in(&browser, &world);
    camera.take(
        "vans-calm",
        "/desk",
        &["3 vans", "none needs you"],
        &["wrong stop", "offline", "parcel missing"],
    );

    let attempted = until_told(&mut van, &world, "parcel.attempted", "no_one_home");
    together(&van, &mut [&mut gone, &mut fine], &world);
    let says = [
        "Could not be delivered",
        "Reason: nobody was at home. It goes back to the station and will be tried again.",
        "It is too late to change this delivery",
    ];
    camera.recipient("attempted", (&van, &attempted), OnMap::Hidden, &says);
    camera.take("attempted-van", "/desk/vans/VAN-042", &["Attempted · nobody was at home"], &[]);
    let says = ["Attempted · nobody was at home", "Still to come: “Back at the station”"];
    camera.take("attempted-trace", &format!("/desk/trace/{attempted}"), &says, &[]);

    let wrong = until_told(&mut van, &world, "parcel.seen", "wrong_stop");
    together(&van, &mut [&mut gone, &mut fine], &world);
    // Whom it is for learns nothing of it: the parcel is still to come.
    camera.recipient(
        "wrong-stop",
        (&van, &wrong),
        OnMap::Shown,
        &["stops before yours", "Expected"],
    );
    let due = van.day().parcels().iter().find(|parcel| parcel.key == wrong).unwrap();
    let due = van.day().stop_id(due.stop).unwrap();
    let says = format!("{wrong} was scanned at stop-3; it is due at {due}, ");
    camera.take("wrong-stop-vans", "/desk", &["wrong stop", &says], &["none needs"]);
    camera.take("wrong-stop-van", "/desk/vans/VAN-042", &["Ask the driver", &says], &[]);
    let says = ["Scanned at another stop", "Seen · wrong stop", &format!("{due}, "), " m away"];
    camera.take("wrong-stop-trace", &format!("/desk/trace/{wrong}"), &says, &["hours ago"]);

    gone.connection(&world, ConnectionState::ConnectionBroken);
    let silent_until = utc("2026-11-23T06:44:30.000Z");
    until(&mut van, &world, |van| van.utc >= silent_until);
    together(&van, &mut [&mut fine], &world);
    let (waits, _) = gone.parcel(due_late);
    let says = ["before yours", "appears on a map when it is near and we know where it is"];
    camera.recipient("offline", (&gone, &waits), OnMap::Hidden, &says);
    camera.take("vans", "/desk", &["VAN-043", "offline", "last heard"], &[]);
    let says = ["offline", "Last position", "minutes ago", "broken"];
    camera.take("offline-van", "/desk/vans/VAN-043", &says, &["Driving", "Standing"]);
}

#[test]
fn a_parcel_whose_tag_falls_silent_is_missed_at_the_desk_before_its_stop() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let camera = Camera { browser: &browser, world: &world };
    let mut van = Van::under_way(&world, "VAN-042", 1);
    let (lost, _) = van.parcel(|parcel| matches!(parcel.fate, Fate::Lost(_)));
    log_in(&browser, &world);
    let silent = until_told_missing(&mut van, &world, &lost);
    until(&mut van, &world, |van| van.utc.millis_since(silent) > 190_000);
    let says = format!("{lost} for ");
    camera.take("missing-vans", "/desk", &["parcel missing", &says, "is missing; last seen"], &[]);
    camera.take("missing-van", "/desk/vans/VAN-042", &["Ask the driver", &says], &[]);
    let says = ["Its radio tag fell silent on the way", "Every sighting", "Inventory by radio"];
    camera.take("missing-trace", &format!("/desk/trace/{lost}"), &says, &["hours ago"]);
    // A tag may be hidden behind other parcels: nobody is alarmed before the driver has looked.
    camera.recipient("missing-before", (&van, &lost), OnMap::Shown, &["Expected"]);
    while van.drive(&world, |_| true) {}
    world.now(van.utc.checked_add(Duration::from_mins(11)).unwrap());
    let says = ["There is a problem with your parcel", "Somebody is looking into it"];
    camera.recipient("missing", (&van, &lost), OnMap::Hidden, &says);
}

fn until_told_missing(van: &mut Van, world: &World, number: &str) -> waypost::units::UtcTime {
    assert!(van.drive(world, |told| {
        let missing = told.text.split("van:missing").nth(1);
        told.kind == "van.inventory" && missing.is_some_and(|rest| rest.contains(number))
    }));
    van.utc
}

#[test]
fn bad_weather_is_told_with_its_reason_and_takes_the_van_from_the_map() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let camera = Camera { browser: &browser, world: &world };
    let mut van = Van::under_way(&world, "VAN-042", 1);
    let (number, _) = van.parcel(due_late);
    van.arrives(&world, 3);
    camera.recipient("near", (&van, &number), OnMap::Shown, &["before yours", "Expected"]);
    let order = json!({"cmd": "delay", "args": {"reason": "weather", "seconds": 2700}});
    world.ask("planner", "POST /api/v1/vans/VAN-042/commands", &order);
    answered(&browser, &mut van, &world, |browser| browser.text("#why").contains("bad weather"));
    let says = ["Delayed by about 45 minutes: bad weather.", "we do not show the van on a map"];
    camera.recipient("delayed", (&van, &number), OnMap::Hidden, &says);
    assert!(!browser.text("body").contains("Expected"));
    log_in(&browser, &world);
    camera.take("delayed-vans", "/desk", &["delayed", "1 needs you"], &["offline"]);
    let says = ["delayed", "Behind the plan", "45 min, bad weather"];
    camera.take("delayed-van", "/desk/vans/VAN-042", &says, &[]);
}

/// Lets the van take what it is asked until a page shows it.
fn answered(browser: &Browser, van: &mut Van, world: &World, so: impl Fn(&Browser) -> bool) {
    for _ in 0..200 {
        van.listen(world);
        if so(browser) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("never answered: {}", browser.text("body"));
}

#[test]
fn a_parcel_has_a_page_from_its_announcement_until_that_is_gone() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let camera = Camera { browser: &browser, world: &world };
    let mut van = Van::ready(&world, "VAN-042", 1);
    let (number, url) = van.parcel(due_late);
    camera.take("start", "/", &["Where is my parcel?"], &[]);
    camera.take("start-german", "/?lang=de", &["Wo ist mein Paket?"], &["parcel"]);
    camera.take("start-rtl", "/?dir=rtl", &["Where is my parcel?"], &[]);
    let says = ["Announced by the sender", "Planned for", "Change the delivery"];
    camera.recipient("waiting", (&van, &number), OnMap::Hidden, &says);
    assert!(van.drive(&world, |told| told.kind == "parcel.loaded" && told.names(&number)));
    let says = ["At the delivery station", "Loaded into the van"];
    camera.recipient("loaded", (&van, &number), OnMap::Hidden, &says);
    let next = |van: &mut Van, said: &str| {
        browser.visit(&url);
        while !browser.text("#status").contains(said) {
            assert!(van.drive(&world, |_| true));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    next(&mut van, "3 stops before yours");
    // Whom the page showed this choice before it was too late for it.
    browser.look(390, "light");
    browser.click("#manage input[value=other_day]");
    browser.run("document.getElementById('wish-other_day').value = '2026-11-25'");
    browser.click("#manage .primary");
    browser.until_text("#manage .refused", "It is too late for another day");
    camera.shoot("too-late");
    let track = url.strip_prefix(&world.url).unwrap();
    camera.recipient("near-3", (&van, &number), OnMap::Shown, &["3 stops before yours"]);
    camera.take(
        "near-german",
        &format!("{track}?lang=de"),
        &["Noch 3 Stopps vor Ihrem"],
        &["stop"],
    );
    camera.take("near-rtl", &format!("{track}?dir=rtl"), &["3 stops before yours"], &[]);
    next(&mut van, "You are next");
    camera.recipient("next", (&van, &number), OnMap::Shown, &["You are next", "Expected"]);
    assert!(van.drive(&world, |told| told.kind == "stop.arrived" && told.names(&number)));
    let says = ["The van is at your stop", "It is too late to change this delivery"];
    camera.recipient("arrived", (&van, &number), OnMap::Shown, &says);
    assert!(van.drive(&world, |told| told.kind == "parcel.delivered" && told.names(&number)));
    let says = ["Delivered", "Handed over", "Scanned at your stop", "nothing can be changed"];
    camera.recipient("delivered", (&van, &number), OnMap::Hidden, &says);
    let expired = Statement::new("UPDATE parcel SET ended_at = 1, expires_at = 2", []);
    world.runtime.block_on(world.shared.store.write(vec![expired])).unwrap();
    camera.take("gone", track, &["This page is no longer kept", "Find a parcel"], &[&number]);
    camera.take("nowhere", "/t/nothing", &["This link leads nowhere"], &[]);
}

#[test]
fn the_rooms_of_the_desk_say_what_they_are_for() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let camera = Camera { browser: &browser, world: &world };
    camera.take("login", "/desk", &["Access token"], &["VAN-"]);
    let mut van = Van::under_way(&world, "VAN-042", 1);
    van.arrives(&world, 4);
    van.publish(&world, "track", b"no JSON".to_vec());
    log_in(&browser, &world);
    camera.take("vans-german", "/desk?lang=de", &["Wagen", "VAN-042"], &[]);
    camera.take("van-german", "/desk/vans/VAN-042?lang=de", &["erledigte Stopps"], &[]);
    camera.take("van-rtl", "/desk/vans/VAN-042?dir=rtl", &["stops that are done"], &[]);
    camera.take("trace", "/desk/trace", &["Each search is recorded"], &[]);
    camera.take("trace-nothing", "/desk/trace/X", &["Nothing is known of this number"], &[]);
    camera.take("van-nothing", "/desk/vans/X", &["There is nothing by this name"], &[]);
    camera.take("poison", "/desk/poison", &["fleet/v1/VAN-042/track", "7 B"], &[]);
    camera.take(
        "audit",
        "/desk/audit",
        &["Who has looked", "VAN-042, 23 November 2026"],
        &["T23:"],
    );
}
