//! An operator's tiles under the map: the tiles requested, the servers contacted, and the map
//! without tiles.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use waypost_sim::ParcelOutcome;

use super::van::Van;
use super::world::World;
use crate::support::webdriver::Browser;

const TILE: &str = "<svg xmlns='http://www.w3.org/2000/svg' width='256' height='256'>\
    <path fill='#f2efe9' d='M0 0h256v256H0z'/><path fill='none' stroke='#fff' stroke-width='9' d='M0 90h256M150 0v256'/>\
    <path fill='#cdebb0' d='M20 120h90v80H20z'/><path fill='none' stroke='#bbb' d='M0 0h256v256H0z'/></svg>";

/// Response to every request.
#[derive(Clone, Copy, Debug)]
enum TileResponse {
    Picture,
    NotFound,
    Garbage,
}

/// A tile server, and the requests that it received.
struct Tiles {
    origin: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Tiles {
    fn start(answer: TileResponse) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heard = Arc::clone(&heard);
                thread::spawn(move || {
                    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                    let head: Vec<String> =
                        lines.by_ref().take_while(|line| !line.is_empty()).collect();
                    // A browser may open a connection without a request.
                    if head.is_empty() {
                        return;
                    }
                    heard.lock().unwrap().push(head.join("\n"));
                    let (status, kind, body) = match answer {
                        TileResponse::Picture => ("200 OK", "image/svg+xml", TILE),
                        TileResponse::NotFound => ("404 Not Found", "text/plain", "no such tile"),
                        TileResponse::Garbage => ("200 OK", "image/png", "<html>over quota</html>"),
                    };
                    let length = body.len();
                    write!(&stream, "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").ok();
                });
            }
        });
        Self { origin, requests }
    }

    /// Returns `z/x/y` of all requested tiles.
    fn names(&self) -> BTreeSet<Vec<u32>> {
        let asked = self.requests.lock().unwrap();
        let name = |head: &String| {
            let path = head.strip_prefix("GET /").unwrap().split(' ').next().unwrap();
            let path = path.strip_suffix(".png?key=a").unwrap();
            path.split('/').map(|part| part.parse().unwrap()).collect()
        };
        asked.iter().map(name).collect()
    }
}

/// Creates a world whose pages use tiles of this origin.
fn world(origin: &str) -> Option<World> {
    World::with(|config| {
        config.pages.tile_url = Some(format!("{origin}/{{z}}/{{x}}/{{y}}.png?key=a"));
        config.pages.attribution = Some("© Cartographers of Example".to_owned());
    })
}

/// Opens the page of a parcel with the van on its map.
fn open(browser: &Browser, world: &World) -> Van {
    let mut van = Van::under_way(world, "VAN-042", 1);
    van.arrives(world, 2);
    let (_, link) =
        van.parcel(|parcel| parcel.stop >= 5 && parcel.outcome == ParcelOutcome::Delivered);
    browser.look(390, "light");
    browser.media(&[("prefers-reduced-motion", "reduce")]);
    browser.visit(&link);
    browser.until("document.querySelector('[data-place=van]')?.getAttribute('transform')");
    van
}

/// Checks that visible tiles cover the map's corners and its centre.
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
    let (tiles, other) = (Tiles::start(TileResponse::Picture), Tiles::start(TileResponse::Picture));
    let Some(world) = world(&tiles.origin) else { return };
    let _van = open(&browser, &world);
    browser.until(COVERED);
    browser.until(&format!("!({GRID})"));
    browser.until_text(".map-by", "© Cartographers of Example");
    let first = tiles.names();
    let level = first.first().unwrap()[0];
    assert!(first.len() <= 20, "more tiles than visible: {first:?}");
    for name in &first {
        // Munich.
        let [z, x, y] = name[..] else { panic!("{name:?}") };
        let part = |share: f64| share * f64::from(1 << z);
        assert!((f64::from(x) - part(0.5321)).abs() < part(0.001) + 3.0, "{name:?}");
        assert!((f64::from(y) - part(0.3468)).abs() < part(0.001) + 3.0, "{name:?}");
    }
    browser.click(".map-button:first-child");
    // The tiles of the previous zoom level remain until the new ones are loaded.
    browser.until(COVERED);
    let closer = || tiles.names().iter().any(|name| name[0] > level);
    let tries = (0..400).take_while(|_| !closer());
    tries.for_each(|_| thread::sleep(Duration::from_millis(50)));
    assert!(closer(), "no tile of a closer level");
    // The page's address contains its token, and cookies belong to its own server only; neither is
    // sent to the tile server.
    for head in tiles.requests.lock().unwrap().iter() {
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("\nreferer:") && !head.contains("\ncookie:"), "{head}");
    }
    assert_eq!(browser.console_errors(), [""; 0]);

    let refused = browser.run(&format!(
        "return new Promise((told) => {{
             addEventListener('securitypolicyviolation', (event) => told(event.effectiveDirective));
             new Image().src = '{}/1/1/1.png';
         }})",
        other.origin
    ));
    assert_eq!(refused, "img-src");
    assert!(other.requests.lock().unwrap().is_empty());

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
    let [missing, garbage] = [TileResponse::NotFound, TileResponse::Garbage].map(Tiles::start);
    for origin in [&down, &missing.origin, &garbage.origin] {
        let Some(world) = world(origin) else { return };
        let mut van = open(&browser, &world);
        browser.until("document.querySelectorAll('.map-tiles image').length > 0");
        // After a manual move the map does not follow the van.
        browser.click(".map-button:first-child");
        browser.until(GRID);
        browser.until_text("#where", "The van is");
        for place in ["van", "stop", "station"] {
            browser.until(&format!("document.querySelector('[data-place={place}]')"));
        }
        van.arrives(&world, 1);
        let asked =
            || missing.requests.lock().unwrap().len() + garbage.requests.lock().unwrap().len();
        let before = asked();
        van.arrives(&world, 1);
        assert!(asked() <= before + 40, "one request per frame: {before} and {}", asked());
        let shown = browser
            .run("return document.querySelectorAll('.map-tiles image:not([visibility])').length");
        assert_eq!(shown, json!(0), "{origin}");
        browser.console_errors();
    }
}
