//! An operator's tiles under the map: what is asked for, of whom, and what is left of the map without them.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use waypost::simulate::Fate;

use super::van::Van;
use super::world::World;
use crate::support::webdriver::Browser;

const TILE: &str = "<svg xmlns='http://www.w3.org/2000/svg' width='256' height='256'>\
    <path fill='#f2efe9' d='M0 0h256v256H0z'/><path fill='none' stroke='#fff' stroke-width='9' d='M0 90h256M150 0v256'/>\
    <path fill='#cdebb0' d='M20 120h90v80H20z'/><path fill='none' stroke='#bbb' d='M0 0h256v256H0z'/></svg>";

/// What is asked for is answered so.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Picture,
    NotFound,
    Garbage,
}

/// A server of tiles, and the requests that it got.
struct Tiles {
    origin: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tiles {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heard = Arc::clone(&heard);
                thread::spawn(move || {
                    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                    let head: Vec<String> =
                        lines.by_ref().take_while(|line| !line.is_empty()).collect();
                    // A browser may open a connection and ask nothing.
                    if head.is_empty() {
                        return;
                    }
                    heard.lock().unwrap().push(head.join("\n"));
                    let (status, kind, body) = match answer {
                        Answer::Picture => ("200 OK", "image/svg+xml", TILE),
                        Answer::NotFound => ("404 Not Found", "text/plain", "no such tile"),
                        Answer::Garbage => ("200 OK", "image/png", "<html>over quota</html>"),
                    };
                    let length = body.len();
                    write!(&stream, "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").ok();
                });
            }
        });
        Self { origin, asked }
    }

    /// `z/x/y` of all that was asked for.
    fn names(&self) -> BTreeSet<Vec<u32>> {
        let asked = self.asked.lock().unwrap();
        let name = |head: &String| {
            let path = head.strip_prefix("GET /").unwrap().split(' ').next().unwrap();
            let path = path.strip_suffix(".png?key=a").unwrap();
            path.split('/').map(|part| part.parse().unwrap()).collect()
        };
        asked.iter().map(name).collect()
    }
}

/// A world whose pages lay tiles of this origin.
fn world(origin: &str) -> Option<World> {
    World::with(|config| {
        config.pages.tiles = Some(format!("{origin}/{{z}}/{{x}}/{{y}}.png?key=a"));
        config.pages.tiles_by = Some("© Cartographers of Example".to_owned());
    })
}

/// The page of a parcel on whose map the van is.
fn open(browser: &Browser, world: &World) -> Van {
    let mut van = Van::under_way(world, "VAN-042", 1);
    van.arrives(world, 2);
    let (_, link) = van.parcel(|parcel| parcel.stop >= 5 && parcel.fate == Fate::Delivered);
    browser.look(390, "light");
    browser.media(&[("prefers-reduced-motion", "reduce")]);
    browser.visit(&link);
    browser.until("document.querySelector('[data-place=van]')?.getAttribute('transform')");
    van
}

/// The tiles that are shown lie under the map's corners and its middle.
const COVERED: &str = "(() => {
    const box = document.querySelector('.map').getBoundingClientRect();
    const shown = [...document.querySelectorAll('.map-tiles image:not([visibility])')].map((tile) => tile.getBoundingClientRect());
    return [[1, 1], [box.width - 1, 1], [1, box.height - 1], [box.width - 1, box.height - 1], [box.width / 2, box.height / 2]]
        .every(([x, y]) => shown.some((tile) => tile.left <= box.left + x && tile.right >= box.left + x
            && tile.top <= box.top + y && tile.bottom >= box.top + y));
})()";

const GRID: &str = "getComputedStyle(document.querySelector('.map-grid')).display !== 'none'";

#[test]
fn tiles_are_asked_for_where_somebody_looks_and_of_nobody_but_their_server() {
    let Some(browser) = Browser::open("en-GB") else { return };
    let (tiles, other) = (Tiles::start(Answer::Picture), Tiles::start(Answer::Picture));
    let Some(world) = world(&tiles.origin) else { return };
    let _van = open(&browser, &world);
    browser.until(COVERED);
    browser.until(&format!("!({GRID})"));
    browser.until_text(".map-by", "© Cartographers of Example");
    let first = tiles.names();
    let level = first.first().unwrap()[0];
    assert!(first.len() <= 20, "more than is seen: {first:?}");
    for name in &first {
        // Munich.
        let [z, x, y] = name[..] else { panic!("{name:?}") };
        let part = |share: f64| share * f64::from(1 << z);
        assert!((f64::from(x) - part(0.5321)).abs() < part(0.001) + 3.0, "{name:?}");
        assert!((f64::from(y) - part(0.3468)).abs() < part(0.001) + 3.0, "{name:?}");
    }
    browser.click(".map-button:first-child");
    // Those of the level before stay until these are there.
    browser.until(COVERED);
    let closer = || tiles.names().iter().any(|name| name[0] > level);
    let tries = (0..400).take_while(|_| !closer());
    tries.for_each(|_| thread::sleep(Duration::from_millis(50)));
    assert!(closer(), "nothing of a closer level");
    // The address of the page is its key, and cookies are nobody else's.
    for head in tiles.asked.lock().unwrap().iter() {
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("\nreferer:") && !head.contains("\ncookie:"), "{head}");
    }
    assert_eq!(browser.complaints(), [""; 0]);

    let refused = browser.run(&format!(
        "return new Promise((told) => {{
             addEventListener('securitypolicyviolation', (event) => told(event.effectiveDirective));
             new Image().src = '{}/1/1/1.png';
         }})",
        other.origin
    ));
    assert_eq!(refused, "img-src");
    assert!(other.asked.lock().unwrap().is_empty());

    browser.media(&[("prefers-color-scheme", "dark"), ("prefers-reduced-motion", "reduce")]);
    let filter =
        browser.run("return getComputedStyle(document.querySelector('.map-tiles')).filter");
    assert!(filter.as_str().unwrap().contains("invert"), "bright tiles on a dark page");
}

#[test]
fn a_map_without_its_tiles_still_shows_where_the_van_is() {
    let Some(browser) = Browser::open("en-GB") else { return };
    let down = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let [missing, garbage] = [Answer::NotFound, Answer::Garbage].map(Tiles::start);
    for origin in [&down, &missing.origin, &garbage.origin] {
        let Some(world) = world(origin) else { return };
        let mut van = open(&browser, &world);
        browser.until("document.querySelectorAll('.map-tiles image').length > 0");
        // Moved by hand it stays where it is.
        browser.click(".map-button:first-child");
        browser.until(GRID);
        browser.until_text("#where", "The van is");
        for place in ["van", "stop", "station"] {
            browser.until(&format!("document.querySelector('[data-place={place}]')"));
        }
        van.arrives(&world, 1);
        let asked = || missing.asked.lock().unwrap().len() + garbage.asked.lock().unwrap().len();
        let before = asked();
        van.arrives(&world, 1);
        assert!(asked() <= before + 40, "asked again with each frame: {before} and {}", asked());
        let shown = browser
            .run("return document.querySelectorAll('.map-tiles image:not([visibility])').length");
        assert_eq!(shown, json!(0), "{origin}");
        browser.complaints();
    }
}
