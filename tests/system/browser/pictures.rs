//! Pages of recipients and dispatchers on days with problems. Each scene states the texts that a
//! page must and must not contain, and takes its picture.

mod camera;

use std::time::Duration;

use serde_json::json;
use waypost_backend::store::Statement;
use waypost_sim::{Parcel, ParcelOutcome};
use waypost_wire::payloads::ConnectionState;

use self::camera::{Camera, OnMap};
use super::van::Van;
use super::world::{World, log_in, seen_in};
use crate::support::backend::utc;
use crate::support::webdriver::Browser;

/// Drives until the condition holds after an event or a position.
fn drive_until(van: &mut Van, world: &World, so: impl Fn(&Van) -> bool) {
    while !so(van) {
        assert!(van.drive(world, |_| true), "the day is over");
    }
}

/// Drives until a matching event is published, and returns its parcel.
fn drive_until_event(van: &mut Van, world: &World, kind: &str, with: &str) -> String {
    let mut number = None;
    van.drive(world, |told| {
        let found = told.kind == kind && told.text.contains(with);
        number = found.then(|| told.parcels().first().cloned()).flatten();
        found
    });
    number.unwrap_or_else(|| panic!("no {kind} with {with}"))
}

/// Drives the other vans up to the first one's time, so that their messages are equally recent.
fn catch_up(first: &Van, others: &mut [&mut Van], world: &World) {
    for other in others {
        drive_until(other, world, |other| other.utc >= first.utc);
    }
}

fn due_late(parcel: &Parcel) -> bool {
    parcel.outcome == ParcelOutcome::Delivered && parcel.stop >= 9
}

#[test]
fn a_wrong_stop_an_attempt_and_a_silent_van_are_told_to_whom_they_concern() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let camera = Camera { browser: &browser, world: &world };
    let [mut van, mut gone, mut ok] = [("VAN-042", 2), ("VAN-043", 3), ("VAN-044", 4)]
        .map(|(id, seed)| Van::ready(&world, id, seed));
    for van in [&mut van, &mut gone, &mut ok] {
        assert!(van.drive(&world, |told| told.kind == "route.departed"));
    }
    log_in(&browser, &world);
    camera.take(
        "vans-calm",
        "/desk",
        &["3 vans", "none need attention"],
        &["wrong stop", "offline", "parcel missing"],
    );

    let attempted = drive_until_event(&mut van, &world, "parcel.attempted", "no_one_home");
    catch_up(&van, &mut [&mut gone, &mut ok], &world);
    let says = [
        "Delivery attempt failed",
        "Reason: no one was at home. Your parcel is going back to the delivery station.",
        "It’s too late to change this delivery",
    ];
    camera.recipient("attempted", (&van, &attempted), OnMap::Hidden, &says);
    camera.take(
        "attempted-van",
        "/desk/vans/VAN-042",
        &["Delivery attempt failed · no one was at home"],
        &[],
    );
    let says = [
        "Delivery attempt failed · no one was at home",
        "Next expected step: “Back at the delivery station”",
    ];
    camera.take("attempted-trace", &format!("/desk/trace/{attempted}"), &says, &[]);

    let wrong = drive_until_event(&mut van, &world, "parcel.seen", "wrong_stop");
    catch_up(&van, &mut [&mut gone, &mut ok], &world);
    // The recipient does not learn of it: the parcel is still due.
    camera.recipient(
        "wrong-stop",
        (&van, &wrong),
        OnMap::Shown,
        &["stops before yours", "Expected"],
    );
    let due = van.day().parcels().iter().find(|parcel| parcel.key == wrong).unwrap();
    let due = van.day().stop_id(due.stop).unwrap();
    let says = format!("{wrong} was scanned at stop-3. It is due at {due}, ");
    camera.take("wrong-stop-vans", "/desk", &["wrong stop", &says], &["none need"]);
    camera.take("wrong-stop-van", "/desk/vans/VAN-042", &["Ask the driver", &says], &[]);
    let says = ["Scanned at another stop", "Scanned · wrong stop", &format!("{due}, "), " m away"];
    camera.take("wrong-stop-trace", &format!("/desk/trace/{wrong}"), &says, &["hours ago"]);

    gone.connection(&world, ConnectionState::ConnectionBroken);
    let silent_until = utc("2026-11-23T06:44:30.000Z");
    drive_until(&mut van, &world, |van| van.utc >= silent_until);
    catch_up(&van, &mut [&mut ok], &world);
    let (waits, _) = gone.parcel(due_late);
    let says = ["before yours", "appears when the van is nearby and its position is known"];
    camera.recipient("offline", (&gone, &waits), OnMap::Hidden, &says);
    camera.take("vans", "/desk", &["VAN-043", "offline", "last message"], &[]);
    let says = ["offline", "Last position", "minutes ago", "connection lost"];
    camera.take("offline-van", "/desk/vans/VAN-043", &says, &["Driving", "Stationary"]);
}

#[test]
fn a_parcel_whose_tag_falls_silent_is_missed_in_dispatch_before_its_stop() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let camera = Camera { browser: &browser, world: &world };
    let mut van = Van::under_way(&world, "VAN-042", 1);
    let (lost, _) = van.parcel(|parcel| matches!(parcel.outcome, ParcelOutcome::Lost(_)));
    log_in(&browser, &world);
    let silent = drive_until_missing(&mut van, &world, &lost);
    drive_until(&mut van, &world, |van| van.utc.millis_since(silent) > 190_000);
    let says = format!("{lost} for ");
    camera.take("missing-vans", "/desk", &["parcel missing", &says, "is missing. Last seen"], &[]);
    camera.take("missing-van", "/desk/vans/VAN-042", &["Ask the driver", &says], &[]);
    let says = ["RFID tag no longer detected", "All sightings", "RFID inventory"];
    camera.take("missing-trace", &format!("/desk/trace/{lost}"), &says, &["hours ago"]);
    // Other parcels may hide a tag, so no alarm is raised before the driver has checked.
    camera.recipient("missing-before", (&van, &lost), OnMap::Shown, &["Expected"]);
    while van.drive(&world, |_| true) {}
    world.now(van.utc.checked_add(Duration::from_mins(11)).unwrap());
    let says = ["There is a problem with your parcel", "We are looking into it"];
    camera.recipient("missing", (&van, &lost), OnMap::Hidden, &says);
}

fn drive_until_missing(
    van: &mut Van,
    world: &World,
    number: &str,
) -> waypost_model::units::UtcTime {
    assert!(van.drive(world, |told| {
        let missing = told.text.split("waypost:missing").nth(1);
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
    let order = json!({"cmd": "set_delay", "args": {"reason": "weather", "delay_s": 2700}});
    world.request("planner", "POST /api/v1/vans/VAN-042/commands", &order);
    answered(&browser, &mut van, &world, |browser| browser.text("#why").contains("bad weather"));
    let says = ["Delayed by about 45 minutes: bad weather.", "The map is not available"];
    camera.recipient("delayed", (&van, &number), OnMap::Hidden, &says);
    assert!(!browser.text("body").contains("Expected"));
    log_in(&browser, &world);
    camera.take("delayed-vans", "/desk", &["delayed", "1 needs attention"], &["offline"]);
    let says = ["delayed", "Delay", "45 min, bad weather"];
    camera.take("delayed-van", "/desk/vans/VAN-042", &says, &[]);
}

/// Lets the van process commands until a page shows the result.
fn answered(browser: &Browser, van: &mut Van, world: &World, so: impl Fn(&Browser) -> bool) {
    for _ in 0..200 {
        van.receive_commands(world);
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
    let says = ["Announced by the sender", "Planned for", "Delivery instructions"];
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
    // The page offered this choice before it was too late.
    browser.look(390, "light");
    browser.click("#manage input[value=other_day]");
    browser.run("document.getElementById('wish-other_day').value = '2026-11-25'");
    browser.click("#manage .primary");
    browser.until_text("#manage .refused", "It’s too late to choose another day");
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
    next(&mut van, "You’re next");
    camera.recipient("next", (&van, &number), OnMap::Shown, &["You’re next", "Expected"]);
    assert!(van.drive(&world, |told| told.kind == "stop.arrived" && told.names(&number)));
    let says = ["The van is at your stop", "It’s too late to change this delivery"];
    camera.recipient("arrived", (&van, &number), OnMap::Shown, &says);
    assert!(van.drive(&world, |told| told.kind == "parcel.delivered" && told.names(&number)));
    let says = ["Delivered", "Handed over", "Scanned at your stop", "can no longer be changed"];
    camera.recipient("delivered", (&van, &number), OnMap::Hidden, &says);
    let expired = Statement::new("UPDATE parcel SET ended_at = 1, expires_at = 2", []);
    world.runtime.block_on(world.shared.store.write(vec![expired])).unwrap();
    camera.take("gone", track, &["This page is no longer available", "Find a parcel"], &[&number]);
    camera.take("nowhere", "/t/nothing", &["This link is not valid"], &[]);
}

#[test]
fn each_section_of_dispatch_states_its_purpose() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let camera = Camera { browser: &browser, world: &world };
    camera.take("login", "/desk", &["Access token"], &["VAN-"]);
    let mut van = Van::under_way(&world, "VAN-042", 1);
    van.arrives(&world, 4);
    van.publish(&world, "track", b"no JSON".to_vec());
    log_in(&browser, &world);
    camera.take("vans-german", "/desk?lang=de", &["Fahrzeuge", "VAN-042"], &[]);
    camera.take("van-german", "/desk/vans/VAN-042?lang=de", &["erledigte Stopps"], &[]);
    camera.take("van-rtl", "/desk/vans/VAN-042?dir=rtl", &["completed stops"], &[]);
    camera.take("trace", "/desk/trace", &["Every search is recorded"], &[]);
    camera.take("trace-nothing", "/desk/trace/X", &["No parcel with this number was found"], &[]);
    camera.take("van-nothing", "/desk/vans/X", &["Not found."], &[]);
    camera.take("poison", "/desk/poison", &["fleet/v1/VAN-042/track", "7 B"], &[]);
    camera.take("audit", "/desk/audit", &["Access log", "VAN-042, 23 November 2026"], &["T23:"]);
}
