//! Rules for every page: allowed sources, size, accessibility, and error messages.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use waypost_backend::store::Statement;
use waypost_sim::ParcelOutcome;

use super::van::{Van, day};
use super::world::{POSTCODE, World, log_in, seen_in};
use crate::support::repository;
use crate::support::webdriver::key;

/// Without tiles.
const MAX_BYTES: u64 = 150_000;

fn contains(page: &str, text: &str) {
    assert!(page.contains(text), "{text} is not in {page}");
}

#[test]
fn no_page_loads_from_elsewhere_weighs_much_overflows_or_complains() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let van = Van::under_way(&world, "VAN-042", 1);
    log_in(&browser, &world);
    // Dispatch rejects one request before the login.
    browser.console_errors();
    let (number, link) = van.parcel(|parcel| parcel.stop >= 5);
    let track = link.strip_prefix(&world.url).unwrap().to_owned();
    let trace = format!("/desk/trace/{number}");
    for path in [
        "/",
        &track,
        "/desk",
        "/desk/vans/VAN-042",
        "/desk/trace",
        &trace,
        "/desk/poison",
        "/desk/audit",
    ] {
        for (width, scheme) in [(390, "light"), (1280, "dark"), (320, "light")] {
            browser.look(width, scheme);
            browser.visit(&format!("{}{path}", world.url));
            browser.until("document.querySelector('h1')?.innerText.length > 0");
            let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth");
            assert_eq!(overflow, json!(0), "{path} at {width} px");
        }
        let loaded = browser.run(
            "return performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
                 .map((entry) => [entry.name, entry.decodedBodySize])",
        );
        let loaded = loaded.as_array().unwrap();
        for entry in loaded {
            assert!(entry[0].as_str().unwrap().starts_with(&world.url), "{path} loads {entry}");
        }
        let bytes: u64 = loaded.iter().map(|entry| entry[1].as_u64().unwrap()).sum();
        assert!(bytes > 1000 && bytes <= MAX_BYTES, "{path} has {bytes} bytes");
        eprintln!("{path}: {bytes} bytes in {} files", loaded.len());
        let small = browser.run(
            "return [...document.querySelectorAll('button, input, select, textarea, summary, nav a, a.home')]
                 .filter((node) => node.getClientRects().length && !node.closest('label'))
                 .map((node) => [node.outerHTML.slice(0, 80), node.getBoundingClientRect().height])
                 .filter(([, height]) => height < 44)",
        );
        assert_eq!(small, json!([]), "{path} has targets that are too small");
        let complaints = browser.console_errors();
        assert!(complaints.is_empty(), "{path}: {complaints:?}");
    }
}

#[test]
fn what_is_sent_with_a_page_keeps_everything_else_out() {
    let Some(world) = World::start() else { return };
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    for (path, status) in [("/", 200), ("/desk", 200), ("/desk/vans/X", 200), ("/t/nothing", 404)] {
        let mut answer = agent.get(format!("{}{path}", world.url)).call().unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cache-control"), "no-store");
        let page = answer.body_mut().read_to_string().unwrap();
        assert!(
            !page.contains("<style") && !page.contains("style=") && !page.contains(" onclick="),
            "{path}: {page}"
        );
        assert!(!page.contains("{{"), "{path}: {page}");
    }
    let page = agent.get(&world.url).call().unwrap().body_mut().read_to_string().unwrap();
    let asset = page.split('"').find(|part| part.ends_with("style.css")).unwrap();
    let style = agent.get(format!("{}{asset}", world.url)).call().unwrap();
    assert_eq!(style.headers()["cache-control"], "public, max-age=31536000, immutable");
    let tag = style.headers()["etag"].clone();
    let old = format!("{}/assets/0000000000000000/style.css", world.url);
    let again = agent.get(&old).header("if-none-match", tag).call().unwrap();
    assert_eq!(
        (again.status().as_u16(), &again.headers()["cache-control"]),
        (304, &"no-cache".parse().unwrap())
    );
    let none = agent.get(format!("{}/assets/x/page.rs", world.url)).call().unwrap();
    assert_eq!(none.status(), 404);
}

#[test]
fn the_first_page_works_where_no_script_runs() {
    let Some(world) = World::start() else { return };
    let links = world.put("VAN-042", &day(1));
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let post = |body: String| {
        let request = agent.post(format!("{}/?lang=de", world.url));
        let mut answer =
            request.header("content-type", "application/x-www-form-urlencoded").send(body).unwrap();
        let location = answer.headers().get("location").map(|at| at.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location, answer.body_mut().read_to_string().unwrap())
    };
    let (number, url) = &links[0];
    let (status, location, _) = post(format!("number={number}&postcode={POSTCODE}"));
    assert_eq!((status, location), (303, Some(url.strip_prefix(&world.url).unwrap().to_owned())));
    let (status, _, page) = post(format!("number={number}&postcode=%22%3E%3Cb%3E"));
    assert_eq!(status, 404);
    contains(&page, "Wir haben kein Paket mit dieser Nummer und Postleitzahl gefunden");
    contains(&page, "value=\"&quot;&gt;&lt;b&gt;\"");
    contains(&post(format!("number={number}")).2, "Bitte geben Sie die Postleitzahl ein.");
    let often =
        (0..40).map(|_| post("number=X&postcode=1".to_owned())).find(|(status, ..)| *status == 429);
    contains(&often.unwrap().2, "Zu viele Versuche.");
    let page = agent.get(url).call().unwrap().body_mut().read_to_string().unwrap();
    contains(&page, "<h1 id=\"status\">Announced by the sender</h1>");
    contains(&page, number);
}

#[test]
fn a_page_is_told_when_a_link_leads_nowhere_or_no_more() {
    let Some((browser, world)) = seen_in("en") else { return };
    let links = world.put("VAN-042", &day(1));
    browser.look(390, "light");
    browser.visit(&format!("{}/t/nothing", world.url));
    browser.until_text("h1", "This link is not valid");
    browser.until_text("main a", "Find a parcel");
    let expired = Statement::new("UPDATE parcel SET ended_at = 1, expires_at = 2", []);
    world.runtime.block_on(world.shared.store.write(vec![expired])).unwrap();
    browser.visit(&links[0].1);
    browser.until_text("h1", "This page is no longer available");
}

#[test]
fn no_email_address_is_requested_where_no_email_is_sent() {
    let Some((browser, world)) = seen_in("en") else { return };
    let van = Van::ready(&world, "VAN-042", 1);
    browser.visit(&van.parcel(|_| true).1);
    browser.until("document.querySelector('#timeline li')");
    assert_eq!(browser.run("return document.getElementById('alerts').hidden"), json!(true));
}

#[test]
fn a_page_reads_from_right_to_left_and_moves_less_where_that_is_wanted() {
    let Some((browser, world)) = seen_in("en") else { return };
    browser.look(390, "light");
    browser.visit(&format!("{}/?dir=rtl", world.url));
    let starts = browser.run(
        "const box = document.querySelector('.home').getBoundingClientRect();
         return [getComputedStyle(document.body).direction, innerWidth - box.right < 40,
                 document.documentElement.scrollWidth - innerWidth]",
    );
    assert_eq!(starts, json!(["rtl", true, 0]));
    browser.media(&[("prefers-reduced-motion", "reduce")]);
    assert_eq!(
        browser.run("return matchMedia('(prefers-reduced-motion: reduce)').matches"),
        json!(true)
    );
    let moving = browser.run(
        "return [...document.querySelectorAll('*')].filter((node) => {
             const style = getComputedStyle(node);
             return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0;
         }).length",
    );
    assert_eq!(moving, json!(0));
}

#[test]
fn a_dispatcher_logs_in_finds_a_parcel_closes_its_case_and_leaves() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let mut van = Van::ready(&world, "VAN-042", 1);
    let (number, _) = van
        .parcel(|parcel| parcel.outcome == ParcelOutcome::Delivered && parcel.key.starts_with('3'));
    van.arrives(&world, 4);
    browser.look(1280, "light");
    browser.visit(&format!("{}/desk", world.url));
    browser.until_text(".login", "Access token");
    browser.type_into("#token", "planner");
    browser.press(key::ENTER);
    browser.until_text(".refused", "This access token is not valid.");
    log_in(&browser, &world);
    browser.until_text(".vans", "VAN-042");
    browser.until_text(".vans", "of 12 stops");
    browser.tab_to(".van a");
    browser.press(key::ENTER);
    browser.until_text("h1", "VAN-042");
    browser.until_text(".part-events", "Left the delivery station");
    browser.until("document.querySelectorAll('.place-stop').length === 12");
    browser.until("document.querySelector('.line-trail')?.getAttribute('d').length > 100");
    browser.until_text(".part-gaps", "No missing data.");
    browser.until_text(".part-health", "11 used of 23 in view");

    browser.click("#rooms a[href='/desk/trace']");
    browser.until("document.activeElement.id === 'number'");
    browser.press(&number);
    browser.press(key::ENTER);
    browser.until_text(".part-last", &number);
    browser.until_text(".part-timeline", "Announced by the sender");
    browser.until_text(".part-sightings", "Loaded");
    browser.click(".part-case button");
    browser.until_text(".part-case .tag", "open");
    browser.type_into("#note", "It stood on the wrong shelf.");
    browser.click(".part-case .primary");
    browser.until_text(".part-case .tag", "found");
    browser.reload();
    browser.until_text(".part-case .tag", "found");
    assert_eq!(
        browser.run("return document.getElementById('note').value"),
        "It stood on the wrong shelf."
    );
    browser.click("#rooms a[href='/desk/audit']");
    browser.until_text("table", "changed a case");
    browser.click("#rooms a[href='/desk/poison']");
    browser.until_text(".empty", "No rejected messages.");
    browser.click("#leave");
    browser.until_text(".login", "Access token");
}

#[test]
fn a_map_is_moved_by_keys_mouse_and_buttons() {
    let Some((browser, world)) = seen_in("en-GB") else { return };
    let _van = Van::under_way(&world, "VAN-042", 1);
    browser.look(1280, "light");
    log_in(&browser, &world);
    browser.until("document.querySelector('.place-van')");
    let at =
        || browser.run("return document.querySelector('.place-van').getAttribute('transform')");
    let mut before = at();
    let mut moved = |what: &str| {
        let expected = json!(before);
        browser.until(&format!(
            "document.querySelector('.place-van').getAttribute('transform') !== {expected}"
        ));
        before = at();
        eprintln!("{what}: {before}");
    };
    browser.tab_to(".map");
    for keys in [key::RIGHT, key::DOWN] {
        browser.press(keys);
        moved("a key");
    }
    let drag = json!({"actions": [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": [
        {"type": "pointerMove", "x": 900, "y": 400}, {"type": "pointerDown", "button": 0},
        {"type": "pointerMove", "x": 960, "y": 430, "duration": 50}, {"type": "pointerUp", "button": 0}]}]});
    browser.act(&drag);
    moved("a drag");
    browser.click(".map-button:nth-child(2)");
    moved("a button");
    browser.click(".map-button:nth-child(3)");
    moved("everything");
}

/// Returns the colours of the style sheet in one scheme.
fn colours(style: &str, dark: bool) -> BTreeMap<String, [f64; 3]> {
    let block =
        style.split(":root {").nth(1 + usize::from(dark)).unwrap().split('}').next().unwrap();
    let pairs =
        block.split(';').filter_map(|line| line.trim().strip_prefix("--")?.split_once(": #"));
    let channel = |hex: &str| f64::from(u8::from_str_radix(hex, 16).unwrap()) / 255.0;
    pairs
        .map(|(name, hex)| (name.to_owned(), [0, 2, 4].map(|at| channel(&hex[at..at + 2]))))
        .collect()
}

/// WCAG 2.2, relative luminance and contrast ratio.
fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let luminance = |colour: [f64; 3]| {
        let linear =
            colour.map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_have_the_contrast_of_wcag_aa_in_light_and_dark() {
    let style =
        std::fs::read_to_string(repository("crates/backend/src/web/files/style.css")).unwrap();
    let text: &[(&str, &[&str])] = &[
        ("ink", &["ground", "sheet", "accent-soft", "map"]),
        ("quiet", &["ground", "sheet", "accent-soft"]),
        ("accent", &["ground", "sheet", "accent-soft"]),
        ("on-accent", &["accent"]),
        ("warn", &["warn-soft", "ground", "sheet"]),
        ("bad", &["bad-soft", "sheet"]),
        ("sheet", &["warn", "bad", "ink"]),
    ];
    let signs: &[(&str, &[&str])] = &[
        ("edge", &["sheet", "ground", "map"]),
        ("accent", &["map"]),
        ("warn", &["map"]),
        ("bad", &["map"]),
    ];
    for dark in [false, true] {
        let colours = colours(&style, dark);
        assert!(colours.len() > 12, "{colours:?}");
        for (pairs, min_ahead) in [(text, 4.5), (signs, 3.0)] {
            for (front, grounds) in pairs {
                for ground in *grounds {
                    let ratio = contrast(colours[*front], colours[*ground]);
                    assert!(
                        ratio >= min_ahead,
                        "--{front} on --{ground}, dark {dark}: {ratio:.2} of {min_ahead}"
                    );
                }
            }
        }
    }
    // All colours are named, so the two blocks above contain all of them.
    let rest = style.split("--gap:").nth(1).unwrap();
    let rest = rest.replacen("@media (prefers-color-scheme: dark)", "", 1);
    let named = rest.split(":root {").nth(1).unwrap().split_once('}').unwrap().1.to_owned();
    assert!(!named.contains(": #") && !named.contains("rgb("), "a colour without a name");
    let desk =
        std::fs::read_to_string(repository("crates/backend/src/web/files/desk.css")).unwrap();
    assert!(!desk.contains(": #") && !desk.contains("rgb("), "a colour without a name");
}

/// Scripts use only keys that exist, and every key is used.
#[test]
fn scripts_ask_for_texts_that_there_are() {
    let files = repository("crates/backend/src/web/files");
    let texts: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_str(&std::fs::read_to_string(files.join("texts.json")).unwrap()).unwrap();
    let english = &texts["en"];
    for entry in std::fs::read_dir(&files).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let said = text.split("say('").skip(1).map(|rest| rest.split('\'').next().unwrap());
        let filled = text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap());
        for key in said.chain(filled.filter(|key| !key.starts_with('$'))) {
            assert!(english.contains_key(key), "{}: {key}", path.display());
        }
        for family in text.split("word('").skip(1).map(|rest| rest.split('\'').next().unwrap()) {
            let prefix = format!("{family}.");
            assert!(
                english.keys().any(|key| key.starts_with(&prefix)),
                "{}: {family}",
                path.display()
            );
        }
    }
}
