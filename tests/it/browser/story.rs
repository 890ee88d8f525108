//! A parcel's day as its recipient and a dispatcher see it.

use std::time::Duration;

use waypost::simulate::Fate;

use super::van::Van;
use super::world::{POSTCODE, World, seen_in};
use crate::support::webdriver::{Browser, key};

/// Real time between positions, so that pages see each.
const STEP: Duration = Duration::from_millis(30);

/// Positions that are looked for.
const SAMPLES: usize = 24;

#[expect(clippy::too_many_lines, reason = "one story, from its beginning to its end")]
#[test]
fn a_parcel_is_followed_from_its_number_to_its_proof() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    // In the midst of the day, with others before it.
    let (number, link) = van.parcel(|parcel| parcel.stop >= 7 && parcel.fate == Fate::Delivered);

    browser.look(390, "light");
    browser.visit(&world.url);
    browser.type_into("#number", &number);
    browser.type_into("#postcode", "99999");
    browser.click("#find button");
    browser.until_text("#refused", "No parcel with this number and postcode");
    browser.run("document.getElementById('postcode').value = ''");
    browser.type_into("#postcode", POSTCODE);
    browser.press(key::ENTER);
    browser.until("location.pathname.startsWith('/t/')");
    assert_eq!(browser.run("return location.href").as_str().unwrap(), link);
    browser.until_text("#status", "Announced by the sender");
    browser.run(
        "window.said = []; window.moves = 0;
         new MutationObserver(() => said.push([status_.innerText, document.getElementById('why').innerText]))
             .observe(window.status_ = document.getElementById('status'), { childList: true, characterData: true, subtree: true });
         new MutationObserver((changes) => {
             moves += changes.filter((change) => change.target.dataset.place === 'van').length;
         }).observe(document.getElementById('map'), { attributes: true, attributeFilter: ['transform'], subtree: true });",
    );

    assert!(van.drive(&world, |told| told.kind == "parcel.loaded" && told.names(&number)));
    browser.until_text("#status", "At the delivery station");
    assert!(van.drive(&world, |told| told.kind == "route.departed"));
    browser.until_text("#status", "stops before yours");

    let asked = ask_for_a_safe_place(&browser, &world, &mut van);
    assert_eq!(asked, "You asked: leave it here: “behind the bicycles”. The driver knows.");
    van.before = Some((number.clone(), "VANCTL:LEAVE:SAFE"));

    let mut seen = false;
    let delivered = van.drive(&world, |told| {
        std::thread::sleep(STEP);
        seen |= browser.run("return Boolean(document.querySelector('[data-place=van]'))") == true;
        told.kind == "parcel.delivered" && told.names(&number)
    });
    assert!(delivered && seen);
    let began = browser.run("return performance.now()").as_f64().unwrap();
    browser.until("!document.querySelector('[data-place=van]')");
    let gone = browser.run("return performance.now()").as_f64().unwrap();
    assert!(gone - began < 1000.0, "the van was there for {} ms after the delivery", gone - began);
    browser.until_text("#status", "Delivered");
    browser.until_text("#proof", "Left at a safe place");
    browser.until_text("#proof", "Done as you asked");
    browser.until_text("#proof", "Scanned at your stop");
    browser.until_text("#manage", "nothing can be changed any more");
    assert!(browser.run("return document.getElementById('live').hidden") == true);

    let said = browser.run("return said");
    let counts: Vec<(u32, &str)> = said
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|pair| {
            let why = pair[1].as_str().unwrap();
            match pair[0].as_str().unwrap() {
                "You are next" => Some((0, why)),
                text => Some((text.split_once(' ')?.0.parse().ok()?, why)),
            }
        })
        .collect();
    for pair in counts.windows(2) {
        let (before, (after, why)) = (pair[0].0, pair[1]);
        let told = why.contains("order of the stops has changed");
        assert!(after <= before || told, "{counts:?}");
    }
    assert!(counts.len() >= 5 && counts.last().is_some_and(|last| last.0 == 0), "{counts:?}");
    assert!(browser.run("return moves").as_u64().unwrap() > 20);
    let complaints = browser.complaints();
    // The wrong postcode is a 404, which the console tells.
    assert!(
        complaints.iter().all(|said| said.contains("/api/v1/track") && said.contains("404")),
        "{complaints:?}"
    );
}

/// What a viewer sees of a position, from its publishing to the first frame with it; ms, in order.
fn publish_to_pixel(browser: &Browser, world: &World, van: &mut Van) -> Vec<f64> {
    browser.run(
        "window.frames = [];
         new MutationObserver((changes) => changes.some((change) => change.target.dataset.place === 'van') && frames.push(Date.now()))
             .observe(document.getElementById('map'), { attributes: true, attributeFilter: ['transform'], subtree: true });",
    );
    let mut took = Vec::new();
    van.every = Duration::from_secs(12);
    for _ in 0..SAMPLES {
        // What is shown before is over: the van stands on the map.
        std::thread::sleep(Duration::from_millis(1500));
        browser.run("frames.length = 0");
        // Before it is even made.
        let published = browser.run("return Date.now()").as_f64().unwrap();
        if !van.drive(world, |told| told.kind == "position") {
            break;
        }
        std::thread::sleep(Duration::from_millis(1200));
        if let Some(first) = browser.run("return frames.find((at) => at > 0) ?? null").as_f64() {
            took.push((first - published).max(0.0));
        }
    }
    took.sort_by(f64::total_cmp);
    took
}

#[test]
fn a_position_is_on_an_open_page_within_half_a_second() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    let (_, link) = van.parcel(|parcel| parcel.stop >= 9 && parcel.fate == Fate::Delivered);
    browser.look(390, "light");
    browser.media(&[("prefers-reduced-motion", "reduce")]);
    browser.visit(&link);
    browser.until_text("#status", "Announced");
    van.arrives(&world, 3);
    browser.until("document.querySelector('[data-place=van]')");
    let took = publish_to_pixel(&browser, &world, &mut van);
    assert!(took.len() >= SAMPLES / 4, "the van hardly moved: {took:?}");
    let percentile = |part: usize| took[(took.len() - 1) * part / 100];
    eprintln!(
        "publish to pixel, {} moves: p50 {} ms, p99 {} ms",
        took.len(),
        percentile(50),
        percentile(99)
    );
    assert!(percentile(50) <= 500.0 && percentile(99) <= 1000.0, "{took:?}");
}

/// By keyboard alone, while the van is on its way.
fn ask_for_a_safe_place(browser: &Browser, world: &World, van: &mut Van) -> String {
    browser.tab_to("#manage input[type=radio]");
    browser.press(key::SPACE);
    browser.tab_to("#wish-safe_place");
    browser.press("behind the bicycles");
    browser.press(key::ENTER);
    browser.until("!document.querySelector('.asked').hidden");
    for _ in 0..200 {
        van.listen(world);
        if browser.text(".asked").ends_with("The driver knows.") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    browser.text(".asked")
}
