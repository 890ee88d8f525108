//! Who can use the pages: axe-core finds nothing on any of them, and a keyboard is enough.

use std::path::PathBuf;

use serde_json::{Value, json};
use waypost::backend::store::Statement;
use waypost::simulate::Fate;

use super::van::Van;
use super::world::{World, log_in};
use crate::support::post_office::{self, post_office};
use crate::support::webdriver::{Browser, key};

/// WCAG 2.2 AA, and what axe-core thinks good beside it.
const RULES: &str = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']";

/// The file `axe.min.js` of axe-core, which is not ours to publish.
fn axe() -> Option<PathBuf> {
    let path = std::env::var_os("WAYPOST_AXE").map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: WAYPOST_AXE does not say where axe.min.js of axe-core is");
    }
    path
}

/// A page, in some state.
struct Case {
    name: &'static str,
    path: String,
    /// What is done on it before it is looked at.
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
    /// Of a parcel that has a case.
    number: String,
}

/// `None`, and a line that says so, where there is no broker.
fn everything() -> Option<Everything> {
    let (office, _letters) = post_office();
    let world = World::with(|config| {
        config.alerts.smtp = Some(post_office::smtp(office));
        config.alerts.webhook_secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
    })?;
    let other = Van::ready(&world, "VAN-043", 2);
    let mut van = Van::under_way(&world, "VAN-042", 1);
    van.publish(&world, "event", b"no event".to_vec());
    van.arrives(&world, 2);
    let path = |van: &Van, from: usize| {
        let (number, link) =
            van.parcel(|parcel| parcel.stop >= from && parcel.fate == Fate::Delivered);
        (number, link.strip_prefix(&world.url).unwrap().to_owned())
    };
    let ((_, near), (number, _)) = (path(&van, 4), path(&van, 6));
    let told = json!({"channel": "email", "address": "max@example.com", "language": "en"});
    let alert = world.ask(
        "nobody",
        &format!("POST /api/v1/track/{}/alerts", near.strip_prefix("/t/").unwrap()),
        &told,
    );
    let unsubscribe = format!("/unsubscribe/{}", alert["id"].as_str().unwrap());
    let (waiting, out, delivered) = (path(&other, 1).1, path(&van, 9).1, path(&van, 0).1);
    let case = json!({"state": "open", "note": "Ask the driver."});
    world.ask("dispatcher", &format!("PUT /api/v1/trace/{number}/case"), &case);
    Some(Everything { world, waiting, out, near, delivered, unsubscribe, number })
}

impl Everything {
    /// Those of customers, and the door of the desk.
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
                browser.until_text("h1", "This link leads nowhere");
            }),
            case("messages end", &self.unsubscribe, |_| ()),
            case("messages have ended", &self.unsubscribe, |browser| {
                browser.click("button");
                browser.until_text("body", "You get no more messages");
            }),
            case("login", "/desk", |browser| browser.until_text(".login", "Access token")),
            case("login, refused", "/desk", |browser| {
                browser.until_text(".login", "Access token");
                browser.type_into("#token", "guessed");
                browser.press(key::ENTER);
                browser.until_text(".refused", "This token is not valid here.");
            }),
        ]
    }

    /// Those of dispatchers.
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

    /// Opens every page, does what belongs to it, and looks at it.
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
        visit(&case("gone", &self.near, |browser| browser.until_text("h1", "no longer kept")));
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
            // A colour that is still changing has no contrast yet.
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

/// All that can be used on a page, once for each group of radio buttons.
const USABLE: &str = "
    const groups = new Set();
    window.usable = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]
        .filter((node) => node.checkVisibility() && !node.disabled && !node.matches('.skip'))
        .filter((node) => node.type !== 'radio' || (!groups.has(node.name) && groups.add(node.name)));
    document.activeElement.blur();
    return usable.map((node) => node.outerHTML.slice(0, 80));";

/// Which of them has the focus, once the page has come there, and whether that is seen: an outline, in the window, with nothing
/// above it.
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
                // A part of a field, such as the calendar of a date, has an outline of its own.
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
