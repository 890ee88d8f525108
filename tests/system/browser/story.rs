//! A parcel's day as the recipient sees it, on the page and in emails.

use std::time::Duration;

use waypost_backend::notifications;
use waypost_backend::store::Statement;
use waypost_sim::ParcelOutcome;

use super::van::Van;
use super::world::{POSTCODE, World, seen_in};
use crate::support::smtp_server::{self, ReceivedMessages, start_smtp_server};
use crate::support::webdriver::{Browser, key};

/// Real time between positions, so that pages receive each one.
const STEP: Duration = Duration::from_millis(30);

/// Records each status text with the visibility of the van, and counts the van's moves.
const RECORDER_SCRIPT: &str = "
    window.said = []; window.moves = 0;
    const [status, why] = ['status', 'why'].map((id) => document.getElementById(id));
    window.van = () => Boolean(document.querySelector('[data-place=van]'));
    new MutationObserver(() => said.push([status.innerText, why.innerText, van()]))
        .observe(status, { childList: true, characterData: true, subtree: true });
    new MutationObserver((changes) => {
        moves += changes.filter((change) => change.target.dataset.place === 'van').length;
    }).observe(document.getElementById('map'), { attributes: true, attributeFilter: ['transform'], subtree: true });";

#[test]
fn a_parcel_is_followed_from_its_number_to_its_proof() {
    let Some(browser) = Browser::open("en-GB") else { return };
    let (office, emails) = start_smtp_server();
    let with_letters =
        World::with(|config| config.notifications.smtp = Some(smtp_server::smtp_config(office)));
    let Some(world) = with_letters else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    van.copies = 2;
    // In the middle of the day, with others before it.
    let (number, link) =
        van.parcel(|parcel| parcel.stop >= 7 && parcel.outcome == ParcelOutcome::Delivered);

    browser.look(390, "light");
    find(&browser, &world, &number);
    assert_eq!(browser.run("return location.href").as_str().unwrap(), link);
    browser.until_text("#status", "Announced by the sender");
    browser.run(RECORDER_SCRIPT);
    assert!(browser.run("return document.getElementById('alert-webhook')").is_null());
    for (address, shown) in
        [("max@example.com", "m…@example.com"), ("erika@example.org", "e…@example.org")]
    {
        browser.type_into("#alert-email", address);
        browser.press(key::ENTER);
        browser.until_text(".told", shown);
        browser.until_text(".told", "please confirm");
        confirm(&wait_for_emails(&emails, address, 1)[0]);
    }
    browser.until("!document.querySelector('.told').innerText.includes('please confirm')");

    assert!(van.drive(&world, |told| told.kind == "parcel.loaded" && told.names(&number)));
    browser.until_text("#status", "At the delivery station");
    assert!(van.drive(&world, |told| told.kind == "route.departed"));
    browser.until_text("#status", "stops before yours");
    let told = wait_for_emails(&emails, "erika@example.org", 2);
    unsubscribe(&world, &told[1]);

    let asked = ask_for_a_safe_place(&browser, &world, &mut van);
    assert_eq!(
        asked,
        "Your delivery instructions: leave it in a safe place (“behind the bicycles”). They are in the van’s list. We cannot promise them."
    );
    van.before = Some((number.clone(), "VANCTL:LEAVE:SAFE"));

    let is_near = van.drive(&world, |_| {
        std::thread::sleep(STEP);
        browser.text("#status").starts_with("3 stops")
    });
    assert!(is_near && browser.run("return van()") == true);
    wait_for_emails(&emails, "max@example.com", 3);
    let delivered = van.drive(&world, |told| {
        std::thread::sleep(STEP);
        told.kind == "parcel.delivered" && told.names(&number)
    });
    assert!(delivered);
    browser.until_text("#status", "Delivered");
    browser.until_text("#proof", "Left in a safe place");
    browser.until_text("#proof", "Followed");
    browser.until_text("#proof", "Scanned at your stop");
    browser.until_text("#manage", "can no longer be changed");
    assert!(browser.run("return document.getElementById('live').hidden") == true);
    // A driver who takes a delivery back is at that stop again.
    let is_retracted =
        |event: &&Vec<u8>| String::from_utf8_lossy(event).contains("errorDeclaration");
    let retracted = van.events.iter().filter(is_retracted).count();
    what_was_said_makes_sense(&browser, retracted);

    each_was_told_once(&browser, &world, &mut van, &emails);
}

/// Holds also after the van has published its whole day a second time.
fn each_was_told_once(browser: &Browser, world: &World, van: &mut Van, emails: &ReceivedMessages) {
    wait_for_emails(emails, "max@example.com", 4);
    van.repeat(world);
    // Once this is stored, all repeated events have been processed.
    van.arrives(world, 1);
    while stored(world) < van.events.len() {
        std::thread::sleep(STEP);
    }
    world.runtime.block_on(notifications::run_once(&world.shared)).unwrap();
    assert_eq!(stored(world), van.events.len());
    let told = emails_to(emails, "max@example.com");
    let subjects: Vec<&str> = told.iter().map(|letter| field(letter, "Subject: ")).collect();
    assert_eq!(
        subjects,
        [
            "Please confirm: messages about your parcel",
            "Your parcel is out for delivery",
            "Your parcel is nearby",
            "Your parcel has been delivered"
        ]
    );
    assert_eq!(emails_to(emails, "erika@example.org").len(), 2, "she had unsubscribed");
    browser.visit(field(&told[3], "Track your parcel: "));
    browser.until_text("#status", "Delivered");
    browser.until_text(".told", "m…@example.com");
    assert!(!browser.text(".told").contains("example.org"));
}

/// Looks up by number and postcode, with a wrong postcode first.
fn find(browser: &Browser, world: &World, number: &str) {
    browser.visit(&world.url);
    browser.type_into("#number", number);
    browser.type_into("#postcode", "99999");
    browser.click("#find button");
    browser.until_text("#refused", "We couldn’t find a parcel with this number and postcode");
    browser.run("document.getElementById('postcode').value = ''");
    browser.type_into("#postcode", POSTCODE);
    browser.press(key::ENTER);
    browser.until("location.pathname.startsWith('/t/')");
    let complaints = browser.console_errors();
    // The console reports the 404 for the wrong postcode.
    assert!(
        complaints.iter().all(|said| said.contains("/api/v1/track") && said.contains("404")),
        "{complaints:?}"
    );
}

/// Uses the keyboard only, while the van is on its way.
fn ask_for_a_safe_place(browser: &Browser, world: &World, van: &mut Van) -> String {
    browser.tab_to("#manage input[type=radio]");
    browser.press(key::SPACE);
    browser.tab_to("#wish-safe_place");
    browser.press("behind the bicycles");
    browser.press(key::ENTER);
    browser.until("!document.querySelector('.asked').hidden");
    for _ in 0..200 {
        van.receive_commands(world);
        if browser.text(".asked").ends_with("They are in the van’s list. We cannot promise them.")
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    browser.text(".asked")
}

/// Stops count down and rise only with a reason or by a retracted delivery, and a delivered parcel's
/// page shows no van.
fn what_was_said_makes_sense(browser: &Browser, retracted: usize) {
    let mut taken_back = 0;
    let said = browser.run("return said");
    let said = said.as_array().unwrap();
    let mut counts = Vec::new();
    for noted in said {
        let [status, why] = [0, 1].map(|at| noted[at].as_str().unwrap());
        let stops = match status {
            "You’re next" => Some(0),
            text => text.split_once(' ').and_then(|(count, _)| count.parse::<u32>().ok()),
        };
        let told = why.contains("The route has changed");
        let before = counts.last().copied().unwrap_or(u32::MAX);
        if stops.is_some_and(|stops| stops > before && !told) {
            taken_back += 1;
            assert!(stops == Some(before + 1) && taken_back <= retracted, "{said:?}");
        }
        counts.extend(stops);
        assert!(status != "Delivered" || noted[2] == false, "{said:?}");
    }
    assert!(counts.len() >= 5 && counts.last() == Some(&0), "{counts:?}");
    assert!(browser.run("return moves").as_u64().unwrap() > 20);
    assert_eq!(browser.console_errors(), [""; 0]);
}

/// Returns the number of events in the backend.
fn stored(world: &World) -> usize {
    let count = Statement::new("SELECT COUNT(*) FROM event", []);
    let rows = world.runtime.block_on(world.shared.store.read(count)).unwrap();
    usize::try_from(rows[0].int(0)).unwrap()
}

/// Returns the emails to an address, decoded (quoted-printable, RFC 2045 §6.7) as far as the tests
/// require.
fn emails_to(emails: &ReceivedMessages, address: &str) -> Vec<String> {
    let emails = emails.lock().unwrap();
    let decoded = emails.iter().map(|letter| letter.replace("=\n", "").replace("=3D", "="));
    decoded.filter(|letter| field(letter, "To: ") == address).collect()
}

fn wait_for_emails(emails: &ReceivedMessages, address: &str, count: usize) -> Vec<String> {
    for _ in 0..400 {
        let told = emails_to(emails, address);
        if told.len() >= count {
            return told;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{address} got no email: {emails:?}");
}

/// Returns the rest of the line with this prefix.
fn field<'a>(letter: &'a str, name: &str) -> &'a str {
    let line = letter.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name:?} in {letter}"))
}

/// Confirms by the link in the confirmation mail, in a separate browser.
fn confirm(letter: &str) {
    let reader = Browser::open("en-GB").unwrap();
    reader.visit(field(letter, "Confirm the address: "));
    reader.click("button");
    reader.until_text("body", "We will send messages about this parcel to:");
}

/// Uses a separate browser, as a reader of emails does.
fn unsubscribe(world: &World, letter: &str) {
    let reader = Browser::open("en-GB").unwrap();
    let link = field(letter, "Unsubscribe from updates for this parcel: ");
    assert!(link.starts_with(&world.url), "{link}");
    reader.visit(link);
    reader.click("button");
    reader.until_text("body", "You won’t receive any more messages about this parcel.");
}

#[test]
fn a_position_moves_the_van_on_the_map() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    let (_, link) =
        van.parcel(|parcel| parcel.stop >= 9 && parcel.outcome == ParcelOutcome::Delivered);
    browser.look(390, "light");
    browser.media(&[("prefers-reduced-motion", "reduce")]);
    browser.visit(&link);
    browser.until_text("#status", "Announced");
    van.arrives(&world, 3);
    browser.until("document.querySelector('[data-place=van]')?.getAttribute('transform')");
    // The map zoomed in as far as its places allow, although the page was open before the map
    // existed.
    browser.until("/^([0-9]+ m|1 km)$/.test(document.querySelector('.map-scale').textContent)");
    let at = "document.querySelector('[data-place=van]').getAttribute('transform')";
    for _ in 0..3 {
        let before = browser.run(&format!("return {at}"));
        van.arrives(&world, 1);
        browser.until(&format!("{at} !== {before}"));
    }
}
