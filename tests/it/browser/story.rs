//! A parcel's day as its recipient sees it, on the page and in letters.

use std::time::Duration;

use waypost::backend::alerts;
use waypost::backend::store::Statement;
use waypost::simulate::Fate;

use super::van::Van;
use super::world::{POSTCODE, World, seen_in};
use crate::support::post_office::{self, Heard, post_office};
use crate::support::webdriver::{Browser, key};

/// Real time between positions, so that pages see each.
const STEP: Duration = Duration::from_millis(30);

/// The page notes what it has said, and whether the van was on it then; and how often the van has moved.
const NOTED: &str = "
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
    let (office, letters) = post_office();
    let with_letters = World::with(|config| config.alerts.smtp = Some(post_office::smtp(office)));
    let Some(world) = with_letters else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    van.copies = 2;
    // In the midst of the day, with others before it.
    let (number, link) = van.parcel(|parcel| parcel.stop >= 7 && parcel.fate == Fate::Delivered);

    browser.look(390, "light");
    find(&browser, &world, &number);
    assert_eq!(browser.run("return location.href").as_str().unwrap(), link);
    browser.until_text("#status", "Announced by the sender");
    browser.run(NOTED);
    assert!(browser.run("return document.getElementById('alert-webhook')").is_null());
    for (address, shown) in
        [("max@example.com", "m…@example.com"), ("erika@example.org", "e…@example.org")]
    {
        browser.type_into("#alert-email", address);
        browser.press(key::ENTER);
        browser.until_text(".told", shown);
    }

    assert!(van.drive(&world, |told| told.kind == "parcel.loaded" && told.names(&number)));
    browser.until_text("#status", "At the delivery station");
    assert!(van.drive(&world, |told| told.kind == "route.departed"));
    browser.until_text("#status", "stops before yours");
    let told = until_told(&letters, "erika@example.org", 1);
    unsubscribe(&world, &told[0]);

    let asked = ask_for_a_safe_place(&browser, &world, &mut van);
    assert_eq!(asked, "You asked: leave it here: “behind the bicycles”. The driver knows.");
    van.before = Some((number.clone(), "VANCTL:LEAVE:SAFE"));

    let is_near = van.drive(&world, |_| {
        std::thread::sleep(STEP);
        browser.text("#status").starts_with("3 stops")
    });
    assert!(is_near && browser.run("return van()") == true);
    until_told(&letters, "max@example.com", 2);
    let delivered = van.drive(&world, |told| {
        std::thread::sleep(STEP);
        told.kind == "parcel.delivered" && told.names(&number)
    });
    assert!(delivered);
    browser.until_text("#status", "Delivered");
    browser.until_text("#proof", "Left at a safe place");
    browser.until_text("#proof", "Done as you asked");
    browser.until_text("#proof", "Scanned at your stop");
    browser.until_text("#manage", "nothing can be changed any more");
    assert!(browser.run("return document.getElementById('live').hidden") == true);
    what_was_said_makes_sense(&browser);

    each_was_told_once(&browser, &world, &mut van, &letters);
}

/// Also when the van says its whole day again.
fn each_was_told_once(browser: &Browser, world: &World, van: &mut Van, letters: &Heard) {
    until_told(letters, "max@example.com", 3);
    van.repeat(world);
    // Once this is stored, all that was repeated is behind us.
    van.arrives(world, 1);
    while stored(world) < van.events.len() {
        std::thread::sleep(STEP);
    }
    world.runtime.block_on(alerts::round(&world.shared)).unwrap();
    assert_eq!(stored(world), van.events.len());
    let told = to(letters, "max@example.com");
    let subjects: Vec<&str> = told.iter().map(|letter| field(letter, "Subject: ")).collect();
    assert_eq!(
        subjects,
        [
            "Your parcel is out for delivery",
            "Your parcel is nearly there",
            "Your parcel was delivered"
        ]
    );
    assert_eq!(to(letters, "erika@example.org").len(), 1, "she wanted no more");
    browser.visit(field(&told[2], "All about it: "));
    browser.until_text("#status", "Delivered");
    browser.until_text(".told", "m…@example.com");
    assert!(!browser.text(".told").contains("example.org"));
}

/// By number and postcode, at the second try.
fn find(browser: &Browser, world: &World, number: &str) {
    browser.visit(&world.url);
    browser.type_into("#number", number);
    browser.type_into("#postcode", "99999");
    browser.click("#find button");
    browser.until_text("#refused", "No parcel with this number and postcode");
    browser.run("document.getElementById('postcode').value = ''");
    browser.type_into("#postcode", POSTCODE);
    browser.press(key::ENTER);
    browser.until("location.pathname.startsWith('/t/')");
    let complaints = browser.complaints();
    // The wrong postcode is a 404, which the console tells.
    assert!(
        complaints.iter().all(|said| said.contains("/api/v1/track") && said.contains("404")),
        "{complaints:?}"
    );
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

/// Stops count down and never up without a reason, and where it says that it is delivered there is no van.
fn what_was_said_makes_sense(browser: &Browser) {
    let said = browser.run("return said");
    let said = said.as_array().unwrap();
    let mut counts = Vec::new();
    for noted in said {
        let [status, why] = [0, 1].map(|at| noted[at].as_str().unwrap());
        let stops = match status {
            "You are next" => Some(0),
            text => text.split_once(' ').and_then(|(count, _)| count.parse::<u32>().ok()),
        };
        let told = why.contains("order of the stops has changed");
        let before = counts.last().copied().unwrap_or(u32::MAX);
        assert!(stops.is_none_or(|stops| stops <= before || told), "{said:?}");
        counts.extend(stops);
        assert!(status != "Delivered" || noted[2] == false, "{said:?}");
    }
    assert!(counts.len() >= 5 && counts.last() == Some(&0), "{counts:?}");
    assert!(browser.run("return moves").as_u64().unwrap() > 20);
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Events that the backend has.
fn stored(world: &World) -> usize {
    let count = Statement::new("SELECT COUNT(*) FROM event", []);
    let rows = world.runtime.block_on(world.shared.store.read(count)).unwrap();
    usize::try_from(rows[0].int(0)).unwrap()
}

/// What somebody was sent, decoded (quoted-printable, RFC 2045 §6.7) as far as the tests read it.
fn to(letters: &Heard, address: &str) -> Vec<String> {
    let letters = letters.lock().unwrap();
    let decoded = letters.iter().map(|letter| letter.replace("=\n", "").replace("=3D", "="));
    decoded.filter(|letter| field(letter, "To: ") == address).collect()
}

fn until_told(letters: &Heard, address: &str, count: usize) -> Vec<String> {
    for _ in 0..400 {
        let told = to(letters, address);
        if told.len() >= count {
            return told;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{address} was not told: {letters:?}");
}

/// The rest of a line that begins so.
fn field<'a>(letter: &'a str, name: &str) -> &'a str {
    let line = letter.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name:?} in {letter}"))
}

/// In a browser of its own, as whoever reads letters has one.
fn unsubscribe(world: &World, letter: &str) {
    let reader = Browser::open("en-GB").unwrap();
    let link = field(letter, "No more messages about this parcel: ");
    assert!(link.starts_with(&world.url), "{link}");
    reader.visit(link);
    reader.click("button");
    reader.until_text("body", "You get no more messages about this parcel.");
}

#[test]
fn a_position_moves_the_van_on_the_map() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    let (_, link) = van.parcel(|parcel| parcel.stop >= 9 && parcel.fate == Fate::Delivered);
    browser.look(390, "light");
    browser.media(&[("prefers-reduced-motion", "reduce")]);
    browser.visit(&link);
    browser.until_text("#status", "Announced");
    van.arrives(&world, 3);
    browser.until("document.querySelector('[data-place=van]')?.getAttribute('transform')");
    // The map came as close as its places allow, although the page was open before there was one.
    browser.until("/^([0-9]+ m|1 km)$/.test(document.querySelector('.map-scale').textContent)");
    let at = "document.querySelector('[data-place=van]').getAttribute('transform')";
    for _ in 0..3 {
        let before = browser.run(&format!("return {at}"));
        van.arrives(&world, 1);
        browser.until(&format!("{at} !== {before}"));
    }
}
