//! Accessibility of the pages: axe-core finds no violation, and a keyboard suffices.

use std::path::PathBuf;

use serde_json::{Value, json};
use waypost_backend::store::Statement;
use waypost_sim::ParcelOutcome;

use super::van::Van;
use super::world::{World, log_in};
use crate::support::smtp_server::{self, start_smtp_server};
use crate::support::webdriver::{Browser, key};

/// WCAG 2.2 AA, and axe-core's best practices.
const RULES: &str = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']";

/// Returns the path of `axe.min.js` of axe-core, which this repository cannot redistribute.
fn axe() -> Option<PathBuf> {
    let path = std::env::var_os("WAYPOST_AXE").map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: WAYPOST_AXE is not set to the path of axe.min.js");
    }
    path
}

/// A page in a certain state.
struct Case {
    name: &'static str,
    path: String,
    /// Actions on the page before it is checked.
    act: fn(&Browser),
}

fn case(name: &'static str, path: impl Into<String>, act: fn(&Browser)) -> Case {
    Case { name, path: path.into(), act }
}

/// A world with every page in it.
struct Everything {
    world: World,
    waiting: String,
    out: String,
    near: String,
    delivered: String,
    unsubscribe: String,
    /// Number of a parcel with an open case.
    number: String,
}

/// Returns `None` and reports a skip if there is no broker.
fn everything() -> Option<Everything> {
    let (office, _letters) = start_smtp_server();
    let world = World::with(|config| {
        config.notifications.smtp = Some(smtp_server::smtp_config(office));
        config.notifications.webhook_enabled = true;
    })?;
    let other = Van::ready(&world, "VAN-043", 2);
    let mut van = Van::under_way(&world, "VAN-042", 1);
    van.publish(&world, "event", b"no event".to_vec());
    van.arrives(&world, 2);
    let path = |van: &Van, from: usize| {
        let (number, link) =
            van.parcel(|parcel| parcel.stop >= from && parcel.outcome == ParcelOutcome::Delivered);
        (number, link.strip_prefix(&world.url).unwrap().to_owned())
    };
    let ((_, near), (number, _)) = (path(&van, 4), path(&van, 6));
    let told = json!({"channel": "email", "address": "max@example.com", "language": "en"});
    let alert = world.request(
        "nobody",
        &format!("POST /api/v1/track/{}/alerts", near.strip_prefix("/t/").unwrap()),
        &told,
    );
    let unsubscribe = format!("/unsubscribe/{}", alert["id"].as_str().unwrap());
    let (waiting, out, delivered) = (path(&other, 1).1, path(&van, 9).1, path(&van, 0).1);
    let case = json!({"state": "open", "note": "Ask the driver."});
    world.request("dispatcher", &format!("PUT /api/v1/trace/{number}/case"), &case);
    Some(Everything { world, waiting, out, near, delivered, unsubscribe, number })
}

impl Everything {
    /// Returns the pages of recipients, and the login of dispatch.
    fn outside(&self) -> Vec<Case> {
        let map = |browser: &Browser| browser.until("document.querySelector('.place-van')");
        let shown = |browser: &Browser| browser.until("document.querySelector('#timeline li')");
        vec![
            case("start", "/", |_| ()),
            case("start, refused", "/", |browser| {
                browser.click("#find button");
                browser.until_text("#refused", "number");
            }),
            case("waiting", &self.waiting, shown),
            case("a wish that is not complete", &self.waiting, |browser| {
                browser.until("document.querySelector('#manage input[type=radio]')");
                browser.click("#manage label:has([value=other_day])");
                browser.click("#manage .primary");
                browser.until_text("#manage .refused", "day");
                browser.click("#alerts summary");
            }),
            case("out for delivery", &self.out, shown),
            case("near", &self.near, map),
            case("delivered", &self.delivered, |browser| {
                browser.until_text("#proof", "Scanned at your stop");
            }),
            case("leads nowhere", "/t/nothing", |browser| {
                browser.until_text("h1", "This link is not valid");
            }),
            case("messages end", &self.unsubscribe, |_| ()),
            case("messages have ended", &self.unsubscribe, |browser| {
                browser.click("button");
                browser.until_text("body", "You won’t receive any more messages");
            }),
            case("login", "/desk", |browser| browser.until_text(".login", "Access token")),
            case("login, refused", "/desk", |browser| {
                browser.until_text(".login", "Access token");
                browser.type_into("#token", "guessed");
                browser.press(key::ENTER);
                browser.until_text(".refused", "This access token is not valid.");
            }),
        ]
    }

    /// Returns the pages of dispatchers.
    fn inside(&self) -> Vec<Case> {
        let trace = format!("/desk/trace/{}", self.number);
        vec![
            case("vans", "/desk", |browser| browser.until("document.querySelector('.place-van')")),
            case("a van", "/desk/vans/VAN-042", |browser| {
                browser.until("document.querySelectorAll('.place-stop').length === 12");
            }),
            case("no van", "/desk/vans/VAN-999", |browser| {
                browser.until("document.querySelector('main').innerText.length > 5");
            }),
            case("trace", "/desk/trace", |browser| {
                browser.until("document.activeElement.id === 'number'");
            }),
            case("a trace", trace, |browser| browser.until_text(".part-sightings", "Loaded")),
            case("no trace", "/desk/trace/000", |browser| {
                browser.until("document.querySelector('.found .empty')");
            }),
            case("poison", "/desk/poison", |browser| browser.until_text("main", "VAN-042")),
            case("audit", "/desk/audit", |browser| browser.until_text("table", "changed a case")),
        ]
    }

    /// Opens every page, performs its actions, and checks it.
    fn each(&self, browser: &Browser, mut look: impl FnMut(&Case)) {
        let mut visit = |case: &Case| {
            browser.visit(&format!("{}{}", self.world.url, case.path));
            browser.until("document.title");
            (case.act)(browser);
            look(case);
        };
        self.outside().iter().for_each(&mut visit);
        log_in(browser, &self.world);
        self.inside().iter().for_each(&mut visit);
        let expired = Statement::new("UPDATE parcel SET ended_at = 1, expires_at = 2", []);
        self.world.runtime.block_on(self.world.shared.store.write(vec![expired])).unwrap();
        visit(&case("gone", &self.near, |browser| browser.until_text("h1", "no longer available")));
    }
}

#[test]
fn axe_core_finds_nothing_on_any_page_in_any_look() {
    let Some(axe) = axe() else { return };
    let axe = std::fs::read_to_string(axe).unwrap();
    let Some(browser) = Browser::open("en-GB") else { return };
    let Some(everything) = everything() else { return };
    let mut found = Vec::new();
    let mut passed = 0;
    everything.each(&browser, |case| {
        browser.run(&axe);
        for (width, scheme) in [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")] {
            browser.look(width, scheme);
            // During a transition a colour has no final contrast.
            browser.media(&[("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")]);
            let result = browser.run(&format!(
                "return axe.run({{ runOnly: {RULES}, resultTypes: ['violations'] }}).then(({{ violations, passes }}) => [
                     passes.length,
                     violations.flatMap((rule) => rule.nodes.map((node) => `${{rule.id}} ${{node.target}} ${{node.failureSummary}}`)),
                 ])"
            ));
            passed += result[0].as_u64().unwrap();
            for violation in result[1].as_array().unwrap() {
                found.push(format!("{}, {width} px, {scheme}: {violation}", case.name));
            }
        }
    });
    eprintln!("axe-core: {passed} rules passed");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Selects all controls of a page, once for each group of radio buttons.
const USABLE: &str = "
    const groups = new Set();
    window.usable = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]
        .filter((node) => node.checkVisibility() && !node.disabled && !node.matches('.skip'))
        .filter((node) => node.type !== 'radio' || (!groups.has(node.name) && groups.add(node.name)));
    document.activeElement.blur();
    return usable.map((node) => node.outerHTML.slice(0, 80));";

/// Returns the focused control once the page has scrolled to it, and whether the focus is visible:
/// an outline, inside the window, not covered.
const FOCUSED: &str = "
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    return frame().then(frame).then(() => {
        const node = document.activeElement;
        const { outlineStyle, outlineWidth } = getComputedStyle(node);
        const box = node.getBoundingClientRect();
        const middle = (Math.max(0, box.top) + Math.min(innerHeight, box.bottom)) / 2;
        const above = document.elementFromPoint(Math.max(1, box.left + box.width / 2), middle);
        return [usable.findIndex((one) => one === node || (one.type === 'radio' && one.name === node.name)),
            node.outerHTML.slice(0, 80), outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2,
            Boolean(above) && (node.contains(above) || above.contains(node))];
    });";

#[test]
fn everything_is_reached_by_keyboard_and_the_focus_is_seen() {
    let Some(browser) = Browser::open("en-GB") else { return };
    let Some(everything) = everything() else { return };
    everything.each(&browser, |case| {
        for width in [390, 1280] {
            browser.look(width, "light");
            browser.media(&[("prefers-reduced-motion", "reduce")]);
            let usable = browser.run(USABLE);
            let usable = usable.as_array().unwrap();
            let mut missed: Vec<usize> = (0..usable.len()).collect();
            for _ in 0..usable.len() * 2 + 8 {
                browser.press(key::TAB);
                let focused = browser.run(FOCUSED);
                let Some(at) = focused[0].as_u64() else { continue };
                assert_eq!(
                    focused[3],
                    json!(true),
                    "{}, {width} px: covered: {focused}",
                    case.name
                );
                // A part of a field, such as the calendar of a date, has its own outline.
                if focused[2] == true {
                    missed.retain(|index| *index != usize::try_from(at).unwrap());
                }
                if missed.is_empty() {
                    break;
                }
            }
            let missed: Vec<&Value> = missed.into_iter().map(|index| &usable[index]).collect();
            assert!(
                missed.is_empty(),
                "{}, {width} px: not reached, or not seen: {missed:?}",
                case.name
            );
        }
    });
}
