//! Live streams: dropped connections, stopped instances, expired pages, and many pages at once.

use serde_json::json;
use waypost_backend::store::Statement;
use waypost_sim::ParcelOutcome;

use super::van::Van;
use super::world::{log_in, seen_in};

#[test]
fn a_page_tells_that_the_connection_is_lost_and_comes_back_by_itself() {
    let Some((browser, world)) = seen_in("de") else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    let (number, link) = van.parcel(|parcel| parcel.outcome == ParcelOutcome::Delivered);
    browser.look(390, "dark");
    browser.visit(&link);
    browser.until("document.querySelector('#timeline li')");
    browser.until_text("#status", "Vom Absender angekündigt");
    assert_eq!(browser.run("return document.documentElement.lang"), "de");
    browser.tools("Network.enable", &json!({}));
    let network = |offline: bool| {
        let how = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        browser.tools("Network.emulateNetworkConditions", &how);
    };
    network(true);
    // Chromium continues a running stream when set offline; `pagehide` ends it.
    browser.run("dispatchEvent(new Event('pagehide'))");
    browser.until_text("#link", "Verbindung unterbrochen. Stand: 07:");
    assert!(van.drive(&world, |told| told.kind == "parcel.loaded" && told.names(&number)));
    network(false);
    browser.until_text("#status", "Im Zustelldepot");
    browser.until("document.getElementById('link').hidden");
}

#[test]
fn a_page_comes_back_when_the_server_was_started_again() {
    let Some((browser, mut world)) = seen_in("en-GB") else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    let (number, link) = van.parcel(|parcel| parcel.outcome == ParcelOutcome::Delivered);
    browser.look(390, "light");
    browser.visit(&link);
    browser.until("document.querySelector('#timeline li')");
    world.stop();
    browser.until_text("#link", "Connection lost.");
    // The broker queues it for the absent instance.
    assert!(van.drive(&world, |told| told.kind == "parcel.loaded" && told.names(&number)));
    world.start_again();
    browser.until_text("#status", "At the delivery station");
    browser.until("document.getElementById('link').hidden");

    log_in(&browser, &world);
    browser.until_text(".vans", "VAN-042");
    world.stop();
    browser.until("!document.getElementById('link').hidden");
    world.start_again();
    assert!(van.drive(&world, |told| told.kind == "route.departed"));
    browser.until_text(".vans", "0 of 12 stops");
    browser.until("document.getElementById('link').hidden");
}

#[test]
fn a_page_that_expires_while_it_is_open_shows_nothing_more() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let mut van = Van::under_way(&world, "VAN-042", 1);
    van.arrives(&world, 1);
    let (number, link) =
        van.parcel(|parcel| parcel.stop >= 4 && parcel.outcome == ParcelOutcome::Delivered);
    browser.look(390, "light");
    browser.visit(&link);
    browser.until("document.querySelector('[data-place=van]')");
    let expired = Statement::new("UPDATE parcel SET ended_at = 1, expires_at = 2", []);
    world.runtime.block_on(world.shared.store.write(vec![expired])).unwrap();
    browser.until_text("h1", "This page is no longer available");
    assert!(!browser.text("body").contains(&number));
    assert!(browser.run("return document.querySelector('.map')").is_null());
}

#[test]
fn twenty_pages_of_one_browser_are_all_kept_up_to_date() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    let links = van.links(|parcel| parcel.outcome == ParcelOutcome::Delivered);
    assert!(links.len() > 12, "more than a browser has connections");
    let tabs: Vec<String> = links
        .iter()
        .cycle()
        .take(20)
        .map(|(_, link)| {
            let tab = browser.tab();
            browser.visit(link);
            browser.until("document.querySelector('#timeline li')");
            tab
        })
        .collect();
    assert!(van.drive(&world, |told| told.kind == "route.departed"));
    for tab in tabs {
        browser.look_at(&tab);
        browser.until("document.body.dataset.status === 'out_for_delivery'");
    }
}
